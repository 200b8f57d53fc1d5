//! What passes, what waits, and why the rest is dropped.

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
fn handshake_of_a_client_passes_in_its_order() {
    let mut gate = client();
    for (sequence, (message_type, body)) in [
        (message::SERVER_HELLO, &hello_body(GCM, &[], None)[..]),
        (message::CERTIFICATE, &[1; 500]),
        (message::CERTIFICATE_STATUS, &[2; 50]),
        (message::SERVER_KEY_EXCHANGE, &[3; 100]),
        (message::CERTIFICATE_REQUEST, &[4; 30]),
        (message::SERVER_HELLO_DONE, &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let seq = sequence as u16;
        assert_eq!(
            give(&mut gate, &whole(message_type, seq, sequence as u64, body)),
            PASS
        );
    }
    gate.outbound(&cipher_spec(3));
    assert_eq!(give(&mut gate, &cipher_spec(6)), PASS);
    assert_eq!(give(&mut gate, &record(HANDSHAKE, 1, 0, &[0; 40])), PASS);
    assert!(gate.take_drops().is_none());
}

#[test]
fn handshake_of_a_server_passes_in_its_order() {
    let mut gate = after_client_hello();
    for (seq, message_type, body) in [
        (1, message::CERTIFICATE, &[1; 500][..]),
        (2, message::CLIENT_KEY_EXCHANGE, &[2; 66]),
        (3, message::CERTIFICATE_VERIFY, &[3; 80]),
    ] {
        assert_eq!(
            give(&mut gate, &whole(message_type, seq, seq.into(), body)),
            PASS
        );
    }
    assert_eq!(give(&mut gate, &cipher_spec(4)), PASS);
    assert_eq!(give(&mut gate, &record(HANDSHAKE, 1, 0, &[0; 40])), PASS);
}

#[test]
fn what_a_role_never_receives_is_dropped() {
    let unexpected = drop_for(DropReason::UnexpectedMessage);
    for (gate, own) in [
        (
            after_server_hello as fn() -> Gate,
            [
                message::CLIENT_HELLO,
                message::CLIENT_KEY_EXCHANGE,
                message::CERTIFICATE_VERIFY,
            ],
        ),
        (
            after_client_hello,
            [
                message::SERVER_HELLO,
                message::SERVER_HELLO_DONE,
                message::NEW_SESSION_TICKET,
            ],
        ),
    ] {
        for message_type in own.into_iter().chain([5, 20, 23, 24, 254, 255]) {
            assert_eq!(
                give(&mut gate(), &whole(message_type, 1, 1, &[])),
                unexpected,
                "{message_type}"
            );
        }
    }
    let repeated_hello = drop_for(DropReason::RepeatedHello);
    assert_eq!(
        give(&mut client(), &whole(message::HELLO_REQUEST, 0, 0, &[])),
        repeated_hello
    );
    assert_eq!(
        give(&mut server(), &whole(message::HELLO_REQUEST, 0, 0, &[])),
        unexpected
    );
    assert_eq!(
        give(
            &mut server(),
            &whole(message::HELLO_VERIFY_REQUEST, 0, 0, &[])
        ),
        unexpected
    );
    for (content_type, payload) in [
        (content::APPLICATION_DATA, &[0; 30][..]),
        (content::APPLICATION_DATA, &[1]),
    ] {
        let datagram = record(content_type, 0, 1, payload);
        assert_eq!(
            give(&mut client(), &datagram),
            drop_for(DropReason::BadContentType)
        );
    }
}

#[test]
fn messages_out_of_place_or_order_are_dropped() {
    let unexpected = drop_for(DropReason::UnexpectedMessage);
    for (message_type, seq, body) in [
        (message::SERVER_HELLO, 1, &[0; 50][..]),
        (message::CERTIFICATE, 2, &[0; 50]),
        (message::CERTIFICATE_STATUS, 1, &[0; 50]),
        (message::SERVER_HELLO_DONE, 6, &[]),
        (message::NEW_SESSION_TICKET, 7, &[0; 50]),
        (message::SERVER_HELLO_DONE, u16::MAX, &[]),
    ] {
        let datagram = whole(message_type, seq, 1, body);
        assert_eq!(
            give(&mut after_server_hello(), &datagram),
            unexpected,
            "{message_type} {seq}"
        );
    }
    // Plausible by their places, but a later message has passed.
    let mut gate = after_server_hello();
    assert_eq!(
        give(
            &mut gate,
            &whole(message::SERVER_KEY_EXCHANGE, 1, 1, &[0; 9])
        ),
        PASS
    );
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CERTIFICATE_STATUS, 2, 2, &[0; 9])
        ),
        unexpected
    );
    assert_eq!(
        give(
            &mut gate,
            &whole(message::SERVER_KEY_EXCHANGE, 2, 2, &[0; 9])
        ),
        unexpected
    );
    // A server without a cookie exchange waits for the first hello.
    assert_eq!(
        give(&mut server(), &whole(message::CLIENT_HELLO, 1, 0, &[0; 50])),
        unexpected
    );
    let early = whole(message::CLIENT_KEY_EXCHANGE, 3, 1, &[0; 50]);
    assert_eq!(give(&mut after_client_hello(), &early), unexpected);
}

