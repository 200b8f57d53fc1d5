//! What passes, what waits, and why the rest is dropped.

mod cipher_spec;
mod hellos;
mod messages;
mod records;
mod waiting;

use super::*;
use crate::support::{fragment, record};

const HANDSHAKE: u8 = content::HANDSHAKE;
const MAX_LIST: usize = 20_000;

const PASS: Verdict = Verdict::Pass;

fn drop_for(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

fn client() -> Gate {
    Gate::new(Role::Client, MAX_LIST)
}

fn server() -> Gate {
    Gate::new(Role::Server, MAX_LIST)
}

fn judge(gate: &mut Gate, datagram: &[u8]) -> Verdict {
    let (record, _) = split_record(datagram).unwrap();
    gate.inbound(&record)
}

/// Gives `datagram` to the gate, and to a libssl that reads all it gets.
fn give(gate: &mut Gate, datagram: &[u8]) -> Verdict {
    let verdict = judge(gate, datagram);
    if matches!(verdict, Verdict::Pass) {
        gate.taken(&split_record(datagram).unwrap().0);
    }
    verdict
}

/// What the gate lets go, read by libssl.
fn released(gate: &mut Gate) -> Vec<Box<[u8]>> {
    let mut all = Vec::new();
    while let Some(record) = gate.release() {
        gate.taken(&split_record(&record).unwrap().0);
        all.push(record);
    }
    all
}

fn count(gate: &mut Gate, reason: DropReason) -> u64 {
    gate.take_drops().map_or(0, |drops| drops.count(reason))
}

/// A whole message in a record of its own.
fn whole(message_type: u8, seq: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    record(
        HANDSHAKE,
        0,
        sequence,
        &fragment(message_type, length, seq, 0, body),
    )
}

/// A part of a message.
fn part(
    message_type: u8,
    length: u32,
    seq: u16,
    sequence: u64,
    offset: u32,
    body: &[u8],
) -> Vec<u8> {
    record(
        HANDSHAKE,
        0,
        sequence,
        &fragment(message_type, length, seq, offset, body),
    )
}

/// The body of a ServerHello that agrees on `suite`.
fn hello_body(suite: u16, session_id: &[u8], extension: Option<u16>) -> Vec<u8> {
    let mut body = vec![0xfe, 0xfd];
    body.extend([7; 32]);
    body.push(session_id.len() as u8);
    body.extend(session_id);
    body.extend(suite.to_be_bytes());
    body.push(0);
    if let Some(extension) = extension {
        body.extend([0, 4]);
        body.extend(extension.to_be_bytes());
        body.extend([0, 0]);
    }
    body
}

const GCM: u16 = 0xc02b;
const CHACHA: u16 = 0xcca8;

fn server_hello(seq: u16, sequence: u64) -> Vec<u8> {
    whole(
        message::SERVER_HELLO,
        seq,
        sequence,
        &hello_body(GCM, &[], None),
    )
}

fn cipher_spec(sequence: u64) -> Vec<u8> {
    record(content::CHANGE_CIPHER_SPEC, 0, sequence, &[1])
}

/// A client's gate behind a ServerHello.
fn after_server_hello() -> Gate {
    let mut gate = client();
    assert_eq!(give(&mut gate, &server_hello(0, 0)), PASS);
    gate
}

/// A server's gate behind a ClientHello.
fn after_client_hello() -> Gate {
    let mut gate = server();
    assert_eq!(
        give(&mut gate, &whole(message::CLIENT_HELLO, 0, 0, &[0; 50])),
        PASS
    );
    gate.outbound(&server_hello(0, 0));
    gate
}

#[test]
fn no_order_of_records_breaks_a_gate() {
    let bodies: [&[u8]; 4] = [&[], &[0; 3], &[7; 60], &[9; 700]];
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut gate = if random.bool() { client() } else { server() };
        for _ in 0..200 {
            let sequence = random.u64(0..80);
            let payload = match random.u8(0..8) {
                0 => vec![random.u8(0..4); random.usize(0..4)],
                1 => std::iter::repeat_with(|| random.u8(..)).take(40).collect(),
                _ => {
                    let body = random.choice(bodies).unwrap();
                    let length = body.len() as u32 + random.u32(0..3) * random.u32(0..100);
                    let offset = random.u32(0..2) * random.u32(0..length.max(1));
                    fragment(random.u8(0..24), length, random.u16(0..6), offset, body)
                }
            };
            let content_type = if random.u8(0..4) > 0 {
                22
            } else {
                random.u8(20..24)
            };
            let epoch = u16::from(random.u8(0..6) == 0) * random.u16(0..3);
            let datagram = record(content_type, epoch, sequence, &payload);
            if random.u8(0..10) == 0 {
                gate.outbound(&datagram);
            }
            if random.u8(0..20) == 0 {
                gate.interval_passed();
            }
            give(&mut gate, &datagram);
            let due = gate.due;
            released(&mut gate);
            assert!(due <= gate.due);
            assert!(gate.waiting.len() < 700 && gate.early.len() <= MAX_EARLY_RECORDS);
            assert!(gate.ready.is_empty());
        }
    }
}
