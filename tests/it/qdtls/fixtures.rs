//! Certificates with what verification looks at: names, usages, who signed them.

#![expect(unreachable_pub, reason = "shared by the modules of these tests")]

use std::sync::OnceLock;

use openssl_dtls::openssl::asn1::{Asn1Integer, Asn1Time};
use openssl_dtls::openssl::bn::{BigNum, MsbOption};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkey::{PKey, Private};
use openssl_dtls::openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName,
};
use openssl_dtls::openssl::x509::{X509, X509Name};
use openssl_dtls::qdtls::DtlsConfiguration;

use crate::support::certs::{ec_key, rsa_key};

/// The name most certificates of servers have.
pub const HOST: &str = "bob.example";

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
    Authority,
}

/// A chain, the leaf first, and the leaf's key.
#[derive(Clone)]
pub struct Party {
    pub chain: Vec<X509>,
    pub key: PKey<Private>,
}

impl Party {
    pub fn leaf(&self) -> &X509 {
        &self.chain[0]
    }

    /// A certificate of its own signature.
    pub fn self_signed(name: &str, usage: Usage, key: PKey<Private>) -> Party {
        let certificate = certificate(name, usage, &key, None);
        Party {
            chain: vec![certificate],
            key,
        }
    }

    /// A certificate that this party signs; its chain does not hold this party's.
    pub fn signs(&self, name: &str, usage: Usage, key: PKey<Private>) -> Party {
        let certificate = certificate(name, usage, &key, Some((self.leaf(), &self.key)));
        Party {
            chain: vec![certificate],
            key,
        }
    }

    /// With `above` in its chain.
    pub fn below(mut self, above: &Party) -> Party {
        self.chain.extend(above.chain.iter().cloned());
        self
    }

    pub fn identify(&self, configuration: &mut DtlsConfiguration) {
        configuration.set_local_certificate_chain(self.chain.clone());
        configuration.set_private_key(self.key.clone());
    }
}

fn certificate(
    name: &str,
    usage: Usage,
    key: &PKey<Private>,
    issuer: Option<(&X509, &PKey<Private>)>,
) -> X509 {
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&Asn1Integer::from_bn(&serial).unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_pubkey(key).unwrap();
    let (from, until) = ("20200101000000Z", "20491231235959Z");
    builder
        .set_not_before(&Asn1Time::from_str(from).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_str(until).unwrap())
        .unwrap();
    let (issuer_name, signer) = match issuer {
        Some((certificate, key)) => (certificate.subject_name(), key),
        None => (&*subject, key),
    };
    builder.set_issuer_name(issuer_name).unwrap();
    let constraints = match usage {
        Usage::Authority => BasicConstraints::new().critical().ca().build(),
        _ => BasicConstraints::new().build(),
    };
    builder.append_extension(constraints.unwrap()).unwrap();
    let mut extended = ExtendedKeyUsage::new();
    match usage {
        Usage::Server => {
            let context = builder.x509v3_context(None, None);
            let names = SubjectAlternativeName::new()
                .dns(name)
                .ip("192.0.2.2")
                .ip("2001:db8::2")
                .build(&context)
                .unwrap();
            builder.append_extension(names).unwrap();
            builder
                .append_extension(extended.server_auth().build().unwrap())
                .unwrap();
        }
        Usage::Client => builder
            .append_extension(extended.client_auth().build().unwrap())
            .unwrap(),
        Usage::Authority => {}
    }
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// All parties there are, made once for a process.
pub struct Parties {
    pub authority: Party,
    pub server: Party,
    pub client: Party,
    /// A server's, which nobody vouches for.
    pub self_signed: Party,
    /// A client's, which nobody vouches for.
    pub self_signed_client: Party,
}

pub fn parties() -> &'static Parties {
    static PARTIES: OnceLock<Parties> = OnceLock::new();
    PARTIES.get_or_init(|| {
        let authority = Party::self_signed("authority", Usage::Authority, ec_key());
        Parties {
            server: authority.signs(HOST, Usage::Server, ec_key()),
            client: authority
                .signs("client", Usage::Client, ec_key())
                .below(&authority),
            self_signed: Party::self_signed(HOST, Usage::Server, ec_key()),
            self_signed_client: Party::self_signed("stranger", Usage::Client, ec_key()),
            authority,
        }
    })
}

/// A server with an RSA key, for suites that need one.
pub fn rsa_server() -> &'static Party {
    static PARTY: OnceLock<Party> = OnceLock::new();
    PARTY.get_or_init(|| Party::self_signed(HOST, Usage::Server, rsa_key(2048)))
}
