//! Certificates made on the spot.

use std::net::IpAddr;
use std::sync::OnceLock;

use openssl_dtls::openssl::asn1::{Asn1Integer, Asn1Time};
use openssl_dtls::openssl::bn::BigNum;
use openssl_dtls::openssl::ec::{EcGroup, EcKey};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkey::{Id, PKey, Private};
use openssl_dtls::openssl::pkey_ctx::PkeyCtx;
use openssl_dtls::openssl::rsa::Rsa;
use openssl_dtls::openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl_dtls::openssl::x509::{X509, X509Name, X509NameRef};
use openssl_dtls::{Identity, Role};

/// After the stopped clock's moment, 2030, and long after today.
pub const NOT_AFTER: &str = "20491231235959Z";
pub const NOT_BEFORE: &str = "20200101000000Z";

/// Something that signs certificates.
#[derive(Clone)]
pub struct Authority {
    pub certificate: X509,
    pub key: PKey<Private>,
    /// From this authority up to below the root.
    chain: Vec<X509>,
}

/// What a certificate says.
pub struct Leaf<'a> {
    pub name: &'a str,
    pub ip: Option<IpAddr>,
    pub not_after: &'a str,
    pub key: PKey<Private>,
    /// The one thing the certificate is good for, if it says so.
    pub usage: Option<Role>,
}

impl Leaf<'_> {
    pub fn named(name: &str) -> Leaf<'_> {
        Leaf {
            name,
            ip: None,
            not_after: NOT_AFTER,
            key: ec_key(),
            usage: None,
        }
    }
}

pub fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn rsa_pss_key() -> PKey<Private> {
    let mut context = PkeyCtx::new_id(Id::RSA_PSS).unwrap();
    context.keygen_init().unwrap();
    context.set_rsa_keygen_bits(2048).unwrap();
    context.keygen().unwrap()
}

pub fn rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)
        .unwrap();
    name.build()
}

impl Authority {
    pub fn root(common_name: &str, key: PKey<Private>) -> Authority {
        let subject = name(common_name);
        let certificate = sign(&subject, &key, &subject, &key, NOT_AFTER, may_sign);
        Authority {
            certificate,
            key,
            chain: Vec::new(),
        }
    }

    /// A certificate for `name` that signed itself and says nothing of what it is for.
    pub fn self_signed(common_name: &str, key: PKey<Private>) -> Authority {
        let subject = name(common_name);
        let certificate = sign(&subject, &key, &subject, &key, NOT_AFTER, |_| {});
        Authority {
            certificate,
            key,
            chain: Vec::new(),
        }
    }

    pub fn intermediate(&self, common_name: &str, key: PKey<Private>) -> Authority {
        let issuer = self.certificate.subject_name();
        let subject = name(common_name);
        let certificate = sign(&subject, &key, issuer, &self.key, NOT_AFTER, may_sign);
        let mut chain = vec![certificate.clone()];
        chain.extend(self.chain.clone());
        Authority {
            certificate,
            key,
            chain,
        }
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Identity {
        Identity::from_parts(self.issue_chain(leaf), leaf.key.clone()).unwrap()
    }

    /// The leaf's certificate and those above it, without the root.
    pub fn issue_chain(&self, leaf: &Leaf<'_>) -> Vec<X509> {
        let issuer = self.certificate.subject_name();
        let certificate = sign(
            &name(leaf.name),
            &leaf.key,
            issuer,
            &self.key,
            leaf.not_after,
            |builder| {
                let mut names = SubjectAlternativeName::new();
                names.dns(leaf.name);
                if let Some(ip) = leaf.ip {
                    names.ip(&ip.to_string());
                }
                let mut usage = ExtendedKeyUsage::new();
                match leaf.usage {
                    Some(Role::Client) => drop(usage.client_auth()),
                    Some(Role::Server) => drop(usage.server_auth()),
                    None => {}
                }
                if leaf.usage.is_some() {
                    builder.append_extension(usage.build().unwrap()).unwrap();
                }
                let context = builder.x509v3_context(Some(&self.certificate), None);
                let names = names.build(&context).unwrap();
                builder.append_extension(names).unwrap();
            },
        );
        let mut chain = vec![certificate];
        chain.extend(self.chain.clone());
        chain
    }

    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }
}

