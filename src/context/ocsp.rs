//! OCSP stapling: a server shows what its authority says about its certificate (RFC 6066, 8), and a client checks it.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::ocsp::{
    OcspBasicResponse, OcspCertId, OcspCertStatus, OcspFlag, OcspResponse, OcspResponseStatus,
    OcspStatus,
};
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl::x509::{X509Ref, X509VerifyResult};

use crate::error::{ConfigError, Error};
use crate::sys::ocsp::{Subject, subjects};
use crate::{guard, parking};

/// Seconds that the clocks of an authority and of this host may be apart.
const SKEW: u32 = 300;

/// An OCSP response that says something: what a server staples to its certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct OcspStaple {
    der: Vec<u8>,
    subjects: Vec<Subject>,
}

impl OcspStaple {
    /// Takes an OCSP response in DER, as an authority's responder gives it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`] for what is none, or one that says no more than that the responder could not answer. Not every
    /// libssl would notice.
    pub fn from_der(der: &[u8]) -> Result<OcspStaple, ConfigError> {
        const WHAT: &str = "OCSP response";
        let parse = |source| ConfigError::Parse { what: WHAT, source };
        let response = OcspResponse::from_der(der).map_err(parse)?;
        if response.status() != OcspResponseStatus::SUCCESSFUL {
            return Err(parse(ErrorStack::get()));
        }
        let basic = response.basic().map_err(parse)?;
        Ok(OcspStaple {
            der: der.to_vec(),
            subjects: subjects(&basic),
        })
    }

    /// The response in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Whether this is about `certificate`.
    ///
    /// OpenSSL 3.6 and 4 leave out a staple that is not, or that belongs to a self-signed certificate, but count it as sent: the
    /// client then waits for the missing message until it gives up (statem_srvr.c, `ossl_get_ocsp_response`).
    fn is_about(&self, certificate: &X509Ref) -> Result<bool, ErrorStack> {
        if certificate.issued(certificate) == X509VerifyResult::OK {
            return Ok(false);
        }
        let serial = certificate.serial_number().to_bn()?.to_vec();
        let issuer = certificate.issuer_name().to_der()?;
        Ok(self.subjects.iter().any(|subject| {
            let digest = MessageDigest::from_nid(subject.digest);
            subject.serial == serial
                && digest
                    .and_then(|digest| hash(digest, &issuer).ok())
                    .is_some_and(|hash| *hash == subject.issuer_name_hash[..])
        }))
    }
}

impl fmt::Debug for OcspStaple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OcspStaple").field(&self.der.len()).finish()
    }
}

/// What a client makes of OCSP staples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspStapling {
    /// Asks for one, and goes on if the server has none. One that is there must be good.
    Request,
    /// Refuses servers without a good one.
    Require,
}

/// What is wrong with an OCSP staple; see [`Error::CertificateStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StapleProblem {
    /// There is none, though one is required.
    #[error("the server stapled none")]
    Missing,
    /// It is no OCSP response, or one that says nothing.
    #[error("the staple is not an OCSP response")]
    Malformed,
    /// Its signature is wrong, or not of an authority that may say so.
    #[error("the staple is not signed by the certificate's authority")]
    Untrusted,
    /// It is about another certificate.
    #[error("the staple is about another certificate")]
    OtherCertificate,
    /// It is not valid yet, or not any more.
    #[error("the staple is out of date")]
    OutOfDate,
    /// The certificate is revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// The authority does not know the certificate.
    #[error("the authority does not know the certificate")]
    UnknownCertificate,
}

type Choose = Box<dyn Fn(&X509Ref) -> Option<OcspStaple> + Send + Sync>;

/// How a server comes by its staples.
pub(super) struct Staples(Choose);

impl Staples {
    pub(super) fn new(
        choose: impl Fn(&X509Ref) -> Option<OcspStaple> + Send + Sync + 'static,
    ) -> Staples {
        Staples(Box::new(choose))
    }

    /// Corresponds to `SSL_CTX_set_tlsext_status_cb` and `SSL_set_tlsext_status_ocsp_resp`.
    pub(super) fn install(self, builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        builder.set_status_callback(move |ssl| {
            let staple = guard::run(None, || {
                let certificate = ssl.certificate()?;
                let staple = (self.0)(certificate)?;
                let fits = staple.is_about(certificate).unwrap_or(false);
                fits.then_some(staple)
            });
            let Some(staple) = staple else {
                return Ok(false);
            };
            ssl.set_ocsp_status(&staple.der)?;
            Ok(true)
        })
    }
}

impl fmt::Debug for Staples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Staples").finish_non_exhaustive()
    }
}

/// Makes clients of `builder` check staples; each connection asks for its own with `SSL_set_tlsext_status_type`.
///
/// Corresponds to `SSL_CTX_set_tlsext_status_cb`: libssl itself checks nothing.
pub(super) fn install_check(
    builder: &mut SslContextBuilder,
    stapling: OcspStapling,
) -> Result<(), ErrorStack> {
    builder.set_status_callback(move |ssl| match guard::run(Ok(()), || check(ssl)) {
        Ok(()) => Ok(true),
        Err(StapleProblem::Missing) if stapling == OcspStapling::Request => Ok(true),
        Err(problem) => {
            parking::park_error(ssl, Error::CertificateStatus(problem));
            Ok(false)
        }
    })
}

/// Holds the staple against the chain that was verified.
fn check(ssl: &SslRef) -> Result<(), StapleProblem> {
    let Some(chain) = ssl.verified_chain() else {
        // Without a certificate there is nothing to say about it.
        return Ok(());
    };
    let der = ssl.ocsp_status().ok_or(StapleProblem::Missing)?;
    let response = OcspResponse::from_der(der).map_err(|_| StapleProblem::Malformed)?;
    if response.status() != OcspResponseStatus::SUCCESSFUL {
        return Err(StapleProblem::Malformed);
    }
    let basic = response.basic().map_err(|_| StapleProblem::Malformed)?;
    basic
        .verify(chain, ssl.ssl_context().cert_store(), OcspFlag::empty())
        .map_err(|_| StapleProblem::Untrusted)?;
    let mut certificates = chain.iter();
    let leaf = certificates.next().ok_or(StapleProblem::OtherCertificate)?;
    // A certificate that is trusted itself has no other issuer.
    let issuer = certificates.next().unwrap_or(leaf);
    let status = [MessageDigest::sha1(), MessageDigest::sha256()]
        .into_iter()
        .find_map(|digest| status_of(&basic, digest, leaf, issuer))
        .ok_or(StapleProblem::OtherCertificate)?;
    status
        .check_validity(SKEW, None)
        .map_err(|_| StapleProblem::OutOfDate)?;
    match status.status {
        OcspCertStatus::GOOD => Ok(()),
        OcspCertStatus::REVOKED => Err(StapleProblem::Revoked),
        _ => Err(StapleProblem::UnknownCertificate),
    }
}

/// What `basic` says about `leaf`, whose id a responder may have made with one digest or another.
fn status_of<'a>(
    basic: &'a OcspBasicResponse,
    digest: MessageDigest,
    leaf: &X509Ref,
    issuer: &X509Ref,
) -> Option<OcspStatus<'a>> {
    let id = OcspCertId::from_cert(digest, leaf, issuer).ok()?;
    basic.find_status(&id)
}
