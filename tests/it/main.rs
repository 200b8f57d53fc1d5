//! Integration tests: our client against our server over a simulated network, and over loopback.

mod adoption;
mod certificates;
mod close;
mod config;
mod data;
mod elsewhere;
mod endpoint;
mod errors;
mod features;
mod handshake;
#[cfg(feature = "udp")]
mod interop;
mod key_types;
#[cfg(feature = "udp")]
mod loopback;
mod loss;
mod mtu;
mod names;
mod observe;
mod panic;
mod psk;
mod qdtls;
mod raw_keys;
mod records;
mod resumption;
mod revocation;
mod secrets;
#[cfg(feature = "udp")]
mod server;
mod spoofing;
mod srtp;
mod support;
#[cfg(feature = "udp")]
mod udp;