#[test]
fn lengths_are_bounded_by_type() {
    let long = drop_for(DropReason::MessageTooLong);
    let list = u32::try_from(MAX_LIST).unwrap();
    for (message_type, seq, max) in [
        (message::CERTIFICATE, 1, list),
        (message::CERTIFICATE_REQUEST, 1, list),
        (message::SERVER_KEY_EXCHANGE, 1, 16_384),
        (message::NEW_SESSION_TICKET, 1, 16_384),
        (message::CERTIFICATE_STATUS, 2, 16_384),
        (message::SERVER_HELLO_DONE, 1, 0),
    ] {
        let at = |length| part(message_type, length, seq, 1, 0, &[0]);
        assert_eq!(
            give(&mut after_server_hello(), &at(max + 1)),
            long,
            "{message_type}"
        );
        if max > 0 {
            assert_eq!(
                give(&mut after_server_hello(), &at(max)),
                Verdict::Keep,
                "{message_type}"
            );
        }
    }
    assert_eq!(
        give(
            &mut server(),
            &part(message::CLIENT_HELLO, 65_537, 0, 0, 0, &[0; 50])
        ),
        long
    );
    let key_exchange = part(message::CLIENT_KEY_EXCHANGE, 2_049, 1, 1, 0, &[0]);
    assert_eq!(give(&mut after_client_hello(), &key_exchange), long);
    let request = part(message::HELLO_VERIFY_REQUEST, 259, 0, 0, 0, &[0]);
    assert_eq!(
        give(&mut client(), &request),
        drop_for(DropReason::BadFragment)
    );
    assert_eq!(
        give(
            &mut client(),
            &whole(message::HELLO_VERIFY_REQUEST, 0, 0, &[0; 259])
        ),
        long
    );
}

#[test]
fn records_in_the_clear_are_bounded() {
    let mut gate = Gate::new(Role::Client, 100_000);
    assert_eq!(give(&mut gate, &server_hello(0, 0)), PASS);
    let of = |length: usize| part(message::CERTIFICATE, 60_000, 1, 1, 0, &vec![0; length - 12]);
    assert_eq!(give(&mut gate, &of(MAX_PLAINTEXT)), Verdict::Keep);
    assert_eq!(
        give(&mut gate, &of(MAX_PLAINTEXT + 1)),
        drop_for(DropReason::BadLength)
    );
    for content_type in 20..=23 {
        for epoch in 0..3 {
            let datagram = record(content_type, epoch, 1, &[]);
            assert_eq!(give(&mut gate, &datagram), drop_for(DropReason::BadLength));
        }
    }
    for epoch in [2, 3, u16::MAX] {
        let datagram = record(HANDSHAKE, epoch, 1, &[0; 40]);
        assert_eq!(give(&mut gate, &datagram), drop_for(DropReason::BadEpoch));
    }
}

#[test]
fn malformed_messages_are_dropped() {
    let header = fragment(message::CERTIFICATE, 0, 1, 0, &[]);
    for (payload, reason) in [
        (header[..11].to_vec(), DropReason::Truncated),
        (
            fragment(message::CERTIFICATE, 5, 1, 0, &[]),
            DropReason::BadFragment,
        ),
        (
            fragment(message::CERTIFICATE, 5, 1, 4, &[0; 2]),
            DropReason::BadFragment,
        ),
        ([&header[..], &[0; 3]].concat(), DropReason::Truncated),
        // Several messages in a record must be whole, and follow each other.
        (
            [
                header.clone(),
                fragment(message::SERVER_KEY_EXCHANGE, 9, 2, 0, &[0; 3]),
            ]
            .concat(),
            DropReason::BadFragment,
        ),
        (
            [
                header.clone(),
                fragment(message::SERVER_HELLO_DONE, 0, 3, 0, &[]),
            ]
            .concat(),
            DropReason::UnexpectedMessage,
        ),
    ] {
        let datagram = record(HANDSHAKE, 0, 1, &payload);
        assert_eq!(give(&mut after_server_hello(), &datagram), drop_for(reason));
    }
}

