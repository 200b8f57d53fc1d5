//! For threads: a client that waits, and a server that runs a handler.

mod client;
mod server;

pub use client::{Client, ClientError, SocketStats};
pub use server::{End, Handler, Peer, Server, ServerConfig, ServerError, ServerStats};
