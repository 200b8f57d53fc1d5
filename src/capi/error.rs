//! Result codes, and the texts behind them.

use core::ffi::{CStr, c_char};
use std::cell::RefCell;
use std::error::Error as StdError;

use super::handle::{Object, buffer};
use crate::error::{
    ConfigError, ConnectError, CookieError, Error, ExportError, RebindError, SendError,
};

macro_rules! results {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal, $text:literal;)+) => {
        /// What a function answers.
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[must_use]
        pub enum odtls_result {
            $($(#[doc = $doc])+ $name = $value,)+
        }

        impl odtls_result {
            const ALL: &[odtls_result] = &[$(odtls_result::$name,)+];

            fn text(self) -> &'static CStr {
                match self {
                    $(odtls_result::$name => $text,)+
                }
            }
        }
    };
}

results! {
    /// It worked.
    ODTLS_OK = 0, c"ok";
    /// There is nothing now: no datagram, message, event or timeout. Not a failure.
    ODTLS_NOTHING = 1, c"nothing now";
    /// A pointer that is needed is null.
    ODTLS_NULL_POINTER = 2, c"a pointer is null";
    /// An argument is not what it must be: a length, an address, a string, a number.
    ODTLS_INVALID_ARGUMENT = 3, c"an argument is invalid";
    /// The object is used by another call.
    ODTLS_BUSY = 4, c"the object is in use by another call";
    /// A panic inside the library; the object can only be freed.
    ODTLS_PANIC = 5, c"a panic inside the library";
    /// The output does not fit the buffer; its length was written.
    ODTLS_BUFFER_TOO_SMALL = 6, c"the buffer is too small";
    /// The handle names no connection, or one that is over.
    ODTLS_STALE_HANDLE = 7, c"no connection has this handle";
    /// A configuration that cannot work.
    ODTLS_CONFIG = 8, c"the configuration cannot work";
    /// The random generator failed.
    ODTLS_RANDOM = 9, c"the random generator failed";
    /// A limit of the endpoint refuses it.
    ODTLS_LIMIT = 10, c"a limit is reached";

    /// The handshake is not complete.
    ODTLS_NOT_ESTABLISHED = 20, c"the connection is not established";
    /// The connection is closed or has failed.
    ODTLS_CLOSED = 21, c"the connection is closed";
    /// An empty message cannot be sent.
    ODTLS_EMPTY = 22, c"an empty message cannot be sent";
    /// The message does not fit into one datagram.
    ODTLS_TOO_LARGE = 23, c"the message is too large";
    /// Too many datagrams wait to be taken.
    ODTLS_FULL = 24, c"too many datagrams wait to be taken";

    /// The handshake did not complete in time.
    ODTLS_HANDSHAKE_TIMEOUT = 40, c"the handshake timed out";
    /// The peer ended the connection with an alert.
    ODTLS_ALERT_RECEIVED = 41, c"the peer sent a fatal alert";
    /// The peer closed during the handshake.
    ODTLS_CLOSED_IN_HANDSHAKE = 42, c"the peer closed during the handshake";
    /// The peer's certificate was refused.
    ODTLS_CERTIFICATE_REJECTED = 43, c"the peer's certificate was refused";
    /// The peer sent no certificate.
    ODTLS_NO_PEER_CERTIFICATE = 44, c"the peer sent no certificate";
    /// No shared suite, group or signature algorithm.
    ODTLS_NO_SHARED_CIPHER_SUITE = 45, c"no shared cipher suite";
    /// No shared protocol version.
    ODTLS_NO_SHARED_VERSION = 46, c"no shared protocol version";
    /// The pre-shared key identity is unknown.
    ODTLS_UNKNOWN_PSK_IDENTITY = 47, c"the pre-shared key identity is unknown";
    /// The cookie exchange failed.
    ODTLS_COOKIE = 48, c"the cookie exchange failed";
    /// The peer's port is unreachable.
    ODTLS_UNREACHABLE = 49, c"the peer's port is unreachable";
    /// No shared application protocol.
    ODTLS_NO_SHARED_PROTOCOL = 51, c"no shared application protocol";
    /// The look-up of a pre-shared key failed.
    ODTLS_PSK_LOOKUP = 52, c"the look-up of a pre-shared key failed";
    /// The client asked for a name that this server does not have.
    ODTLS_UNKNOWN_SERVER_NAME = 53, c"no server of that name";
    /// The protocol was broken, or libssl failed.
    ODTLS_PROTOCOL = 50, c"the DTLS protocol failed";
}

