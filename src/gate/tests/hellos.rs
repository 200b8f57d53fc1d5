//! Cookies, further tries, and hellos that a listener took.

use super::*;

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