#[test]
fn several_messages_in_one_record_pass_and_wait_together() {
    let both = |first: u16| {
        [
            fragment(message::SERVER_KEY_EXCHANGE, 3, first, 0, &[1; 3]),
            fragment(message::SERVER_HELLO_DONE, 0, first + 1, 0, &[]),
        ]
        .concat()
    };
    let mut gate = after_server_hello();
    assert_eq!(give(&mut gate, &record(HANDSHAKE, 0, 1, &both(1))), PASS);
    assert_eq!(gate.due, 3);

    let mut gate = after_server_hello();
    assert_eq!(
        give(&mut gate, &record(HANDSHAKE, 0, 2, &both(2))),
        Verdict::Keep
    );
    assert!(released(&mut gate).is_empty());
    assert_eq!(
        give(&mut gate, &whole(message::CERTIFICATE, 1, 1, &[0; 9])),
        PASS
    );
    assert_eq!(released(&mut gate).len(), 1);
    assert_eq!(gate.due, 4);
    // What has passed may lead the record.
    let mut gate = after_server_hello();
    assert_eq!(
        give(
            &mut gate,
            &whole(message::SERVER_KEY_EXCHANGE, 1, 5, &[1; 3])
        ),
        PASS
    );
    assert_eq!(give(&mut gate, &record(HANDSHAKE, 0, 1, &both(1))), PASS);
    assert_eq!(gate.due, 3);
}

#[test]
fn fragments_wait_until_their_message_is_complete() {
    let mut gate = after_server_hello();
    let body: Vec<u8> = (0..30).collect();
    let at = |sequence, from: usize, to: usize| {
        part(
            message::CERTIFICATE,
            30,
            1,
            sequence,
            from as u32,
            &body[from..to],
        )
    };
    assert_eq!(give(&mut gate, &at(3, 20, 30)), Verdict::Keep);
    assert_eq!(give(&mut gate, &at(1, 0, 12)), Verdict::Keep);
    assert_eq!(
        give(
            &mut gate,
            &whole(message::SERVER_KEY_EXCHANGE, 2, 4, &[0; 9])
        ),
        Verdict::Keep
    );
    assert!(released(&mut gate).is_empty());
    assert_eq!(give(&mut gate, &at(2, 10, 20)), Verdict::Keep);
    let sequences: Vec<_> = released(&mut gate)
        .iter()
        .map(|record| split_record(record).unwrap().0.sequence)
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert_eq!(gate.due, 3);
    // Once more: all of it has passed.
    let repeated = drop_for(DropReason::RepeatedMessage);
    assert_eq!(give(&mut gate, &at(9, 0, 12)), repeated);
    assert_eq!(
        give(&mut gate, &whole(message::CERTIFICATE, 1, 9, &body)),
        repeated
    );
}

#[test]
fn forged_first_fragment_does_not_shut_out_the_real_message() {
    let mut gate = after_server_hello();
    for (sequence, forged) in [
        part(message::CERTIFICATE, 999, 1, 1, 0, &[6; 10]),
        part(message::SERVER_KEY_EXCHANGE, 30, 1, 2, 0, &[6; 10]),
        part(message::NEW_SESSION_TICKET, 31, 1, 3, 0, &[6; 10]),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(give(&mut gate, forged), Verdict::Keep, "{sequence}");
    }
    assert_eq!(
        give(
            &mut gate,
            &part(message::CERTIFICATE, 30, 1, 4, 0, &[1; 15])
        ),
        Verdict::Keep
    );
    assert_eq!(
        give(
            &mut gate,
            &part(message::CERTIFICATE, 30, 1, 5, 15, &[1; 15])
        ),
        Verdict::Keep
    );
    assert_eq!(released(&mut gate).len(), 2);
    assert_eq!(count(&mut gate, DropReason::Contradiction), 3);
    let contradiction = drop_for(DropReason::Contradiction);
    for other in [
        part(message::CERTIFICATE, 31, 1, 6, 0, &[1; 15]),
        whole(message::SERVER_KEY_EXCHANGE, 1, 6, &[1; 30]),
    ] {
        assert_eq!(give(&mut gate, &other), contradiction);
    }
    assert!(gate.is_contradicted());
}

#[test]
fn another_version_of_a_message_that_passed_is_noticed() {
    let mut gate = after_server_hello();
    assert!(!gate.is_contradicted());
    let copy = server_hello(0, 1);
    assert_eq!(
        give(&mut gate, &copy),
        drop_for(DropReason::RepeatedMessage)
    );
    assert!(!gate.is_contradicted());
    let mut other = server_hello(0, 1);
    other[40] ^= 1;
    assert_eq!(give(&mut gate, &other), drop_for(DropReason::Contradiction));
    assert!(gate.is_contradicted());
    assert!(!gate.for_next_try().is_contradicted());
}

