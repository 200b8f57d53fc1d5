//! What waits for its turn, and how much of it.

use super::*;

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
