//! Options that the examples have in common.

use std::path::PathBuf;

use clap::Args;
use openssl_dtls::{ContextBuilder, Fingerprint, SrtpProfile};

/// What either end may set.
#[derive(Args, Clone)]
pub(crate) struct Settings {
    /// The cipher suites, in OpenSSL's notation
    #[arg(long, value_name = "LIST")]
    cipher: Option<String>,
    /// What OpenSSL takes for secure, 0 to 5
    #[arg(long, value_name = "N")]
    security_level: Option<u32>,
    /// The application protocols, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    alpn: Vec<String>,
    /// The SRTP profiles by OpenSSL's names, separated by colons
    #[arg(long, value_name = "LIST", value_delimiter = ':', value_parser = parse_profile)]
    srtp: Vec<SrtpProfile>,
    /// Append the keys of each connection to a file, for Wireshark: whoever reads it can decrypt them
    #[arg(long, value_name = "FILE")]
    keylog: Option<PathBuf>,
    /// Take the peer with this certificate and no other: its SHA-256 digest in hexadecimal digits
    #[arg(long, value_name = "SHA256", value_parser = parse_fingerprint)]
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Settings {
    pub(crate) fn apply<R>(&self, mut builder: ContextBuilder<R>) -> ContextBuilder<R> {
        if let Some(list) = &self.cipher {
            builder = builder.cipher_list(list);
        }
        if let Some(level) = self.security_level {
            builder = builder.security_level(level);
        }
        if !self.alpn.is_empty() {
            builder = builder.application_protocols(&self.alpn);
        }
        if let Some(path) = &self.keylog {
            builder = builder.key_log_file(path);
        }
        if let Some(fingerprint) = self.fingerprint {
            builder = builder.pin([fingerprint]);
        }
        builder.srtp(&self.srtp)
    }
}

fn parse_profile(given: &str) -> Result<SrtpProfile, String> {
    let mut profiles = SrtpProfile::ALL.iter().copied();
    match profiles.find(|profile| profile.name() == given) {
        Some(profile) if profile.is_available() => Ok(profile),
        Some(_) => Err("this OpenSSL does not know the profile".to_owned()),
        None => {
            let known = SrtpProfile::ALL
                .iter()
                .filter(|profile| profile.is_available());
            let names: Vec<_> = known.map(|profile| profile.name()).collect();
            Err(format!("expected one of {}", names.join(", ")))
        }
    }
}

fn parse_fingerprint(given: &str) -> Result<Fingerprint, String> {
    given
        .parse()
        .map_err(|_| "expected 32 bytes in hexadecimal digits".to_owned())
}