#[test]
fn waiting_records_are_bounded_and_make_room() {
    let mut gate = after_server_hello();
    gate.lead = MAX_SEQUENCE_LEAD;
    for n in 0..2_000 {
        let forged = part(message::CERTIFICATE, 9_000, 1, 1 + n, n as u32, &[6; 1_000]);
        assert_eq!(give(&mut gate, &forged), Verdict::Keep);
    }
    assert!(gate.waiting.len() <= (MAX_LIST + MAX_WAITING) / 1_000);
    assert!(count(&mut gate, DropReason::ReassemblyFull) > 1_900);
    for from in [0, 15] {
        let real = part(
            message::CERTIFICATE,
            30,
            1,
            3_000 + u64::from(from),
            from,
            &[1; 15],
        );
        assert_eq!(give(&mut gate, &real), Verdict::Keep);
    }
    assert_eq!(released(&mut gate).len(), 2);
    assert_eq!(gate.waiting.len(), 0);
}

#[test]
fn record_numbers_are_taken_once_and_not_from_far_ahead() {
    let mut gate = after_server_hello();
    let certificate = |sequence| whole(message::CERTIFICATE, 1, sequence, &[0; 9]);
    assert_eq!(
        give(&mut gate, &certificate(0)),
        drop_for(DropReason::Replayed)
    );
    let far = drop_for(DropReason::SequenceTooFar);
    assert_eq!(give(&mut gate, &certificate(SEQUENCE_LEAD + 1)), far);
    assert_eq!(give(&mut gate, &cipher_spec(SEQUENCE_LEAD + 1)), far);
    assert_eq!(give(&mut gate, &certificate((1 << 48) - 1)), far);
    assert_eq!(give(&mut gate, &certificate(SEQUENCE_LEAD)), PASS);
    // The real peer's lower numbers are good still.
    assert_eq!(
        give(
            &mut gate,
            &whole(message::SERVER_KEY_EXCHANGE, 2, 1, &[0; 9])
        ),
        PASS
    );
}

#[test]
fn lead_grows_while_nothing_arrives_and_with_what_waits() {
    let mut gate = after_server_hello();
    let certificate = |sequence| whole(message::CERTIFICATE, 1, sequence, &[0; 9]);
    let far = drop_for(DropReason::SequenceTooFar);
    // One interval in which the hello arrived, and two without anything.
    for _ in 0..3 {
        gate.interval_passed();
    }
    assert_eq!(judge(&mut gate, &certificate(4 * SEQUENCE_LEAD + 1)), far);
    assert_eq!(judge(&mut gate, &certificate(4 * SEQUENCE_LEAD)), PASS);
    for _ in 0..100 {
        gate.interval_passed();
    }
    assert_eq!(gate.lead, MAX_SEQUENCE_LEAD);
    assert_eq!(give(&mut gate, &certificate(1)), PASS);
    gate.interval_passed();
    assert_eq!(gate.lead, SEQUENCE_LEAD);
    // A message of many fragments.
    let mut gate = after_server_hello();
    for n in 0..500 {
        let fragment = part(message::CERTIFICATE, 500, 1, 1 + n, n as u32, &[0]);
        assert_eq!(give(&mut gate, &fragment), Verdict::Keep, "{n}");
    }
    assert_eq!(released(&mut gate).len(), 500);
}

#[test]
fn version_is_the_one_that_was_agreed_on() {
    let mut old = whole(message::CERTIFICATE, 1, 1, &[0; 9]);
    old[2] = 0xff;
    let bad = drop_for(DropReason::BadVersion);
    let mut gate = after_server_hello();
    assert_eq!(give(&mut gate, &old), bad);
    let mut gate = after_client_hello();
    assert_eq!(give(&mut gate, &old), bad);
    let mut spec = cipher_spec(2);
    spec[2] = 0xff;
    assert_eq!(give(&mut gate, &spec), bad);
    let mut encrypted = record(HANDSHAKE, 1, 0, &[0; 40]);
    encrypted[2] = 0xff;
    assert_eq!(give(&mut gate, &encrypted), bad);
    // The hello itself may come in any.
    let mut hello = server_hello(0, 0);
    hello[2] = 0xff;
    assert_eq!(give(&mut client(), &hello), PASS);
}

#[test]
fn alerts_are_held_or_dropped() {
    let alert = |payload: &[u8]| record(content::ALERT, 0, 70_000, payload);
    let unproven = drop_for(DropReason::UnprovenAlert);
    for gate in [client, server, after_server_hello, after_client_hello] {
        assert_eq!(
            give(&mut gate(), &alert(&[2, 40])),
            Verdict::Hold(Alert::HANDSHAKE_FAILURE)
        );
        assert_eq!(
            give(&mut gate(), &alert(&[2, 0])),
            Verdict::Hold(Alert::CLOSE_NOTIFY)
        );
        assert_eq!(
            give(&mut gate(), &alert(&[1, 0])),
            Verdict::Hold(Alert::CLOSE_NOTIFY)
        );
        for payload in [
            &[1, 90][..],
            &[1, 100],
            &[0, 0],
            &[3, 0],
            &[255, 255],
            &[2],
            &[2, 40, 0],
        ] {
            assert_eq!(give(&mut gate(), &alert(payload)), unproven, "{payload:?}");
        }
    }
}

