//! Certificates made in memory, good for a day.

use std::net::IpAddr;

use openssl_dtls::Identity;
use openssl_dtls::openssl::asn1::{Asn1Integer, Asn1Time};
use openssl_dtls::openssl::bn::{BigNum, MsbOption};
use openssl_dtls::openssl::ec::{EcGroup, EcKey};
use openssl_dtls::openssl::error::ErrorStack;
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkey::{PKey, Private};
use openssl_dtls::openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl_dtls::openssl::x509::{X509, X509Builder, X509Name, X509NameRef};

type Failure = Box<dyn std::error::Error>;

/// A certificate authority of its own.
pub(crate) struct Authority {
    pub(crate) certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Result<Authority, ErrorStack> {
        let key = new_key()?;
        let name = common_name(name)?;
        let mut builder = unsigned(&name, &key)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Authority {
            certificate: builder.build(),
            key,
        })
    }

    /// A certificate for a DNS name, and for `addresses`.
    pub(crate) fn issue(&self, name: &str, addresses: &[IpAddr]) -> Result<Identity, Failure> {
        let key = new_key()?;
        let mut builder = unsigned(&*common_name(name)?, &key)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        let mut names = SubjectAlternativeName::new();
        names.dns(name);
        for address in addresses {
            names.ip(&address.to_string());
        }
        let names = names.build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(names)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(Identity::from_parts(vec![builder.build()], key)?)
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

fn unsigned(subject: &X509NameRef, key: &PKey<Private>) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(64, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    builder.set_subject_name(subject)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    Ok(builder)
}
