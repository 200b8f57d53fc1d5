//! Certificates and keys in files, for programs that take nothing else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use openssl_dtls::Identity;
use openssl_dtls::openssl::pkey::{PKey, Private};
use openssl_dtls::openssl::x509::X509;
use tempfile::TempDir;

use crate::support::certs::{self, Authority, Leaf};

/// A directory of files that is gone when this is dropped.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    /// Writes a file and answers its path.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The path of a file that another writes.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn authority(&self, authority: &Authority) -> String {
        self.write("ca.pem", authority.pem())
    }

    /// Writes a certificate with those above it, and its key, and answers both paths.
    pub(crate) fn identity(&self, name: &str, credentials: &Credentials) -> [String; 2] {
        let chain: Vec<u8> = credentials
            .chain
            .iter()
            .flat_map(|certificate| certificate.to_pem().unwrap())
            .collect();
        let key = credentials.key.private_key_to_pem_pkcs8().unwrap();
        [
            self.write(&format!("{name}.pem"), chain),
            self.write(&format!("{name}.key"), key),
        ]
    }
}

/// A certificate, those above it, and its key, which an [`Identity`] does not give out.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) chain: Vec<X509>,
    pub(crate) key: PKey<Private>,
}

impl Credentials {
    pub(crate) fn issue(authority: &Authority, leaf: &Leaf<'_>) -> Credentials {
        Credentials {
            chain: authority.issue_chain(leaf),
            key: leaf.key.clone(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_parts(self.chain.clone(), self.key.clone()).unwrap()
    }
}

/// A certificate of the authority for `localhost` and 127.0.0.1.
pub(crate) fn localhost() -> Credentials {
    let ip = Some([127, 0, 0, 1].into());
    let leaf = Leaf {
        ip,
        ..Leaf::named("localhost")
    };
    Credentials::issue(certs::authority(), &leaf)
}

/// A certificate of the authority for `name`.
pub(crate) fn named(name: &str) -> Credentials {
    Credentials::issue(certs::authority(), &Leaf::named(name))
}

/// A certificate for `localhost` that was good until 2021.
pub(crate) fn expired() -> Credentials {
    let leaf = Leaf {
        not_after: "20210101000000Z",
        ..Leaf::named("localhost")
    };
    Credentials::issue(certs::authority(), &leaf)
}

/// A chain of 4096-bit RSA certificates for `localhost` that takes several datagrams.
pub(crate) fn rsa() -> &'static (Authority, Credentials) {
    static RSA: OnceLock<(Authority, Credentials)> = OnceLock::new();
    RSA.get_or_init(|| {
        let root = Authority::root("rsa root", kept_rsa_key("root"));
        let intermediate = root.intermediate("rsa intermediate", kept_rsa_key("intermediate"));
        let leaf = Leaf {
            key: kept_rsa_key("leaf"),
            ..Leaf::named("localhost")
        };
        let credentials = Credentials::issue(&intermediate, &leaf);
        (root, credentials)
    })
}

/// A 4096-bit RSA key that is kept beside the build, since it takes seconds to make and every test has a process of its own.
fn kept_rsa_key(name: &str) -> PKey<Private> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(format!("rsa-4096-{name}.pem"));
    if let Ok(pem) = std::fs::read(&path) {
        return PKey::private_key_from_pem(&pem).unwrap();
    }
    let key = certs::rsa_key(4096);
    // Whole or not at all, whoever else makes one now.
    let mut file = tempfile::NamedTempFile::new_in(directory).unwrap();
    file.write_all(&key.private_key_to_pem_pkcs8().unwrap())
        .unwrap();
    file.persist(path).unwrap();
    key
}
