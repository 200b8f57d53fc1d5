//! What callbacks of a shared context know about the object whose call they run in.
//!
//! Objects with equal configurations share one `SSL_CTX`, so its callbacks belong to none of them. libssl calls them on the thread
//! that called into it, and so the object leaves there what they need while it calls.

use std::cell::RefCell;
use std::sync::Arc;

use openssl::x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult};

use super::psk::PreSharedKeyAuthenticator;
use super::ssl_error::{SslError, SslErrorCode, not_ignored};
use crate::verification::VerificationError;

/// Answers the slot of Qt's `pskRequired`.
pub(super) type PskHandler = Box<dyn FnMut(&mut PreSharedKeyAuthenticator) + Send>;
/// Whether a certificate is denied.
pub(super) type Deny = Arc<dyn Fn(&X509Ref) -> bool + Send + Sync>;

/// What the callbacks need, and what they leave.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) psk: Option<PskHandler>,
    pub(super) judge: Judge,
}

/// Judges a certificate while libssl verifies it.
#[derive(Default)]
pub(super) struct Judge {
    pub(super) ignored: Vec<SslError>,
    pub(super) deny: Option<Deny>,
    /// Whether a name is missing that the certificate could be for.
    pub(super) name_is_missing: bool,
    /// The first objection of libssl's that is not ignored.
    unforgiven: Option<X509VerifyResult>,
    /// The chain of a peer that was refused.
    pub(super) chain: Vec<X509>,
}

thread_local! {
    /// One entry for each call on the stack: a closure of one object may use another.
    static CALLS: RefCell<Vec<Hooks>> = const { RefCell::new(Vec::new()) };
}

/// Runs `call` with `hooks` in reach of the callbacks.
pub(super) fn during<R>(hooks: &mut Hooks, call: impl FnOnce() -> R) -> R {
    /// Takes the hooks back, also when `call` unwinds.
    struct TakeBack<'a>(&'a mut Hooks);
    impl Drop for TakeBack<'_> {
        fn drop(&mut self) {
            if let Some(hooks) = CALLS.with_borrow_mut(Vec::pop) {
                *self.0 = hooks;
            }
        }
    }
    CALLS.with_borrow_mut(|calls| calls.push(std::mem::take(hooks)));
    let _take_back = TakeBack(hooks);
    call()
}

fn with_current<R>(look: impl FnOnce(&mut Hooks) -> R) -> Option<R> {
    CALLS.with_borrow_mut(|calls| calls.last_mut().map(look))
}

/// Lets the object's handler fill in `authenticator`. Without a handler it stays empty.
pub(super) fn ask_for_psk(authenticator: &mut PreSharedKeyAuthenticator) {
    /// Puts the handler back, also when it panics.
    struct PutBack(Option<PskHandler>);
    impl Drop for PutBack {
        fn drop(&mut self) {
            with_current(|hooks| hooks.psk = self.0.take());
        }
    }
    let handler = with_current(|hooks| hooks.psk.take()).flatten();
    let mut handler = PutBack(handler);
    if let Some(handler) = &mut handler.0 {
        handler(authenticator);
    }
}

/// Collects the objections to a chain, and refuses it at the end of its verification if one is not forgiven, so that all are known
/// and the peer is told. Outside of [`during`] nothing is forgiven.
pub(super) fn verify(good: bool, store: &mut X509StoreContextRef) -> bool {
    if !good {
        let result = store.error();
        let error = SslError::of(&VerificationError::of(store));
        return with_current(|hooks| {
            let judge = &mut hooks.judge;
            if judge.unforgiven.is_none() && !judge.ignored.contains(&error) {
                judge.unforgiven = Some(result);
            }
        })
        .is_some();
    }
    // libssl calls once more for each certificate that it is done with, the peer's own last.
    if store.error_depth() > 0 {
        return true;
    }
    let chain: Vec<X509> = store
        .chain()
        .into_iter()
        .flatten()
        .map(ToOwned::to_owned)
        .collect();
    let judged = with_current(|hooks| {
        let judge = &mut hooks.judge;
        let own = own_objections(&chain, judge.deny.as_ref(), judge.name_is_missing);
        judge.chain = chain;
        match not_ignored(&own, &judge.ignored).first() {
            Some(_) => Some(X509VerifyResult::APPLICATION_VERIFICATION),
            None => judge.unforgiven.take(),
        }
    });
    match judged {
        Some(None) => true,
        Some(Some(result)) => {
            store.set_error(result);
            false
        }
        None => {
            store.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
            false
        }
    }
}

