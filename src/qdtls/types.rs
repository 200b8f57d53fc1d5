//! Enumerations, with Qt's names and numbers.

/// What went wrong last; Qt's `QDtlsError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum DtlsError {
    /// The last operation did not fail.
    #[default]
    NoError = 0,
    /// A null socket, a datagram that is missing where one is needed, an address nobody can have, a name or secret of the wrong form.
    InvalidInputParameters = 1,
    /// The call is not allowed in this state.
    InvalidOperation = 2,
    /// The socket refused a datagram, which is lost as any datagram can be. The association goes on.
    UnderlyingSocketError = 3,
    /// The peer's close_notify came.
    RemoteClosedConnectionError = 4,
    /// The peer's certificate is not acceptable.
    PeerVerificationError = 5,
    /// No connection could be made from the configuration.
    TlsInitializationError = 6,
    /// The handshake or the association is over.
    TlsFatalError = 7,
    /// Kept for its number: bad datagrams are no errors here, see [`Decrypted`](super::Decrypted).
    TlsNonFatalError = 8,
}

/// Where an association stands; Qt's `QDtls::HandshakeState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum HandshakeState {
    /// There is none.
    #[default]
    HandshakeNotStarted = 0,
    /// The handshake goes on.
    HandshakeInProgress = 1,
    /// The peer's certificate is not acceptable; the program decides.
    PeerVerificationFailed = 2,
    /// Messages can be exchanged.
    HandshakeComplete = 3,
}

/// Which end an object is; Qt's `QSslSocket::SslMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SslMode {
    /// Neither: a handshake fails.
    #[default]
    UnencryptedMode = 0,
    /// Opens the association.
    SslClientMode = 1,
    /// Answers.
    SslServerMode = 2,
}

/// How the peer's certificate is treated; Qt's `QSslSocket::PeerVerifyMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum PeerVerifyMode {
    /// A server asks for none; nothing is checked.
    VerifyNone = 0,
    /// A server asks for one; nothing is checked.
    QueryPeer = 1,
    /// Must be there and good.
    VerifyPeer = 2,
    /// `VerifyPeer` for clients, `QueryPeer` for servers.
    #[default]
    AutoVerifyPeer = 3,
}

/// Protocol versions; Qt's `QSsl::SslProtocol`. Only those of DTLS make an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SslProtocol {
    UnknownProtocol = -1,
    TlsV1_0 = 0,
    TlsV1_1 = 1,
    TlsV1_2 = 2,
    AnyProtocol = 3,
    SecureProtocols = 4,
    TlsV1_0OrLater = 5,
    TlsV1_1OrLater = 6,
    TlsV1_2OrLater = 7,
    DtlsV1_0 = 8,
    DtlsV1_0OrLater = 9,
    DtlsV1_2 = 10,
    DtlsV1_2OrLater = 11,
    TlsV1_3 = 12,
    TlsV1_3OrLater = 13,
}

/// The hash of the cookies' HMAC, by its number in Qt's `QCryptographicHash::Algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum CookieHash {
    /// SHA-256.
    #[default]
    Sha256 = 4,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_qt() {
        assert_eq!(DtlsError::default() as u8, 0);
        assert_eq!(DtlsError::InvalidInputParameters as u8, 1);
        assert_eq!(DtlsError::UnderlyingSocketError as u8, 3);
        assert_eq!(DtlsError::TlsNonFatalError as u8, 8);
        assert_eq!(HandshakeState::HandshakeNotStarted as u8, 0);
        assert_eq!(HandshakeState::HandshakeComplete as u8, 3);
        assert_eq!(SslMode::SslServerMode as u8, 2);
        assert_eq!(PeerVerifyMode::AutoVerifyPeer as u8, 3);
        assert_eq!(SslProtocol::UnknownProtocol as i8, -1);
        assert_eq!(SslProtocol::DtlsV1_0 as i8, 8);
        assert_eq!(SslProtocol::DtlsV1_2OrLater as i8, 11);
        assert_eq!(CookieHash::Sha256 as u8, 4);
    }
}
