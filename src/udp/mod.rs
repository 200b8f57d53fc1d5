//! DTLS over UDP sockets.

pub mod blocking;
mod socket;
mod waker;

pub use socket::{SocketConfig, UdpStats};
