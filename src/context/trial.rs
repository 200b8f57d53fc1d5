//! Tries in memory what only libssl can tell: whether a context can take a role, whether a key can be used.

use std::net::{Ipv4Addr, SocketAddr};

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;

use super::Identity;
use super::builder::CERTIFICATE_SUITES;
use crate::error::ConfigError;
use crate::groups::{self, Group};
use crate::sys::ssl::{BoundSsl, Outcome};
use crate::sys::{certificates, context as sys};
use crate::transport::TransportConfig;
use crate::types::Role;

/// More flights than a handshake has.
const MAX_ROUNDS: usize = 8;
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Whether `ssl` begins a handshake in the role it was given.
pub(super) fn starts(ssl: Ssl, transport: &TransportConfig) -> Result<bool, ErrorStack> {
    let mut bound = BoundSsl::new(ssl, NOBODY, transport)?;
    Ok(matches!(bound.handshake(&[]), (Outcome::Waits, _)))
}

/// The groups that a client with the settings of `context` offers.
pub(super) fn groups(context: &SslContext) -> Result<Vec<Group>, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    super::set_role(&mut ssl, Role::Client);
    sys::set_invariants(&mut ssl);
    // A server's own suites may be of no use to a client.
    sys::allow_all_suites(&mut ssl)?;
    let mut bound = BoundSsl::new(ssl, NOBODY, &TransportConfig::default())?;
    if let (Outcome::Failed(stack), _) = bound.handshake(&[]) {
        return Err(stack);
    }
    let hello = bound.state_mut().output.pop();
    Ok(hello.and_then(groups::offered).unwrap_or_default())
}

/// Whether the certificate of `identity` reaches the peer of a `context` in a handshake of DTLS 1.2.
pub(super) fn identity_is_usable(
    context: &SslContext,
    role: Role,
    identity: &Identity,
) -> Result<bool, ConfigError> {
    let transport = TransportConfig::default();
    let bind = |context: &SslContext, role| {
        let mut ssl = Ssl::new(context)?;
        super::set_role(&mut ssl, role);
        sys::set_invariants(&mut ssl);
        ssl.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        BoundSsl::new(ssl, NOBODY, &transport)
    };
    let other_role = match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    };
    let mut ours = bind(context, role)?;
    certificates::clear(ours.ssl_mut());
    identity.certified()?.install_on(ours.ssl_mut())?;
    let mut other = bind(&counterpart(other_role)?, other_role)?;
    for _ in 0..MAX_ROUNDS {
        let exchanged = [
            exchange(&mut ours, &mut other),
            exchange(&mut other, &mut ours),
        ];
        if exchanged.contains(&false) {
            break;
        }
    }
    let shown = other.ssl().peer_certificate();
    Ok(shown.is_some_and(|shown| shown == *identity.certificate())
        && other.ssl().is_init_finished())
}

/// Gives `to` what `from` has to send; `false` once one of them failed.
fn exchange(from: &mut BoundSsl, to: &mut BoundSsl) -> bool {
    let mut goes_on = !matches!(from.handshake(&[]).0, Outcome::Failed(_));
    while let Some(datagram) = from.state_mut().output.pop() {
        goes_on &= !matches!(to.handshake(datagram).0, Outcome::Failed(_));
    }
    goes_on
}

/// A context for the other end, which verifies nothing.
fn counterpart(role: Role) -> Result<SslContext, ConfigError> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls())?;
    builder.set_cipher_list(CERTIFICATE_SUITES)?;
    if role == Role::Server {
        ephemeral_identity()?.certified()?.install(&mut builder)?;
    }
    Ok(builder.build())
}

fn ephemeral_identity() -> Result<Identity, ConfigError> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(1)?.as_ref())?;
    builder.sign(&key, MessageDigest::sha256())?;
    Identity::from_parts(vec![builder.build()], key)
}