#[test]
fn cipher_spec_passes_when_libssl_waits_for_it() {
    // Server, without and with a client's certificate.
    let mut gate = after_client_hello();
    assert_eq!(give(&mut gate, &cipher_spec(9)), Verdict::Keep);
    assert!(released(&mut gate).is_empty());
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 1, 1, &[0; 9])
        ),
        PASS
    );
    assert_eq!(released(&mut gate).len(), 1);
    assert_eq!(
        give(&mut gate, &cipher_spec(10)),
        drop_for(DropReason::RepeatedMessage)
    );

    let mut gate = after_client_hello();
    assert_eq!(
        give(&mut gate, &whole(message::CERTIFICATE, 1, 1, &[0; 90])),
        PASS
    );
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 2, 2, &[0; 9])
        ),
        PASS
    );
    assert_eq!(give(&mut gate, &cipher_spec(4)), Verdict::Keep);
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CERTIFICATE_VERIFY, 3, 3, &[0; 9])
        ),
        PASS
    );
    assert_eq!(released(&mut gate).len(), 1);

    // A list without a certificate is not proved.
    let mut gate = after_client_hello();
    assert_eq!(
        give(&mut gate, &whole(message::CERTIFICATE, 1, 1, &[0; 3])),
        PASS
    );
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 2, 2, &[0; 9])
        ),
        PASS
    );
    assert_eq!(give(&mut gate, &cipher_spec(3)), PASS);

    // A server that resumes speaks first.
    let mut gate = after_client_hello();
    gate.outbound(&cipher_spec(1));
    assert_eq!(give(&mut gate, &cipher_spec(1)), PASS);
}

#[test]
fn client_waits_for_the_ticket_it_was_promised() {
    let hello = whole(message::SERVER_HELLO, 0, 0, &hello_body(GCM, &[], Some(35)));
    let mut gate = client();
    assert_eq!(give(&mut gate, &hello), PASS);
    assert_eq!(
        give(&mut gate, &whole(message::SERVER_HELLO_DONE, 1, 1, &[])),
        PASS
    );
    gate.outbound(
        &[
            whole(message::CLIENT_KEY_EXCHANGE, 1, 1, &[0; 9]),
            cipher_spec(2),
        ]
        .concat(),
    );
    assert_eq!(give(&mut gate, &cipher_spec(3)), Verdict::Keep);
    assert!(released(&mut gate).is_empty());
    assert_eq!(
        give(
            &mut gate,
            &whole(message::NEW_SESSION_TICKET, 2, 2, &[0; 9])
        ),
        PASS
    );
    assert_eq!(released(&mut gate).len(), 1);
}

#[test]
fn client_that_resumes_waits_for_no_flight_of_its_own() {
    let mut gate = client();
    let mut hello = vec![0xfe, 0xfd];
    hello.extend([1; 32]);
    hello.push(4);
    hello.extend(*b"once");
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    gate.outbound(&whole(message::CLIENT_HELLO, 0, 0, &hello));
    assert_eq!(give(&mut gate, &cipher_spec(1)), Verdict::Keep);
    let other = whole(message::SERVER_HELLO, 0, 0, &hello_body(GCM, b"else", None));
    let same = whole(message::SERVER_HELLO, 0, 0, &hello_body(GCM, b"once", None));
    let mut full = client();
    full.session_id = gate.session_id.clone();
    assert_eq!(give(&mut full, &other), PASS);
    assert_eq!(give(&mut full, &cipher_spec(1)), Verdict::Keep);
    assert_eq!(give(&mut gate, &same), PASS);
    assert_eq!(released(&mut gate), [cipher_spec(1).into_boxed_slice()]);
}

#[test]
fn cipher_spec_that_cannot_be_one_is_dropped() {
    let mut gate = after_client_hello();
    for payload in [&[0][..], &[2], &[1, 1]] {
        let datagram = record(content::CHANGE_CIPHER_SPEC, 0, 1, payload);
        assert_eq!(give(&mut gate, &datagram), drop_for(DropReason::BadLength));
    }
    let datagram = record(content::CHANGE_CIPHER_SPEC, 1, 1, &[1; 40]);
    assert_eq!(
        give(&mut gate, &datagram),
        drop_for(DropReason::UnexpectedMessage)
    );
    // One that waited until its number was used up.
    assert_eq!(give(&mut gate, &cipher_spec(1)), Verdict::Keep);
    assert_eq!(give(&mut gate, &cipher_spec(2)), Verdict::Keep);
    assert_eq!(count(&mut gate, DropReason::RepeatedMessage), 1);
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 1, 2, &[0; 9])
        ),
        PASS
    );
    assert!(released(&mut gate).is_empty());
    assert_eq!(count(&mut gate, DropReason::Replayed), 1);
    assert_eq!(give(&mut gate, &cipher_spec(3)), PASS);
}

