//! Safe DTLS over OpenSSL.

mod error;
mod guard;
mod queue;
#[expect(unsafe_code, reason = "the border to libssl and libcrypto")]
mod sys;
mod transport;
mod types;

pub use error::{ConfigError, CookieError, Error, RecvError, SendError};
pub use openssl;
pub use transport::TransportConfig;
pub use types::{Alert, CloseReason, DropReason, Drops, Event, Mtu, Path, Role, Transmit};
