//! Integration tests: our client against our server over a simulated network, and over loopback.

mod data;
mod handshake;
mod support;