#[test]
fn clear_records_behind_the_cipher_spec_never_pass() {
    let mut gate = after_client_hello();
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 1, 1, &[0; 9])
        ),
        PASS
    );
    assert_eq!(give(&mut gate, &cipher_spec(2)), PASS);
    let alert = record(content::ALERT, 0, 3, &[2, 40]);
    assert_eq!(give(&mut gate, &alert), drop_for(DropReason::UnprovenAlert));
    let verify = whole(message::CERTIFICATE_VERIFY, 3, 4, &[0; 9]);
    assert_eq!(give(&mut gate, &verify), Verdict::Keep);
    assert!(released(&mut gate).is_empty());
}

#[test]
fn early_records_wait_for_their_keys_within_bounds() {
    let mut gate = after_client_hello();
    let early = |sequence, length| record(content::APPLICATION_DATA, 1, sequence, &vec![7; length]);
    let too_many = drop_for(DropReason::TooManyEarlyRecords);
    for sequence in 0..MAX_EARLY_RECORDS as u64 {
        assert_eq!(give(&mut gate, &early(sequence, 40)), Verdict::Keep);
    }
    assert_eq!(give(&mut gate, &early(99, 40)), too_many);
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 1, 1, &[0; 9])
        ),
        PASS
    );
    assert!(released(&mut gate).is_empty());
    assert_eq!(give(&mut gate, &cipher_spec(2)), PASS);
    assert_eq!(released(&mut gate).len(), MAX_EARLY_RECORDS);
    // With the keys there libssl keeps none.
    for sequence in 100..1_000 {
        assert_eq!(give(&mut gate, &early(sequence, 40)), PASS);
    }
    // By bytes, and for one interval.
    let mut gate = after_client_hello();
    assert_eq!(
        give(&mut gate, &early(1, MAX_EARLY_BYTES - 7_000)),
        Verdict::Keep
    );
    assert_eq!(give(&mut gate, &early(2, 7_000)), too_many);
    gate.interval_passed();
    assert_eq!(count(&mut gate, DropReason::TooManyEarlyRecords), 1);
    assert_eq!(give(&mut gate, &early(2, 7_000)), Verdict::Keep);
}

#[test]
fn encrypted_records_are_as_long_as_their_suite_makes_them() {
    let short = drop_for(DropReason::BadLength);
    for (suite, shortest) in [
        (GCM, 24),
        (CHACHA, 16),
        (0xc0a8, 16),
        (0xc0ae, 16),
        (0xc0ac, 24),
        (0xc00a, 24),
        (0x0002, 16),
    ] {
        let mut gate = client();
        // Before the suite is known the shortest of any may wait, but not be passed.
        assert_eq!(give(&mut gate, &record(HANDSHAKE, 1, 0, &[0; 15])), short);
        assert_eq!(
            give(&mut gate, &record(HANDSHAKE, 1, 0, &[0; 16])),
            Verdict::Keep
        );
        let hello = whole(message::SERVER_HELLO, 0, 0, &hello_body(suite, &[], None));
        assert_eq!(give(&mut gate, &hello), PASS);
        gate.outbound(&cipher_spec(3));
        assert_eq!(give(&mut gate, &cipher_spec(1)), PASS);
        assert_eq!(
            released(&mut gate).len(),
            usize::from(shortest == 16),
            "{suite:x}"
        );
        assert_eq!(
            count(&mut gate, DropReason::BadLength),
            u64::from(shortest == 24)
        );
        assert_eq!(gate.shortest_record(), shortest);
        let at = |length: usize| record(content::ALERT, 1, 5, &vec![0; length]);
        assert_eq!(give(&mut gate, &at(shortest - 1)), short);
        assert_eq!(give(&mut gate, &at(shortest)), PASS);
        let (datagram, enough) = (at(shortest - 1), at(shortest));
        assert_eq!(
            judge_established(&split_record(&datagram).unwrap().0, shortest),
            short
        );
        assert_eq!(
            judge_established(&split_record(&enough).unwrap().0, shortest),
            PASS
        );
    }
    // A server knows it from its own hello.
    let mut gate = server();
    gate.outbound(&server_hello(0, 0));
    assert_eq!(gate.shortest_record(), 24);
}