/// Says that a certificate is an authority's, in both places where peers look.
fn may_sign(builder: &mut openssl_dtls::openssl::x509::X509Builder) {
    let constraints = BasicConstraints::new().critical().ca().build().unwrap();
    builder.append_extension(constraints).unwrap();
    let usage = KeyUsage::new()
        .critical()
        .key_cert_sign()
        .crl_sign()
        .build()
        .unwrap();
    builder.append_extension(usage).unwrap();
}

fn sign(
    subject: &X509NameRef,
    key: &PKey<Private>,
    issuer: &X509NameRef,
    issuer_key: &PKey<Private>,
    not_after: &str,
    extend: impl FnOnce(&mut openssl_dtls::openssl::x509::X509Builder),
) -> X509 {
    let mut serial = BigNum::new().unwrap();
    serial
        .rand(64, openssl_dtls::openssl::bn::MsbOption::MAYBE_ZERO, false)
        .unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&Asn1Integer::from_bn(&serial).unwrap())
        .unwrap();
    builder.set_subject_name(subject).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_str(NOT_BEFORE).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_str(not_after).unwrap())
        .unwrap();
    extend(&mut builder);
    let digest = match issuer_key.id() {
        openssl_dtls::openssl::pkey::Id::ED25519 | openssl_dtls::openssl::pkey::Id::ED448 => {
            MessageDigest::null()
        }
        _ => MessageDigest::sha256(),
    };
    builder.sign(issuer_key, digest).unwrap();
    builder.build()
}

/// The authority that most tests trust.
pub fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::root("test authority", ec_key()))
}

/// The key of [`server_identity`].
pub fn server_key() -> PKey<Private> {
    static KEY: OnceLock<PKey<Private>> = OnceLock::new();
    KEY.get_or_init(ec_key).clone()
}

/// A certificate for `localhost` and 127.0.0.1.
pub fn server_identity() -> Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let make = || {
        let ip = Some([127, 0, 0, 1].into());
        authority().issue(&Leaf {
            ip,
            key: server_key(),
            ..Leaf::named("localhost")
        })
    };
    IDENTITY.get_or_init(make).clone()
}

/// A certificate for a client.
pub fn client_identity() -> Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY
        .get_or_init(|| authority().issue(&Leaf::named("client-1")))
        .clone()
}

/// The keys of root, intermediate and leaf of [`rsa_chain`]. They lie in a file: making them takes seconds.
fn rsa_keys() -> impl Iterator<Item = PKey<Private>> {
    const END: &str = "-----END PRIVATE KEY-----\n";
    include_str!("rsa_keys.pem")
        .split_inclusive(END)
        .map(|pem| PKey::private_key_from_pem(pem.as_bytes()).unwrap())
}

/// The key of the leaf of [`rsa_chain`].
pub fn rsa_leaf_key() -> PKey<Private> {
    rsa_keys().last().unwrap()
}

/// An RSA chain of root, intermediate and leaf that takes several datagrams.
pub fn rsa_chain() -> &'static (Authority, Identity) {
    static CHAIN: OnceLock<(Authority, Identity)> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let mut keys = rsa_keys();
        let mut next_key = || keys.next().unwrap();
        let root = Authority::root("rsa root", next_key());
        let intermediate = root.intermediate("rsa intermediate", next_key());
        let leaf = Leaf {
            key: next_key(),
            ..Leaf::named("localhost")
        };
        let identity = intermediate.issue(&leaf);
        (root, identity)
    })
}