/// A short text for `result`, which lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn odtls_result_text(result: core::ffi::c_int) -> *const c_char {
    let text = odtls_result::ALL
        .iter()
        .find(|known| **known as core::ffi::c_int == result)
        .map_or(c"not a result of this library", |known| known.text());
    text.as_ptr()
}

/// The failure of a safe call: its code, and by `Display` and `source` its text.
pub(super) trait Failure: StdError {
    fn result(&self) -> odtls_result;
}

impl Failure for ConfigError {
    fn result(&self) -> odtls_result {
        match self {
            ConfigError::Random(_) => odtls_result::ODTLS_RANDOM,
            _ => odtls_result::ODTLS_CONFIG,
        }
    }
}

impl Failure for CookieError {
    fn result(&self) -> odtls_result {
        match self {
            CookieError::Random(_) => odtls_result::ODTLS_RANDOM,
            CookieError::NoPeer | CookieError::BufferTooSmall { .. } => odtls_result::ODTLS_COOKIE,
        }
    }
}

impl Failure for SendError {
    fn result(&self) -> odtls_result {
        match self {
            SendError::NotEstablished => odtls_result::ODTLS_NOT_ESTABLISHED,
            SendError::Closed => odtls_result::ODTLS_CLOSED,
            SendError::Empty => odtls_result::ODTLS_EMPTY,
            SendError::TooLarge { .. } => odtls_result::ODTLS_TOO_LARGE,
            SendError::Full => odtls_result::ODTLS_FULL,
            SendError::Failed(_) => odtls_result::ODTLS_PROTOCOL,
        }
    }
}

impl Failure for Error {
    fn result(&self) -> odtls_result {
        match self {
            Error::Setup(error) => error.result(),
            Error::Cookie(error) => error.result(),
            Error::HandshakeTimeout => odtls_result::ODTLS_HANDSHAKE_TIMEOUT,
            Error::AlertReceived { .. } => odtls_result::ODTLS_ALERT_RECEIVED,
            Error::ClosedInHandshake => odtls_result::ODTLS_CLOSED_IN_HANDSHAKE,
            Error::CertificateRejected { .. }
            | Error::UnpinnedCertificate { .. }
            | Error::CertificateStatus(_)
            | Error::UnexpectedPublicKey => odtls_result::ODTLS_CERTIFICATE_REJECTED,
            Error::NoPeerCertificate(_) => odtls_result::ODTLS_NO_PEER_CERTIFICATE,
            Error::NoSharedCipherSuite(_)
            | Error::NoSharedGroup(_)
            | Error::NoSharedSignatureAlgorithm(_)
            | Error::UnusablePeerCertificate(_)
            | Error::PeerTooWeak(_) => odtls_result::ODTLS_NO_SHARED_CIPHER_SUITE,
            Error::NoSharedVersion(_) => odtls_result::ODTLS_NO_SHARED_VERSION,
            Error::UnknownServerName { .. } => odtls_result::ODTLS_UNKNOWN_SERVER_NAME,
            Error::NoSharedApplicationProtocol(_) => odtls_result::ODTLS_NO_SHARED_PROTOCOL,
            Error::UnknownPskIdentity(_) => odtls_result::ODTLS_UNKNOWN_PSK_IDENTITY,
            Error::PskLookup(_) => odtls_result::ODTLS_PSK_LOOKUP,
            Error::Random(_) => odtls_result::ODTLS_RANDOM,
            Error::Unreachable(_) => odtls_result::ODTLS_UNREACHABLE,
            Error::BadProof(_)
            | Error::NoExtendedMasterSecret
            | Error::SessionRefused(_)
            | Error::Renegotiation(_)
            | Error::NoSecureRenegotiation(_)
            | Error::BadRecord(_)
            | Error::Decode(_)
            | Error::MessageTooLong(_)
            | Error::UnexpectedMessage(_)
            | Error::Protocol(_) => odtls_result::ODTLS_PROTOCOL,
        }
    }
}

