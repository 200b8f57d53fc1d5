//! Errors, split by what the caller can do about them.

use std::io;

use openssl::error::ErrorStack;
use openssl::x509::X509VerifyResult;
use thiserror::Error;

use crate::context::StapleProblem;
use crate::types::Alert;
use crate::verification::{Fingerprint, VerificationError};

/// A configuration that cannot work. Found before any datagram is sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The loaded libssl is not one this build can run on.
    #[error("built for OpenSSL {headers}, but {loaded} is loaded at run time")]
    LibraryVersion {
        /// Version of the headers, as `major.minor.patch`.
        headers: String,
        /// Version of the loaded library, as `major.minor.patch`.
        loaded: String,
    },
    /// The private key is not the one the certificate was made for.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// Two identities for one purpose whose keys are of the same type: libssl holds one of each.
    #[error("two identities have keys of the type {kind}")]
    SameKeyType {
        /// The keys' type by its OpenSSL name.
        kind: &'static str,
    },
    /// Two settings that cannot both be meant.
    #[error("{what} contradicts {with}")]
    Contradiction {
        /// One of them.
        what: &'static str,
        /// The other.
        with: &'static str,
    },
    /// Something that the linked OpenSSL is too old for.
    #[error("{what} need {needs}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// From which version on there is such a thing.
        needs: &'static str,
    },
    /// What is not the SHA-256 fingerprint of a certificate: 32 bytes in hexadecimal.
    #[error("{given:?} is not a SHA-256 fingerprint")]
    BadFingerprint {
        /// The text as it was given.
        given: String,
    },
    /// An application protocol whose name does not have 1 to 255 bytes.
    #[error("an application protocol's name must have 1 to 255 bytes, not {}", given.len())]
    BadApplicationProtocol {
        /// The name as it was given.
        given: Vec<u8>,
    },
    /// An identity without a certificate in it.
    #[error("the identity holds no certificate")]
    NoCertificate,
    /// An identity without a private key in it.
    #[error("the identity holds no private key")]
    NoPrivateKey,
    /// A key of a type that the loaded libssl cannot use in DTLS 1.2 (Ed25519, Ed448, RSA-PSS).
    #[error("OpenSSL cannot use a key of type {kind} in DTLS 1.2")]
    UnusableKey {
        /// The key's type by its OpenSSL name.
        kind: String,
    },
    /// No suite is left that this configuration could use.
    #[error("no cipher suite is left for these versions and credentials")]
    NoCipherSuites,
    /// A list of suites, groups or signature algorithms that libssl cannot read.
    #[error("OpenSSL does not accept the {what} {given:?}")]
    BadList {
        /// Which list: "cipher list", "groups", "signature algorithms", or "property query".
        what: &'static str,
        /// The list as it was given.
        given: String,
        /// What libssl said.
        source: ErrorStack,
    },
    /// Peer verification is on, but nothing is trusted.
    #[error("peer verification is on, but no certificate authority is trusted")]
    EmptyTrust,
    /// Name checking is on, but no name was given to check.
    #[error("the peer's name is to be checked, but no server name was given")]
    NoServerName,
    /// A server name that is neither an IP address nor a DNS name.
    #[error("{given:?} is not a DNS name or an IP address")]
    BadServerName {
        /// The name as it was given.
        given: String,
    },
    /// An MTU outside 256 to 4096 bytes.
    #[error("an MTU of {given} bytes is outside 256 to 4096")]
    MtuOutOfRange {
        /// The number that was given, in bytes.
        given: usize,
    },
    /// A duration or number outside the range that its setter documents.
    #[error("{what} is out of range")]
    OutOfRange {
        /// Which setting.
        what: &'static str,
    },
    /// The lowest protocol version lies above the highest.
    #[error("the lowest protocol version is above the highest")]
    VersionRange,
    /// A context that speaks TLS over streams, not DTLS.
    #[error("the context was made for stream TLS, not for DTLS")]
    NotDtls,
    /// A context for one role was used in the other.
    #[error("the context cannot be used as a {wanted:?}")]
    WrongRole {
        /// The role it was used in.
        wanted: crate::types::Role,
    },
    /// An adopted context in a state that cannot be accepted.
    #[error("the context cannot be adopted: {reason}")]
    NotAdoptable {
        /// What stands in the way.
        reason: &'static str,
    },
    /// A pre-shared key, identity or hint of a length that cannot be sent.
    #[error("a PSK {what} must have {min} to {max} bytes, not {given}")]
    PskLength {
        /// "identity", "identity hint", or "key".
        what: &'static str,
        /// Least number of bytes.
        min: usize,
        /// Largest number of bytes.
        max: usize,
        /// Number of bytes given.
        given: usize,
    },
    /// A PSK identity or hint with a zero byte in it, which C would take for its end.
    #[error("a PSK {what} must not contain a zero byte")]
    PskHasZero {
        /// "identity" or "identity hint".
        what: &'static str,
    },
    /// A closure given to `configure` turned off what only `dangerous()` may.
    #[error("the configure closure turned off {what}")]
    Weakened {
        /// What was turned off.
        what: &'static str,
    },
    /// Shared bytes for a cookie secret that are too few.
    #[error("a cookie secret needs at least {min} bytes, not {given}")]
    CookieSecretTooShort {
        /// Least number of bytes.
        min: usize,
        /// Number of bytes given.
        given: usize,
    },
    /// An endpoint without a server was told to change it.
    #[error("the endpoint has no server")]
    NoServer,
    /// Shared bytes for a ticket secret that are too few.
    #[error("a ticket secret needs at least {min} bytes, not {given}")]
    TicketSecretTooShort {
        /// Least number of bytes.
        min: usize,
        /// Number of bytes given.
        given: usize,
    },
    /// Bytes that are no saved session.
    #[error("these bytes are no saved session")]
    BadSavedSession,
    /// A saved session that was made under other rules than it is to be used under.
    #[error("the saved session was made for another {what}")]
    SessionMismatch {
        /// "server name", or "client identity or verification".
        what: &'static str,
    },
    /// The random generator failed.
    #[error("the random generator failed")]
    Random(#[source] ErrorStack),
    /// A file could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file's path as it was given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A store of keys or certificates could not be opened or read.
    #[error("cannot load from {uri}")]
    Store {
        /// The URI as it was given, without its query.
        uri: String,
        /// What libcrypto said.
        source: ErrorStack,
    },
    /// Bytes that are not what they should be (PEM, DER, PKCS#12).
    #[error("cannot parse the {what}")]
    Parse {
        /// What was expected: "certificate", "private key", "PKCS#12 archive", ...
        what: &'static str,
        /// What libcrypto said.
        source: ErrorStack,
    },
    /// libssl refused a setting for a reason of its own.
    #[error("OpenSSL refused the configuration")]
    OpenSsl(#[from] ErrorStack),
}

/// The end of one connection. Whoever gets one drops the connection; there is nothing to retry on it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection could not be set up on its context.
    #[error("the connection could not be set up")]
    Setup(#[from] ConfigError),
    /// The handshake did not complete in time.
    ///
    /// A peer with another pre-shared key looks the same: it drops what it cannot decrypt, in silence.
    #[error("the handshake timed out; the peer is silent, unreachable, or holds another key")]
    HandshakeTimeout,
    /// The peer ended the connection with a fatal alert.
    #[error("the peer ended the connection with the alert {alert}")]
    AlertReceived {
        /// The alert.
        alert: Alert,
    },
    /// The peer closed before the handshake was complete.
    #[error("the peer closed during the handshake")]
    ClosedInHandshake,
    /// The peer's certificate was refused here.
    #[error("the peer's certificate was refused: {result}")]
    CertificateRejected {
        /// What verification said.
        result: X509VerifyResult,
        /// Which certificate of the chain it was said of: 0 is the peer's own. `None` if verification did not get so far.
        depth: Option<u32>,
        /// Every objection, with its depth and certificate; the last one was final. Empty on adopted contexts.
        errors: Vec<VerificationError>,
        /// libssl's error stack.
        source: ErrorStack,
    },
    /// No cipher suite of the peer's is acceptable here, with the credentials and groups there are.
    #[error("no shared cipher suite")]
    NoSharedCipherSuite(#[source] ErrorStack),
    /// No group for the key exchange is acceptable to both ends.
    #[error("no shared group for the key exchange")]
    NoSharedGroup(#[source] ErrorStack),
    /// No signature algorithm is acceptable to both ends, or the peer used one that is not.
    #[error("no shared signature algorithm")]
    NoSharedSignatureAlgorithm(#[source] ErrorStack),
    /// The peer speaks no version that is acceptable here.
    #[error("no shared protocol version")]
    NoSharedVersion(#[source] ErrorStack),
    /// The peer offers no application protocol (ALPN) that is acceptable here.
    #[error("no shared application protocol")]
    NoSharedApplicationProtocol(#[source] ErrorStack),
    /// The peer required a certificate, or sent none where one is required.
    #[error("the peer sent no certificate")]
    NoPeerCertificate(#[source] ErrorStack),
    /// The peer's certificate is of a kind that the suite cannot use.
    #[error("the peer's certificate is of the wrong kind")]
    UnusablePeerCertificate(#[source] ErrorStack),
    /// The peer's key or the digest in one of its certificates is weaker than the security level allows.
    #[error("the peer's key or certificate is too weak for the security level")]
    PeerTooWeak(#[source] ErrorStack),
    /// The peer did not prove that it holds its key, or the handshake was altered on its way: a signature or a Finished message
    /// is wrong.
    #[error("the peer did not prove that it holds its key")]
    BadProof(#[source] ErrorStack),
    /// The peer named a pre-shared key that does not exist here, or wants one where there is none; on a client,
    /// none exists for the server's hint.
    #[error("the pre-shared key identity is unknown")]
    UnknownPskIdentity(#[source] ErrorStack),
    /// The look-up of a pre-shared key failed. Its own error is the source.
    #[error("the look-up of a pre-shared key failed")]
    PskLookup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The saved session and what the peer or this side makes of it do not fit together. A full handshake works.
    #[error("the session cannot be resumed")]
    SessionRefused(#[source] ErrorStack),
    /// The peer asked for a renegotiation, which is never done.
    #[error("the peer asked for a renegotiation")]
    Renegotiation(#[source] ErrorStack),
    /// The peer does not know secure renegotiation (RFC 5746).
    #[error("the peer does not know secure renegotiation")]
    NoSecureRenegotiation(#[source] ErrorStack),
    /// A record of the peer that cannot be decrypted or is no record, where libssl cannot just drop it.
    #[error("the peer sent a bad record")]
    BadRecord(#[source] ErrorStack),
    /// A handshake message of the peer that cannot be parsed.
    #[error("the peer sent a message that cannot be parsed")]
    Decode(#[source] ErrorStack),
    /// A handshake message of the peer that is longer than is allowed here: a certificate list, as a rule.
    #[error("the peer sent a message that is too long")]
    MessageTooLong(#[source] ErrorStack),
    /// A message of the peer that does not belong where it came.
    #[error("the peer sent an unexpected message")]
    UnexpectedMessage(#[source] ErrorStack),
    /// The random generator failed.
    #[error("the random generator failed")]
    Random(#[source] ErrorStack),
    /// The client asked for a server name that has no identity here, and such clients are to be refused.
    #[error("the server name {name:?} is unknown")]
    UnknownServerName {
        /// The name the client asked for, as far as it is text.
        name: String,
    },
    /// The peer's certificate is none of those whose fingerprints are pinned.
    #[error("the peer's certificate {fingerprint} is not pinned")]
    UnpinnedCertificate {
        /// The fingerprint of the peer's certificate.
        fingerprint: Fingerprint,
    },
    /// The peer's raw public key is none of those that are expected.
    #[error("the peer's raw public key is not expected here")]
    UnexpectedPublicKey,
    /// The server's OCSP staple is not good, or missing where one is required.
    #[error("the status of the peer's certificate is not good")]
    CertificateStatus(#[source] StapleProblem),
    /// The peer does not know the extended master secret (RFC 7627), which is required here.
    #[error("the peer does not know the extended master secret")]
    NoExtendedMasterSecret,
    /// A cookie could not be made or checked.
    #[error("the cookie exchange failed")]
    Cookie(#[from] CookieError),
    /// A network error that ended a connection attempt.
    #[error("the peer's port is unreachable")]
    Unreachable(#[source] io::Error),
    /// The protocol was broken, or libssl failed; its error stack says how. An empty stack means libssl gave no reason.
    #[error("the DTLS protocol failed")]
    Protocol(#[source] ErrorStack),
}

/// A cookie that could not be made or checked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CookieError {
    /// The random generator failed while a new secret was due.
    #[error("the random generator failed")]
    Random(#[source] ErrorStack),
    /// libssl asked for a cookie outside a call that says whose.
    #[error("a cookie was asked for without a peer address")]
    NoPeer,
    /// The buffer for the cookie is too small.
    #[error("a cookie needs {needed} bytes, the buffer has {available}")]
    BufferTooSmall {
        /// Bytes a cookie has.
        needed: usize,
        /// Bytes the buffer has.
        available: usize,
    },
}

/// Keying material that was not exported. The connection goes on.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The handshake is not complete, or the connection is over.
    #[error("the connection is not established")]
    NotEstablished,
    /// The handshake agreed on no SRTP profile.
    #[error("no SRTP profile was agreed on")]
    NoSrtpProfile,
    /// libssl refused.
    #[error("OpenSSL could not export keying material")]
    OpenSsl(#[source] ErrorStack),
}

/// A message that was not sent. Unless it is [`SendError::Failed`] or [`SendError::Closed`] the connection goes on.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The handshake is not complete.
    #[error("the connection is not established")]
    NotEstablished,
    /// The connection is closed or has failed.
    #[error("the connection is closed")]
    Closed,
    /// An empty message: libssl sends none.
    #[error("an empty message cannot be sent")]
    Empty,
    /// The message does not fit into one datagram.
    #[error("the message is larger than {max} bytes")]
    TooLarge {
        /// The largest message that fits, in bytes.
        max: usize,
    },
    /// The queue of outgoing datagrams is full: drain [`Connection::poll_transmit`](crate::Connection::poll_transmit).
    #[error("the queue of outgoing datagrams is full")]
    Full,
    /// libssl could not encrypt the message; the connection is over.
    #[error("OpenSSL could not send")]
    Failed(#[source] ErrorStack),
}

/// A message that could not be taken. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The buffer is too short for the next message, which is kept.
    #[error("the next message needs {needed} bytes")]
    TooSmall {
        /// Length of the next message, in bytes.
        needed: usize,
    },
}

/// A connection that an [`Endpoint`](crate::Endpoint) did not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer has a connection at this endpoint already.
    #[error("the peer has a connection already")]
    AddressInUse,
    /// There are as many connections as may be.
    #[error("there are as many connections as may be")]
    NoRoom,
    /// The endpoint is shutting down.
    #[error("the endpoint is shutting down")]
    ShuttingDown,
    /// The connection cannot be made like this.
    #[error("the connection could not be set up")]
    Config(#[from] ConfigError),
}

/// A connection that was not moved to another address. It goes on where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RebindError {
    /// The connection is closed or has failed.
    #[error("the connection is closed")]
    Closed,
    /// The handshake is not complete: nothing says yet who the peer is.
    #[error("the connection is not established")]
    NotEstablished,
    /// Another connection lives at that address.
    #[error("the address has another connection")]
    AddressInUse,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::HandshakeTimeout => io::ErrorKind::TimedOut,
            Error::AlertReceived { .. } | Error::ClosedInHandshake => {
                io::ErrorKind::ConnectionAborted
            }
            Error::Unreachable(_) => io::ErrorKind::ConnectionRefused,
            Error::CertificateRejected { .. }
            | Error::NoSharedCipherSuite(_)
            | Error::NoSharedGroup(_)
            | Error::NoSharedSignatureAlgorithm(_)
            | Error::NoSharedVersion(_)
            | Error::NoSharedApplicationProtocol(_)
            | Error::NoPeerCertificate(_)
            | Error::UnusablePeerCertificate(_)
            | Error::PeerTooWeak(_)
            | Error::BadProof(_)
            | Error::UnknownPskIdentity(_)
            | Error::UnknownServerName { .. }
            | Error::UnpinnedCertificate { .. }
            | Error::CertificateStatus(_)
            | Error::UnexpectedPublicKey
            | Error::NoExtendedMasterSecret
            | Error::SessionRefused(_)
            | Error::Renegotiation(_)
            | Error::NoSecureRenegotiation(_)
            | Error::BadRecord(_)
            | Error::Decode(_)
            | Error::MessageTooLong(_)
            | Error::UnexpectedMessage(_)
            | Error::Protocol(_) => io::ErrorKind::InvalidData,
            Error::Setup(_) | Error::Cookie(_) | Error::PskLookup(_) | Error::Random(_) => {
                io::ErrorKind::Other
            }
        };
        io::Error::new(kind, error)
    }
}

impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> io::Error {
        let kind = match error {
            SendError::NotEstablished => io::ErrorKind::NotConnected,
            SendError::Closed => io::ErrorKind::BrokenPipe,
            SendError::Empty | SendError::TooLarge { .. } => io::ErrorKind::InvalidInput,
            SendError::Full => io::ErrorKind::WouldBlock,
            SendError::Failed(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<ExportError> for io::Error {
    fn from(error: ExportError) -> io::Error {
        let kind = match error {
            ExportError::NotEstablished => io::ErrorKind::NotConnected,
            ExportError::NoSrtpProfile => io::ErrorKind::Unsupported,
            ExportError::OpenSsl(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
