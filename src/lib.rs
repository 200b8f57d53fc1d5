//! Safe DTLS over OpenSSL.
//!
//! OpenSSL speaks DTLS, but hands its users a socket-shaped hole, a timer they must not forget, a listener that trusts what it is
//! told, and a handshake that one forged datagram ends. This crate keeps OpenSSL's cryptography, keys, providers and certificates
//! and replaces what surrounds them:
//!
//! ```text
//!                     datagrams                                    plaintext
//!                                +--------------------------+
//!   UDP payload in  ---------->  | handle_datagram     recv |  ---------->  messages
//!                                |        Connection        |
//!   UDP payload out <----------  | poll_transmit       send |  <----------  messages
//!                                +--------------------------+
//!   time            <--------->  | poll_timeout  poll_event |  ---------->  Connected, Readable, Closed, ...
//!                                | handle_timeout           |
//!                                +--------------------------+
//! ```
//!
//! - A [`Context`] owns the `SSL_CTX`: identity, trust, suites, pre-shared keys; built once, or adopted from a program that has
//!   one already.
//! - A [`Connection`] is one DTLS connection, sans-IO: no socket, no clock, no thread.
//! - A [`Listener`] is a server's stateless front door: a peer costs nothing until it has returned its cookie.
//! - An [`Endpoint`] is many connections behind one socket: routing, limits, timers.
//! - [`udp::blocking::Client`] is a client over a socket, for threads; [`udp::blocking::Server`] serves many peers over one.
//!
//! # The drain loop
//!
//! After every call on a [`Connection`], send what [`poll_transmit`](Connection::poll_transmit) lends, take what
//! [`poll_event`](Connection::poll_event) tells, and come back when [`poll_timeout`](Connection::poll_timeout) says. Here two
//! connections talk to each other without a network:
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Instant;
//! use openssl_dtls::{AddressProof, Connection, Context, Psk, PskLookup};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = b"a shared secret of some length";
//! let client_context = Context::client().psk(Psk::new(b"sensor-7", key)?).build()?;
//! let server_context = Context::server(PskLookup::single(Psk::new(b"sensor-7", key)?)).build()?;
//!
//! let (client_addr, server_addr): (SocketAddr, SocketAddr) =
//!     ("192.0.2.1:40000".parse()?, "192.0.2.2:4433".parse()?);
//! let now = Instant::now();
//! let mut client = Connection::client(&client_context, server_addr, None, now)?;
//! // Nobody forges datagrams here; a server on a network uses a `Listener`.
//! let mut server =
//!     Connection::server(&server_context, client_addr, now, AddressProof::ProvedElsewhere)?;
//!
//! while !(client.is_established() && server.is_established()) {
//!     while let Some(transmit) = client.poll_transmit() {
//!         server.handle_datagram(now, transmit.contents)?;
//!     }
//!     while let Some(transmit) = server.poll_transmit() {
//!         client.handle_datagram(now, transmit.contents)?;
//!     }
//! }
//!
//! client.send(b"21.5 degrees")?;
//! while let Some(transmit) = client.poll_transmit() {
//!     server.handle_datagram(now, transmit.contents)?;
//! }
//! let mut message = [0; 1500];
//! let length = server.recv(&mut message)?.ok_or("no message")?;
//! assert_eq!(&message[..length], b"21.5 degrees");
//! # Ok(())
//! # }
//! ```
//!
//! # What an attacker can do
//!
//! No datagram from the network causes a panic, undefined behaviour or unbounded memory, and none that is forged ends an
//! established connection. During a handshake nothing is authentic yet: forged alerts, malformed records and messages out of
//! place are dropped and counted, but a well-formed forged handshake message can end a try, because libssl cannot tell. A client
//! then starts again within its deadline ([`TransportConfig::handshake_restarts`]).
//!
//! # Limits
//!
//! DTLS 1.2, and 1.0 where it must be; 1.3 when OpenSSL has it. Renegotiation is refused. Connection ids (RFC 9146) are not
//! available from libssl.

#[cfg(feature = "capi")]
#[expect(unsafe_code, reason = "the border to C programs")]
pub mod capi;
mod connection;
mod context;
mod cookie;
mod endpoint;
mod error;
mod gate;
mod groups;
mod guard;
mod handshake_info;
mod listener;
mod observe;
mod parking;
pub mod qdtls;
mod queue;
mod saved_session;
mod secret_bytes;
mod server_name;
mod srtp;
mod stats;
#[expect(unsafe_code, reason = "the border to libssl and libcrypto")]
mod sys;
mod ticket;
mod trace;
mod transport;
mod types;
#[cfg(feature = "udp")]
pub mod udp;
mod verification;
mod wire;

// What the integration tests stand on serves the tests that look behind the gate as well.
#[cfg(test)]
extern crate self as openssl_dtls;
#[cfg(test)]
mod hazards;
#[cfg(test)]
#[path = "../tests/it/support/mod.rs"]
mod support;

pub use connection::Connection;
pub use context::{
    Adoptable, AlpnPolicy, ClientCertificates, Context, ContextBuilder, Credentials, Dangerous,
    ForClient, ForServer, Identity, MaxFragmentLength, OcspStaple, OcspStapling, Psk, PskKey,
    PskLookup, RawPublicKey, Revocation, StapleProblem, UnknownName, load_private_key,
};
pub use cookie::{ClockAnchor, CookieRing, CookieSecret};
pub use endpoint::{
    ConnectionHandle, EndCounts, Endpoint, EndpointConfig, EndpointEvent, EndpointStats, Handled,
    HandshakeCounts, RefusalCounts,
};
pub use error::{
    ConfigError, ConnectError, CookieError, Error, ExportError, RebindError, RecvError, SendError,
};
pub use groups::Group;
pub use handshake_info::HandshakeInfo;
pub use listener::{Incoming, Listener, ListenerStats};
pub use observe::{ContentType, Direction, HandshakeType, Observation, Observed};
pub use openssl;
pub use saved_session::SavedSession;
pub use secret_bytes::SecretBytes;
pub use server_name::{DnsName, ServerName};
pub use srtp::{SrtpKey, SrtpKeys, SrtpProfile};
pub use stats::Stats;
pub use ticket::{TicketRing, TicketSecret};
pub use transport::TransportConfig;
pub use types::{
    AddressProof, Alert, CloseReason, DropReason, Drops, Event, Mtu, Path, Role, Transmit,
};
pub use verification::{Fingerprint, VerificationError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