/// What this module objects to in a peer's `chain`, and libssl does not: denied certificates, and a name that is missing.
pub(super) fn own_objections(
    chain: &[X509],
    deny: Option<&Deny>,
    name_is_missing: bool,
) -> Vec<SslError> {
    let denied = chain
        .iter()
        .filter(|certificate| deny.is_some_and(|deny| deny(certificate)))
        .map(|denied| SslError::new(SslErrorCode::CertificateBlacklisted, Some(denied.clone())));
    let mismatch = chain
        .first()
        .filter(|_| name_is_missing)
        .map(|leaf| SslError::new(SslErrorCode::HostNameMismatch, Some(leaf.clone())));
    denied.chain(mismatch).collect()
}

/// All objections to a peer's `chain`, in Qt's order: denied certificates, the name, then libssl's.
pub(super) fn all_objections(
    chain: &[X509],
    deny: Option<&Deny>,
    name_is_missing: bool,
    libssl: &[VerificationError],
) -> Vec<SslError> {
    let libssl = libssl.iter().map(SslError::of);
    let (names, rest): (Vec<_>, Vec<_>) =
        libssl.partition(|error| error.error() == SslErrorCode::HostNameMismatch);
    let mut all = own_objections(chain, deny, name_is_missing);
    all.extend(names);
    all.extend(rest);
    all
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::qdtls::DtlsConfiguration;
    use crate::qdtls::contexts::Needs;
    use crate::support::certs;
    use crate::{AddressProof, Connection, Context, Error, Role, ServerName};

    /// Runs a handshake of a client of `context`, and answers how it failed.
    fn failure(context: &Context) -> Option<Error> {
        let now = Instant::now();
        let addr: std::net::SocketAddr = "192.0.2.1:4433".parse().unwrap();
        let server = Context::server(certs::server_identity()).build().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = Connection::client(context, addr, Some(name), now).unwrap();
        let proof = AddressProof::ProvedElsewhere;
        let mut server = Connection::server(&server, addr, now, proof).unwrap();
        while !client.is_established() {
            while let Some(transmit) = client.poll_transmit() {
                server.handle_datagram(now, transmit.contents).unwrap();
            }
            while let Some(transmit) = server.poll_transmit() {
                if let Err(error) = client.handle_datagram(now, transmit.contents) {
                    return Some(error);
                }
            }
        }
        None
    }

    #[test]
    fn nothing_is_forgiven_without_an_object() {
        let mut configuration = DtlsConfiguration::empty();
        configuration.set_protocol(crate::qdtls::SslProtocol::DtlsV1_2);
        let transport = configuration.transport().clone().handshake_restarts(0);
        configuration.set_transport(transport);
        let authority = certs::authority().certificate.clone();
        for trusted in [vec![], vec![authority]] {
            let trusts = !trusted.is_empty();
            configuration.set_ca_certificates(trusted);
            let needs = Needs {
                role: Role::Client,
                psk: false,
                certificate: false,
            };
            let context = configuration.context(needs).unwrap();
            let transport = configuration.transport().clone();
            let context = context.with_transport(transport).unwrap();
            let error = failure(&context);
            assert!(
                matches!(error, Some(Error::CertificateRejected { .. })),
                "{error:?}"
            );
            let mut hooks = Hooks::default();
            let error = during(&mut hooks, || failure(&context));
            assert_eq!(error.is_none(), trusts, "{error:?}");
        }
    }
}
