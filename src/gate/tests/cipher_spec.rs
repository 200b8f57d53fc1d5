//! When a ChangeCipherSpec passes, and what its keys are for.

use super::*;

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
