//! Integration tests: our client against our server over a simulated network, and over loopback.

mod handshake;
mod support;
