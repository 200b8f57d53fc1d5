//! Which identity a server shows, by the name its client asks for.

use std::collections::HashMap;
use std::fmt;

use openssl::ssl::{NameType, SniError, SslAlert, SslContextBuilder, SslRef};

use super::Identity;
use super::identity::key_types_differ;
use crate::error::{ConfigError, Error};
use crate::server_name::ServerName;
use crate::sys::certificates;
use crate::{guard, parking};

/// What a server does with a client that asks for a name without an identity (SNI, RFC 6066, 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownName {
    /// Shows the identity it was made with. The client's verification decides.
    #[default]
    UseDefault,
    /// Refuses with the alert unrecognized_name and [`Error::UnknownServerName`].
    Refuse,
}

type Choose = Box<dyn Fn(&str) -> Option<Identity> + Send + Sync>;

/// Identities by name.
#[derive(Default)]
pub(super) struct Names {
    given: Vec<(String, Identity)>,
    choose: Option<Choose>,
    pub(super) unknown: UnknownName,
}

impl Names {
    pub(super) fn add(&mut self, name: &str, identity: Identity) {
        self.given.push((name.to_owned(), identity));
    }

    pub(super) fn set_choice(
        &mut self,
        choose: impl Fn(&str) -> Option<Identity> + Send + Sync + 'static,
    ) {
        self.choose = Some(Box::new(choose));
    }

    /// Every identity that is known beforehand.
    pub(super) fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.given.iter().map(|(_, identity)| identity)
    }

    /// Makes servers of `builder` choose by name. Corresponds to `SSL_CTX_set_tlsext_servername_callback`.
    pub(super) fn install(self, builder: &mut SslContextBuilder) -> Result<(), ConfigError> {
        let Names {
            given,
            choose,
            unknown,
        } = self;
        if given.is_empty() && choose.is_none() {
            if unknown == UnknownName::Refuse {
                return Err(ConfigError::Contradiction {
                    what: "refusing unknown server names",
                    with: "a server that knows none",
                });
            }
            return Ok(());
        }
        let table = table(given)?;
        builder.set_servername_callback(move |ssl, alert| {
            let Some(asked) = ssl.servername_raw(NameType::HOST_NAME) else {
                return Err(SniError::NOACK);
            };
            let asked = String::from_utf8_lossy(asked).into_owned();
            let found = dns_name(&asked).and_then(|name| {
                find(&table, &name).map(<[_]>::to_vec).or_else(|| {
                    let choose = choose.as_ref()?;
                    guard::run(None, || choose(&name)).map(|identity| vec![identity])
                })
            });
            match found {
                Some(identities) => show(ssl, alert, &identities),
                None if unknown == UnknownName::Refuse => {
                    parking::park_error(ssl, Error::UnknownServerName { name: asked });
                    *alert = SslAlert::UNRECOGNIZED_NAME;
                    Err(SniError::ALERT_FATAL)
                }
                None => Err(SniError::NOACK),
            }
        });
        Ok(())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.given.iter().map(|(name, _)| name);
        f.debug_struct("Names")
            .field("names", &names.collect::<Vec<_>>())
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

type Table = HashMap<String, Vec<Identity>>;

/// Checks the names, and that each has one identity for each type of key.
fn table(given: Vec<(String, Identity)>) -> Result<Table, ConfigError> {
    let mut table = Table::new();
    for (given, identity) in given {
        let bad = || ConfigError::BadServerName {
            given: given.clone(),
        };
        let name = match given.strip_prefix("*.") {
            Some(rest) => format!("*.{}", dns_name(rest).ok_or_else(bad)?),
            None => dns_name(&given).ok_or_else(bad)?,
        };
        table.entry(name).or_default().push(identity);
    }
    for identities in table.values() {
        key_types_differ(identities)?;
    }
    Ok(table)
}

/// A DNS name in the form that names are compared in.
fn dns_name(name: &str) -> Option<String> {
    match ServerName::try_from(name) {
        Ok(ServerName::Dns(name)) => Some(name.as_str().to_ascii_lowercase()),
        _ => None,
    }
}

/// The identities for `name`, or for all names beside it.
fn find<'a>(table: &'a Table, name: &str) -> Option<&'a [Identity]> {
    let wildcard = || {
        let (_, parent) = name.split_once('.')?;
        table.get(&format!("*.{parent}"))
    };
    table.get(name).or_else(wildcard).map(Vec::as_slice)
}

/// Gives `ssl` these identities and none of its context's.
fn show(ssl: &mut SslRef, alert: &mut SslAlert, identities: &[Identity]) -> Result<(), SniError> {
    certificates::clear(ssl);
    for identity in identities {
        let installed = identity
            .certified()
            .and_then(|certified| certified.install_on(ssl));
        if let Err(stack) = installed {
            parking::park_error(ssl, Error::Setup(stack.into()));
            *alert = SslAlert::INTERNAL_ERROR;
            return Err(SniError::ALERT_FATAL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_go_before_wildcards_of_one_label() {
        let mut table = Table::new();
        for name in ["a.example", "*.example"] {
            table.insert(name.to_owned(), Vec::new());
        }
        let finds = |name| find(&table, name).is_some();
        for name in ["a.example", "b.example"] {
            assert!(finds(name), "{name}");
        }
        for name in ["example", "a.b.example", "a.other", "*.other"] {
            assert!(!finds(name), "{name}");
        }
        assert_eq!(dns_name("A.Example."), Some("a.example".to_owned()));
        assert_eq!(dns_name("192.0.2.1"), None);
        assert_eq!(dns_name("no name"), None);
    }
}