#[test]
fn established_connection_takes_encrypted_records_only() {
    for (datagram, reason) in [
        (
            record(content::ALERT, 0, 9, &[2, 40]),
            DropReason::UnprovenAlert,
        ),
        (
            record(content::ALERT, 0, 9, &[1, 0]),
            DropReason::UnprovenAlert,
        ),
        (
            whole(message::CLIENT_HELLO, 0, 9, &[0; 50]),
            DropReason::RepeatedHello,
        ),
        (
            whole(message::HELLO_REQUEST, 0, 9, &[]),
            DropReason::RepeatedHello,
        ),
        (
            whole(message::CERTIFICATE, 1, 9, &[0; 50]),
            DropReason::BadEpoch,
        ),
        (cipher_spec(9), DropReason::BadEpoch),
        (
            record(content::APPLICATION_DATA, 0, 9, &[0; 50]),
            DropReason::BadEpoch,
        ),
        (
            record(content::APPLICATION_DATA, 2, 9, &[0; 50]),
            DropReason::BadEpoch,
        ),
        (
            record(content::APPLICATION_DATA, 1, 9, &[]),
            DropReason::BadLength,
        ),
        (
            record(content::CHANGE_CIPHER_SPEC, 1, 9, &[0; 50]),
            DropReason::UnexpectedMessage,
        ),
    ] {
        let (record, _) = split_record(&datagram).unwrap();
        assert_eq!(
            judge_established(&record, 24),
            drop_for(reason),
            "{record:?}"
        );
    }
    for content_type in [content::ALERT, HANDSHAKE, content::APPLICATION_DATA] {
        let datagram = record(content_type, 1, 1 << 40, &[0; 50]);
        let (record, _) = split_record(&datagram).unwrap();
        assert_eq!(judge_established(&record, 24), PASS);
    }
}

fn verify_request(seq: u16, sequence: u64, cookie: u8) -> Vec<u8> {
    whole(
        message::HELLO_VERIFY_REQUEST,
        seq,
        sequence,
        &[0xfe, 0xff, 1, cookie],
    )
}

#[test]
fn client_takes_a_cookie_once_and_notices_another() {
    let mut gate = client();
    assert_eq!(give(&mut gate, &verify_request(0, 0, 1)), PASS);
    assert_eq!(
        give(&mut gate, &verify_request(0, 1, 1)),
        drop_for(DropReason::RepeatedMessage)
    );
    assert_eq!(
        give(&mut gate, &verify_request(0, 1, 2)),
        Verdict::AskedAgain
    );
    // A server that goes on counting is answered at once, a few times.
    assert_eq!(give(&mut gate, &verify_request(1, 1, 2)), PASS);
    assert_eq!(give(&mut gate, &verify_request(2, 2, 3)), PASS);
    let unexpected = drop_for(DropReason::UnexpectedMessage);
    assert_eq!(give(&mut gate, &verify_request(3, 3, 4)), unexpected);
    assert_eq!(give(&mut gate, &verify_request(5, 3, 5)), unexpected);
    assert_eq!(
        give(&mut gate, &server_hello(2, 3)),
        drop_for(DropReason::Contradiction)
    );
    assert_eq!(give(&mut gate, &server_hello(3, 3)), PASS);
    assert_eq!(give(&mut gate, &verify_request(4, 4, 4)), unexpected);
}

/// A ServerHello of its own handshake.
fn hello_of(handshake: u8, seq: u16, sequence: u64) -> Vec<u8> {
    let mut hello = server_hello(seq, sequence);
    hello[13 + 12 + 2] = handshake;
    hello
}

#[test]
fn next_try_waits_for_its_cookie_for_an_interval() {
    let mut gate = client();
    assert_eq!(give(&mut gate, &verify_request(0, 0, 1)), PASS);
    let mut gate = gate.for_next_try();
    let unexpected = drop_for(DropReason::UnexpectedMessage);
    assert_eq!(give(&mut gate, &hello_of(1, 0, 0)), unexpected);
    assert_eq!(give(&mut gate, &hello_of(2, 1, 1)), unexpected);
    assert_eq!(give(&mut gate, &verify_request(0, 0, 9)), PASS);
    assert_eq!(give(&mut gate, &hello_of(3, 1, 1)), PASS);
    // The one who asked before may have been a forger.
    let mut gate = gate.for_next_try();
    assert_eq!(give(&mut gate, &hello_of(4, 0, 0)), unexpected);
    gate.interval_passed();
    assert_eq!(give(&mut gate, &hello_of(5, 0, 0)), PASS);
    // One that never had a cookie waits for none.
    let mut gate = after_server_hello().for_next_try();
    assert_eq!(give(&mut gate, &hello_of(6, 0, 0)), PASS);
}

