//! For threads: a client that waits.

mod client;

pub use client::{Client, ClientError, SocketStats};
