//! Qt's DTLS classes, for programs that are ported from them.

mod calls;
mod clock;
mod config;
mod contexts;
mod decrypted;
mod dtls;
mod error;
mod machine;
mod psk;
mod results;
mod socket;
mod ssl_error;
mod types;
mod verifier;

pub use self::config::DtlsConfiguration;
pub use self::decrypted::{DatagramOutcome, Decrypted};
pub use self::dtls::Dtls;
pub use self::error::Error;
pub use self::psk::PreSharedKeyAuthenticator;
pub use self::socket::Socket;
pub use self::ssl_error::{SslError, SslErrorCode};
pub use self::types::{
    CookieHash, DtlsError, HandshakeState, PeerVerifyMode, SslMode, SslProtocol,
};
pub use self::verifier::{DtlsClientVerifier, GeneratorParameters};
