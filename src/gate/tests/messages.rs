//! Which messages pass, by role, place, order and length.

use super::*;

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