#[test]
fn next_try_takes_no_flight_that_answers_an_earlier_one() {
    let mut gate = client();
    assert_eq!(give(&mut gate, &verify_request(0, 0, 1)), PASS);
    assert_eq!(give(&mut gate, &hello_of(1, 1, 1)), PASS);
    // One that came too late for its own try is noted as well.
    let contradiction = drop_for(DropReason::Contradiction);
    assert_eq!(give(&mut gate, &hello_of(2, 1, 2)), contradiction);
    let mut gate = gate.for_next_try();
    assert_eq!(give(&mut gate, &verify_request(0, 0, 2)), PASS);
    let unexpected = drop_for(DropReason::UnexpectedMessage);
    let certificate = whole(message::CERTIFICATE, 2, 6, &[0; 9]);
    for stale in [hello_of(1, 1, 5), hello_of(2, 1, 5), certificate.clone()] {
        assert_eq!(give(&mut gate, &stale), unexpected);
    }
    assert_eq!(give(&mut gate, &hello_of(3, 1, 1)), PASS);
    assert_eq!(give(&mut gate, &certificate), PASS);
    assert_eq!(give(&mut gate, &hello_of(1, 1, 7)), unexpected);
}

#[test]
fn hello_that_a_listener_took_is_not_taken_again() {
    let mut body = vec![0xfe, 0xfd];
    body.extend([1; 32]);
    body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let datagram = whole(message::CLIENT_HELLO, 1, 4, &body);
    let mut gate = server();
    gate.hello_taken(&wire::first_client_hello(&datagram).unwrap());
    assert_eq!(give(&mut gate, &datagram), drop_for(DropReason::Replayed));
    let repeated = whole(message::CLIENT_HELLO, 1, 5, &body);
    assert_eq!(
        give(&mut gate, &repeated),
        drop_for(DropReason::RepeatedMessage)
    );
    for (seq, byte) in [(1, 2), (2, 1)] {
        let mut other = body.clone();
        other[9] = byte;
        let other = whole(message::CLIENT_HELLO, seq, 5, &other);
        assert_eq!(give(&mut gate, &other), drop_for(DropReason::RepeatedHello));
    }
    // The first one, without a cookie, late.
    let first = whole(message::CLIENT_HELLO, 0, 3, &body);
    assert_eq!(
        give(&mut gate, &first),
        drop_for(DropReason::RepeatedMessage)
    );
    assert_eq!(
        give(
            &mut gate,
            &whole(message::CLIENT_KEY_EXCHANGE, 2, 5, &[0; 9])
        ),
        PASS
    );
}

#[test]
fn rest_of_a_hello_that_a_listener_took_passes_as_it_comes() {
    let mut body = vec![0xfe, 0xfd];
    body.extend([1; 32]);
    body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.resize(100, 0);
    let at = |sequence, from: usize, to: usize| {
        part(
            message::CLIENT_HELLO,
            100,
            1,
            sequence,
            from as u32,
            &body[from..to],
        )
    };
    let first = at(1, 0, 50);
    let mut gate = server();
    gate.hello_taken(&wire::first_client_hello(&first).unwrap());
    let wrong = part(message::CLIENT_HELLO, 101, 1, 2, 50, &[0; 51]);
    assert_eq!(give(&mut gate, &wrong), drop_for(DropReason::Contradiction));
    assert_eq!(give(&mut gate, &at(3, 80, 100)), PASS);
    assert_eq!(give(&mut gate, &at(4, 80, 100)), PASS);
    assert_eq!(gate.due, 1);
    assert_eq!(give(&mut gate, &at(5, 50, 80)), PASS);
    assert_eq!(gate.due, 2);
    assert_eq!(
        give(&mut gate, &at(6, 50, 80)),
        drop_for(DropReason::RepeatedMessage)
    );
}

#[test]
fn record_that_libssl_did_not_read_has_not_passed() {
    let mut gate = after_server_hello();
    let done = whole(message::SERVER_HELLO_DONE, 1, 1, &[]);
    assert_eq!(judge(&mut gate, &done), PASS);
    assert_eq!(judge(&mut gate, &done), PASS);
    // One that was released comes first again.
    assert_eq!(
        give(&mut gate, &part(message::CERTIFICATE, 2, 1, 1, 0, &[1])),
        Verdict::Keep
    );
    assert_eq!(
        give(&mut gate, &part(message::CERTIFICATE, 2, 1, 2, 1, &[2])),
        Verdict::Keep
    );
    let first = gate.release().unwrap();
    gate.put_back(first.clone());
    assert_eq!(
        give(
            &mut gate,
            &whole(message::SERVER_KEY_EXCHANGE, 2, 3, &[0; 9])
        ),
        Verdict::Keep
    );
    let order = released(&mut gate);
    assert_eq!(order[0], first);
    assert_eq!(order.len(), 3);
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
