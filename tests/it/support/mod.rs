//! What the tests stand on: a clock that can be moved, a network that can be held, certificates.
//!
//! Also compiled into the library's unit tests, which look behind the gate.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_debug_implementations,
    missing_docs,
    reason = "each test binary uses its part"
)]

pub mod certs;
pub mod clock;
pub mod forge;
pub mod link;
pub mod pair;
pub mod raw;
pub mod settings;
pub mod status;

use openssl_dtls::{Context, Psk, PskLookup, TransportConfig};

pub use self::link::{Link, Settings};
pub use self::pair::Pair;

pub const IDENTITY: &[u8] = b"sensor-7";
pub const KEY: &[u8] = b"sixteen byte key";

pub fn psk() -> Psk {
    Psk::new(IDENTITY, KEY).unwrap()
}

/// Contexts that share a key and need no certificates: the quickest handshake.
pub fn psk_contexts(transport: &TransportConfig) -> (Context, Context) {
    let client = Context::client().psk(psk()).transport(transport.clone());
    let server = Context::server(PskLookup::single(psk())).transport(transport.clone());
    (client.build().unwrap(), server.build().unwrap())
}

/// Contexts with a certificate for `localhost` on the server's side.
pub fn certificate_contexts(transport: &TransportConfig) -> (Context, Context) {
    let authority = certs::authority();
    let client = Context::client()
        .trust_pem(&authority.pem())
        .transport(transport.clone());
    let server = Context::server(certs::server_identity()).transport(transport.clone());
    (client.build().unwrap(), server.build().unwrap())
}

/// A record in the clear.
pub fn record(content_type: u8, epoch: u16, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 0xfe, 0xfd];
    record.extend(epoch.to_be_bytes());
    record.extend(&sequence.to_be_bytes()[2..]);
    record.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    record.extend(payload);
    record
}

/// A fragment of a handshake message: of `length` bytes, from `offset` on.
pub fn fragment(message_type: u8, length: u32, seq: u16, offset: u32, body: &[u8]) -> Vec<u8> {
    let mut fragment = vec![message_type];
    fragment.extend(&length.to_be_bytes()[1..]);
    fragment.extend(seq.to_be_bytes());
    fragment.extend(&offset.to_be_bytes()[1..]);
    fragment.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    fragment.extend(body);
    fragment
}

/// Splits a datagram into its records.
pub fn records(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while let Some(length) = datagram.get(11..13) {
        let length = 13 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (record, rest) = datagram.split_at(length);
        records.push(record);
        datagram = rest;
    }
    records
}
