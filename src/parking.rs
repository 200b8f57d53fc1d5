//! What callbacks of libssl leave for the connection they run in.
//!
//! A callback answers libssl with a number. What a caller should know beyond that waits in the `SSL` until the call into libssl is
//! back: an error that wins over libssl's own, and objections to the peer's certificate.

use std::sync::{Mutex, OnceLock, PoisonError};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslRef};

use crate::error::Error;
use crate::verification::VerificationError;

/// More objections than a chain that is meant well can give cause for.
const MAX_VERIFICATION_ERRORS: usize = 64;

/// What callbacks left.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// Why a callback refused.
    pub(crate) error: Option<Error>,
    /// Objections to the peer's certificate, in the order they were raised.
    pub(crate) verification_errors: Vec<VerificationError>,
    /// The name in the ClientHello, which libssl forgets when it resumes a session.
    pub(crate) asked_name: Option<String>,
}

/// A lock, since some callbacks are lent the `SSL` shared only. It is never contended: an `SSL` is used by one thread at a time.
///
/// Boxed because every `SSL` has one for its life, and hardly any is ever used.
type Place = Mutex<Option<Box<Parked>>>;

/// Where in an `SSL` it waits.
fn index() -> Result<Index<Ssl, Place>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Place>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

/// Makes room in a fresh `ssl`.
pub(crate) fn prepare(ssl: &mut SslRef) -> Result<(), ErrorStack> {
    ssl.set_ex_data(index()?, Place::default());
    Ok(())
}

/// Leaves `error`, unless an earlier one waits.
pub(crate) fn park_error(ssl: &SslRef, error: Error) {
    with(ssl, |place| {
        let parked = place.get_or_insert_default();
        parked.error.get_or_insert(error);
    });
}

/// Leaves an objection to the peer's certificate.
pub(crate) fn park_verification_error(ssl: &SslRef, error: VerificationError) {
    with(ssl, |place| {
        let parked = place.get_or_insert_default();
        if parked.verification_errors.len() < MAX_VERIFICATION_ERRORS {
            parked.verification_errors.push(error);
        }
    });
}

/// Leaves the name a client asks for.
pub(crate) fn park_asked_name(ssl: &SslRef, name: &[u8]) {
    if let Ok(name) = str::from_utf8(name)
        && !name.is_empty()
    {
        with(ssl, |place| {
            place.get_or_insert_default().asked_name = Some(name.to_owned());
        });
    }
}

/// Takes what was left. Nothing, where there is no room: in the `SSL` of an adopted context.
pub(crate) fn take(ssl: &SslRef) -> Parked {
    let mut taken = None;
    with(ssl, |place| taken = place.take());
    taken.map(|parked| *parked).unwrap_or_default()
}

fn with(ssl: &SslRef, look: impl FnOnce(&mut Option<Box<Parked>>)) {
    if let Ok(index) = index()
        && let Some(place) = ssl.ex_data(index)
    {
        look(&mut place.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
