//! The name a client expects its peer to have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::ConfigError;

/// The longest DNS name, in bytes (RFC 1035, 2.3.4).
const MAX_NAME_LEN: usize = 253;
/// The longest label of one, in bytes.
const MAX_LABEL_LEN: usize = 63;

/// The name a client expects its peer's certificate to have.
///
/// ```
/// use openssl_dtls::ServerName;
///
/// # fn main() -> Result<(), openssl_dtls::ConfigError> {
/// assert!(matches!(ServerName::try_from("gateway.example.org")?, ServerName::Dns(_)));
/// assert!(matches!(ServerName::try_from("192.0.2.7")?, ServerName::Ip(_)));
/// assert!(ServerName::try_from("no spaces please").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// A DNS name; also sent to the peer (SNI).
    Dns(DnsName),
    /// An IP address; never sent (RFC 6066, 3).
    Ip(IpAddr),
}

/// A DNS name that was checked for its form.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// The name, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&str> for ServerName {
    type Error = ConfigError;

    /// Takes an IP address, with or without the brackets of IPv6, or a DNS name in its ASCII form.
    fn try_from(given: &str) -> Result<Self, ConfigError> {
        let unbracketed = given
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = unbracketed.unwrap_or(given).parse::<Ipv6Addr>() {
            return Ok(ServerName::Ip(ip.into()));
        }
        if let Ok(ip) = given.parse::<Ipv4Addr>() {
            return Ok(ServerName::Ip(ip.into()));
        }
        let name = given.strip_suffix('.').unwrap_or(given);
        let labels_fit = name.split('.').all(is_label);
        // A last label of digits alone would be an IPv4 address in another spelling.
        let is_number = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > MAX_NAME_LEN || !labels_fit || is_number {
            return Err(ConfigError::BadServerName {
                given: given.to_owned(),
            });
        }
        Ok(ServerName::Dns(DnsName(name.to_owned())))
    }
}

/// Letters, digits, hyphens inside, and the underscores that are met in practice.
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_LEN).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl From<IpAddr> for ServerName {
    fn from(ip: IpAddr) -> Self {
        ServerName::Ip(ip)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerName::Dns(name) => name.fmt(f),
            ServerName::Ip(ip) => ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        for (given, printed) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            let name = ServerName::try_from(given).unwrap();
            assert!(matches!(name, ServerName::Ip(_)), "{given}");
            assert_eq!(name.to_string(), printed);
        }
        for (given, printed) in [
            ("localhost", "localhost"),
            ("a.example.org.", "a.example.org"),
            ("x_1.y-z", "x_1.y-z"),
        ] {
            let name = ServerName::try_from(given).unwrap();
            assert!(matches!(name, ServerName::Dns(_)), "{given}");
            assert_eq!(name.to_string(), printed);
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long_label = "a".repeat(64);
        let long_name = vec!["a".repeat(50); 6].join(".");
        for given in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a\0b",
            "*.example.org",
            "é.org",
            "1.2.3",
            "[::1",
            "[192.0.2.1]",
            &long_label,
            &long_name,
        ] {
            assert!(
                matches!(
                    ServerName::try_from(given),
                    Err(ConfigError::BadServerName { given: g }) if g == given
                ),
                "{given:?}"
            );
        }
    }
}
