//! DTLS over UDP sockets.

pub mod blocking;
