//! The ClientHello and its cookie.

use std::time::Duration;

use openssl::ssl::{SslContext, SslMethod, SslOptions};

use super::{Contexts, certificate, completes, end, psk};
use crate::gate::bypass;
use crate::support::forge::sequence;
use crate::support::{Pair, certs, clock, fragment, record, records};
use crate::{AddressProof, Connection, Context, DropReason, Incoming, Role, TransportConfig};

/// A client's hello with a good cookie, and the pair it belongs to.
fn second_hello(contexts: &Contexts) -> (Pair, Vec<u8>) {
    let mut pair = Pair::new(contexts);
    pair.run(Duration::from_secs(1), |pair| pair.to_server.log.len() == 2);
    let arrival = pair.to_server.next_arrival().unwrap();
    let hello = pair.to_server.receive(arrival).unwrap();
    clock::move_to(arrival);
    (pair, hello)
}

#[test]
fn hazard_c14_records_behind_a_client_hello_enter_the_record_layer() {
    let contexts = certificate();
    let alert = record(21, 0, 5, &[2, 40]);
    let (mut pair, hello) = second_hello(&contexts);
    pair.server_receives(&[&hello[..], &alert].concat());
    assert!(completes(&mut pair), "{pair:?}");
    assert_eq!(
        end(&pair, Role::Server)
            .stats()
            .drops
            .count(DropReason::AlertOverruled),
        1
    );
    pair.assert_works();

    let (mut pair, hello) = second_hello(&contexts);
    bypass::with(|| {
        pair.server_receives(&[&hello[..], &alert].concat());
        assert!(!completes(&mut pair), "{pair:?}");
    });
}

#[test]
fn hazard_c14_cookie_is_bound_to_the_address_of_the_socket() {
    let (mut pair, hello) = second_hello(&psk());
    let elsewhere: std::net::SocketAddr = "192.0.2.9:40000".parse().unwrap();
    let incoming = pair
        .listener
        .handle_datagram(clock::now(), elsewhere, &hello)
        .unwrap();
    assert!(matches!(incoming, Incoming::Reply(reply) if reply.path.peer == elsewhere));
    assert_eq!(pair.listener.stats().drops.count(DropReason::BadCookie), 1);
    pair.server_receives(&hello);
    assert!(completes(&mut pair), "{pair:?}");
}

/// Cuts the ClientHello in `datagram` behind `at` bytes of its body.
fn cut(datagram: &[u8], at: usize) -> [Vec<u8>; 2] {
    let body = &datagram[25..];
    let length = u32::try_from(body.len()).unwrap();
    let next = sequence(datagram);
    let seq = u16::from_be_bytes([datagram[17], datagram[18]]);
    let part = |n: u64, from: usize, to: usize| {
        record(
            22,
            0,
            next + n,
            &fragment(1, length, seq, from as u32, &body[from..to]),
        )
    };
    [part(0, 0, at), part(1, at, body.len())]
}

#[test]
fn hazard_c15_fragmented_hello_is_taken_if_its_cookie_comes_first() {
    let contexts = certificate();
    for at in [35 + 1 + 32, 90] {
        for forged in [false, true] {
            let (mut pair, hello) = second_hello(&contexts);
            let [first, second] = cut(&hello, at);
            pair.server_receives(&first);
            assert!(pair.server().is_some(), "{pair:?}");
            if forged {
                // Somebody claims that the rest is longer.
                let wrong = fragment(1, 4_000, 1, at as u32, &[0; 30]);
                pair.server_receives(&record(22, 0, sequence(&hello) + 2, &wrong));
            }
            pair.server_receives(&second);
            assert!(completes(&mut pair), "{pair:?}");
            let drops = &end(&pair, Role::Server).stats().drops;
            assert_eq!(drops.count(DropReason::Contradiction), u64::from(forged));
            pair.assert_works();
        }
    }
    let (mut pair, hello) = second_hello(&contexts);
    let [first, second] = cut(&hello, 60);
    pair.server_receives(&first);
    pair.server_receives(&second);
    assert!(pair.server().is_none());
    assert_eq!(pair.listener.stats().drops.count(DropReason::Truncated), 1);
    // Around the gate the claim of another length is the end.
    let (mut pair, hello) = second_hello(&contexts);
    let [first, second] = cut(&hello, 90);
    bypass::with(|| {
        pair.server_receives(&first);
        let wrong = fragment(1, 4_000, 1, 90, &[0; 30]);
        pair.server_receives(&record(22, 0, sequence(&hello) + 2, &wrong));
        pair.server_receives(&second);
        assert!(!completes(&mut pair), "{pair:?}");
    });
}

#[test]
fn hazard_c17_cookie_exchange_of_libssl_keeps_state_and_is_never_used() {
    let mut builder = SslContext::builder(SslMethod::dtls()).unwrap();
    builder
        .set_certificate(certs::server_identity().certificate())
        .unwrap();
    builder.set_private_key(&certs::server_key()).unwrap();
    builder.set_options(SslOptions::COOKIE_EXCHANGE);
    builder.set_cookie_generate_cb(|_, _| panic!("asked for a cookie"));
    builder.set_cookie_verify_cb(|_, _| panic!("asked about a cookie"));
    let context = builder.build();
    let contexts = (
        certificate().0,
        Context::adopt(context, Role::Server, TransportConfig::default()).unwrap(),
    );
    Pair::connected(&contexts).assert_works();

    // Nor without a listener: the first answer is a ServerHello.
    let mut pair = Pair::new(&contexts);
    let proof = AddressProof::ProvedElsewhere;
    let mut server = Connection::server(
        &contexts.1,
        crate::support::pair::client_addr(),
        clock::now(),
        proof,
    )
    .unwrap();
    let hello = pair.client.poll_transmit().unwrap().contents.to_vec();
    server.handle_datagram(clock::now(), &hello).unwrap();
    assert_eq!(server.poll_transmit().unwrap().contents[13], 2);
}

#[test]
fn hazard_c54_client_hello_goes_out_whole() {
    for contexts in [psk(), certificate()] {
        let pair = Pair::new(&contexts);
        let mut client = pair.client;
        let hello = client.poll_transmit().unwrap().contents.to_vec();
        let [record] = records(&hello)[..] else {
            panic!("more than one record");
        };
        assert_eq!(record[14..17], record[22..25], "a fragment");
        assert!(client.poll_transmit().is_none());
    }
}
