//! What is judged by the record alone: its length, number, version and type.

use super::*;

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