impl Failure for ConnectError {
    fn result(&self) -> odtls_result {
        match self {
            ConnectError::AddressInUse => odtls_result::ODTLS_INVALID_ARGUMENT,
            ConnectError::NoRoom | ConnectError::ShuttingDown => odtls_result::ODTLS_LIMIT,
            ConnectError::Config(error) => error.result(),
        }
    }
}

impl Failure for ExportError {
    fn result(&self) -> odtls_result {
        match self {
            ExportError::NotEstablished => odtls_result::ODTLS_NOT_ESTABLISHED,
            ExportError::NoSrtpProfile | ExportError::OpenSsl(_) => odtls_result::ODTLS_PROTOCOL,
        }
    }
}

impl Failure for RebindError {
    fn result(&self) -> odtls_result {
        match self {
            RebindError::Closed => odtls_result::ODTLS_CLOSED,
            RebindError::NotEstablished => odtls_result::ODTLS_NOT_ESTABLISHED,
            RebindError::AddressInUse => odtls_result::ODTLS_INVALID_ARGUMENT,
        }
    }
}

/// The text of `error` and of everything behind it.
pub(super) fn text_of(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // An empty error stack has nothing to say.
        if !next.is_empty() {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}

/// A thread's last failure.
struct Last {
    text: String,
    /// Whether the text was written since [`forget_freshness`].
    is_fresh: bool,
}

thread_local! {
    static LAST: RefCell<Last> = const {
        RefCell::new(Last {
            text: String::new(),
            is_fresh: false,
        })
    };
}

/// Runs `look` on this thread's last failure, unless the thread is ending and has none any more.
fn with_last<R>(look: impl FnOnce(&mut Last) -> R) -> Option<R> {
    LAST.try_with(|last| look(&mut last.borrow_mut())).ok()
}

/// Keeps `text` as this thread's last failure.
pub(super) fn remember(text: String) {
    // A thread that is ending remembers nothing.
    with_last(|last| {
        last.text = text;
        last.is_fresh = true;
    })
    .unwrap_or_default();
}

/// A call begins: what the last one said is not about it.
pub(super) fn forget_freshness() {
    with_last(|last| last.is_fresh = false).unwrap_or_default();
}

/// A call ended with `result`: if it said nothing more, its short text is what there is to say.
pub(super) fn remember_result(result: odtls_result) {
    let is_failure = !matches!(result, odtls_result::ODTLS_OK | odtls_result::ODTLS_NOTHING);
    if is_failure && with_last(|last| last.is_fresh) == Some(false) {
        remember(result.text().to_string_lossy().into_owned());
    }
}

/// Remembers `error` where there is no object to remember it, and answers its code.
pub(super) fn failed<E: Failure>(error: E) -> odtls_result {
    remember(text_of(&error));
    error.result()
}

/// Copies the text of the last failure on this thread into `buffer`, cut to its size and ended by a zero byte, and answers the length it would need
/// without that byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_last_error(text: *mut c_char, size: usize) -> usize {
    let last = with_last(|last| last.text.clone()).unwrap_or_default();
    // SAFETY: the header's contract for a text buffer.
    unsafe { copy_text(&last, text, size) }
}

/// The text of an object's last failure.
///
/// # Safety
///
/// As [`copy_text`].
pub(super) unsafe fn object_text<T>(
    object: Result<&Object<T>, odtls_result>,
    text: *mut c_char,
    size: usize,
) -> usize {
    let last = object.map(Object::last_error).unwrap_or_default();
    // SAFETY: the caller's contract.
    unsafe { copy_text(&last, text, size) }
}

/// Copies `value` as a C string.
///
/// # Safety
///
/// `text` is null, or valid for writing `size` bytes.
pub(super) unsafe fn copy_text(value: &str, text: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller's contract.
    if let Ok(room) = unsafe { buffer(text.cast(), size) }
        && let Some((end, front)) = room.split_last_mut()
    {
        let mut length = value.len().min(front.len());
        while !value.is_char_boundary(length) {
            length -= 1;
        }
        front[..length].copy_from_slice(&value.as_bytes()[..length]);
        match front.get_mut(length) {
            Some(after) => *after = 0,
            None => *end = 0,
        }
    }
    value.len()
}
