//! What anybody can send in a peer's name ends no handshake and no connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use openssl_dtls::{
    ClientCertificates, Connection, Context, DropReason, Error, Incoming, Role, TransportConfig,
};

use crate::support::forge::{forgeries, message, renumbered, sequence};
use crate::support::link::Forger;
use crate::support::pair::{client_addr, listener};
use crate::support::{
    Link, Pair, certificate_contexts, certs, clock, psk_contexts, record, records,
};

type Contexts = (Context, Context);

fn mutual_contexts() -> Contexts {
    let trust = certs::authority().pem();
    let client = Context::client()
        .trust_pem(&trust)
        .identity(certs::client_identity());
    let server = Context::server(certs::server_identity())
        .trust_pem(&trust)
        .client_certificates(ClientCertificates::Required);
    (client.build().unwrap(), server.build().unwrap())
}

fn kinds() -> [(&'static str, Contexts); 3] {
    let transport = TransportConfig::default();
    [
        ("pre-shared keys", psk_contexts(&transport)),
        ("certificate", certificate_contexts(&transport)),
        ("mutual certificates", mutual_contexts()),
    ]
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn toward(pair: &mut Pair, receiver: Role) -> &mut Link {
    match receiver {
        Role::Client => &mut pair.to_client,
        Role::Server => &mut pair.to_server,
    }
}

/// How many datagrams each role receives in a handshake that nobody disturbs, and the datagrams.
fn undisturbed(contexts: &Contexts, receiver: Role) -> Vec<Vec<u8>> {
    let mut pair = Pair::connected(contexts);
    toward(&mut pair, receiver).log.clone()
}

/// Sends `forge` of the real datagram before that of number `at`, which is also behind the one before.
fn before(at: usize, forge: impl Fn(&[u8]) -> Vec<Vec<u8>> + 'static) -> Forger {
    Box::new(move |number, real| {
        if number == at {
            forge(real)
        } else {
            Vec::new()
        }
    })
}

fn assert_undisturbed(pair: &mut Pair, what: &str) {
    let done = pair.run(Duration::from_secs(120), Pair::is_established);
    assert!(done, "{what}: {pair:?}");
    assert!(pair.client_error.is_none(), "{what}: {pair:?}");
    assert!(pair.server_errors.is_empty(), "{what}: {pair:?}");
    assert_eq!(
        pair.client.stats().handshake_restarts,
        0,
        "{what}: {pair:?}"
    );
    pair.assert_works();
}

/// Every kind of forged datagram, alone, before each datagram of the handshake, for one kind of credentials.
fn forged_before_each_datagram(contexts: &Contexts, kind: &str) {
    for receiver in ROLES {
        let real = undisturbed(contexts, receiver);
        for (at, next) in real.iter().enumerate() {
            // Every handshake numbers its records alike, so those of an earlier one can be guessed from.
            for (name, datagrams) in forgeries(receiver, next) {
                let mut pair = Pair::new(contexts);
                let forger = before(at, move |_| datagrams.clone());
                toward(&mut pair, receiver).forger = Some(forger);
                let what = format!("{kind}: {name} to the {receiver:?} before datagram {at}");
                let began = clock::now();
                assert_undisturbed(&mut pair, &what);
                assert!(clock::now() - began < Duration::from_secs(3), "{what}");
            }
        }
    }
}

#[test]
fn no_forged_datagram_disturbs_a_handshake_with_pre_shared_keys() {
    let [(kind, contexts), _, _] = kinds();
    forged_before_each_datagram(&contexts, kind);
}

#[test]
fn no_forged_datagram_disturbs_a_handshake_with_a_certificate() {
    let [_, (kind, contexts), _] = kinds();
    forged_before_each_datagram(&contexts, kind);
}

#[test]
fn no_forged_datagram_disturbs_a_handshake_with_mutual_certificates() {
    let [_, _, (kind, contexts)] = kinds();
    forged_before_each_datagram(&contexts, kind);
}

#[test]
fn all_forged_datagrams_together_before_every_datagram_are_survived() {
    for (kind, contexts) in kinds() {
        let mut pair = Pair::new(&contexts);
        for receiver in ROLES {
            toward(&mut pair, receiver).forger = Some(Box::new(move |_, real| {
                forgeries(receiver, real)
                    .into_iter()
                    .flat_map(|(_, forged)| forged)
                    .collect()
            }));
        }
        assert_undisturbed(&mut pair, kind);
    }
}

#[test]
fn copies_of_what_was_sent_with_other_numbers_are_survived() {
    for (kind, contexts) in kinds() {
        for receiver in ROLES {
            for lead in [0_u64, 1, 2, 5, 31, 32, 33, 63, 64, 65, 1_000, 1 << 30] {
                let mut pair = Pair::new(&contexts);
                let sent: RefCell<Vec<Vec<u8>>> = RefCell::default();
                toward(&mut pair, receiver).forger = Some(Box::new(move |_, real| {
                    let mut sent = sent.borrow_mut();
                    sent.extend(records(real).into_iter().map(<[u8]>::to_vec));
                    let next = sequence(real);
                    let copy = |copy: &Vec<u8>| renumbered(copy, next + lead);
                    sent.iter().filter(|copy| copy[4] == 0).map(copy).collect()
                }));
                assert_undisturbed(
                    &mut pair,
                    &format!("{kind}: to the {receiver:?}, {lead} ahead"),
                );
            }
        }
    }
}

/// Suites of each kind of encryption, and whether they need a lower security level somewhere.
const SUITES: [&str; 8] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA384",
];

fn suite_contexts(suite: &str) -> Contexts {
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .cipher_list(suite)
        .security_level(0);
    let server = Context::server(certs::server_identity())
        .cipher_list(suite)
        .security_level(0);
    (client.build().unwrap(), server.build().unwrap())
}

fn gets(pair: &mut Pair, receiver: Role, datagram: &[u8]) {
    match receiver {
        Role::Client => pair.client_receives(datagram),
        Role::Server => pair.server_receives(datagram),
    }
}

#[test]
fn no_forged_datagram_ends_an_established_connection_of_any_suite() {
    for suite in SUITES {
        let mut pair = Pair::connected(&suite_contexts(suite));
        for receiver in ROLES {
            let real = toward(&mut pair, receiver).log.last().unwrap().clone();
            let forged = forgeries(receiver, &real).into_iter();
            for (name, datagrams) in forged {
                for datagram in datagrams {
                    gets(&mut pair, receiver, &datagram);
                }
                assert!(pair.client.is_established(), "{suite}: {name}");
                assert!(pair.server().unwrap().is_established(), "{suite}: {name}");
            }
            // Of every length that a suite could stumble over.
            for content_type in 20..=23 {
                for length in 1..150 {
                    for sequence in [0, 1, 2, 1 << 20] {
                        let datagram = record(content_type, 1, sequence, &vec![0x5a; length]);
                        gets(&mut pair, receiver, &datagram);
                    }
                }
            }
        }
        assert!(pair.client_error.is_none(), "{suite}: {pair:?}");
        assert!(pair.server_errors.is_empty(), "{suite}: {pair:?}");
        pair.assert_works();
    }
}

#[test]
fn forged_server_hello_costs_a_client_one_try() {
    for (kind, contexts) in kinds() {
        // Well-formed: another handshake's. Only its place must be right.
        let hello = undisturbed(&contexts, Role::Client)
            .iter()
            .flat_map(|datagram| records(datagram))
            .find(|record| record[13] == 2)
            .unwrap()
            .to_vec();
        let mut pair = Pair::new(&contexts);
        pair.to_client.forger = Some(before(1, move |real| {
            vec![renumbered(&hello, sequence(real))]
        }));
        pair.handshake();
        assert_eq!(
            pair.client.stats().handshake_restarts,
            1,
            "{kind}: {pair:?}"
        );
        assert!(pair.client_error.is_none(), "{kind}: {pair:?}");
        pair.assert_works();
    }
}

#[test]
fn forged_messages_in_place_cost_a_client_one_try() {
    let forged: [(&str, u8, u16, &[u8]); 5] = [
        ("an empty Certificate", 11, 2, &[0, 0, 0]),
        (
            "a Certificate of garbage",
            11,
            2,
            &[0, 0, 9, 0, 0, 6, 1, 2, 3, 4, 5, 6],
        ),
        ("a ServerKeyExchange of garbage", 12, 3, &[3, 0, 29, 32, 1]),
        ("an early ServerHelloDone", 14, 2, &[]),
        (
            "a CertificateRequest for nothing",
            13,
            4,
            &[1, 64, 0, 2, 4, 3, 0, 0],
        ),
    ];
    for (kind, contexts) in kinds().into_iter().skip(1) {
        for (what, message_type, seq, body) in forged {
            let mut pair = Pair::new(&contexts);
            pair.to_client.forger = Some(before(1, move |real| {
                vec![message(message_type, seq, sequence(real) + 20, body)]
            }));
            let done = pair.run(Duration::from_secs(120), Pair::is_established);
            assert!(done, "{kind}: {what}: {pair:?}");
            assert!(
                pair.client.stats().handshake_restarts <= 1,
                "{kind}: {what}: {pair:?}"
            );
            pair.assert_works();
        }
    }
}

#[test]
fn forged_cookie_costs_a_client_an_interval() {
    for (kind, contexts) in kinds() {
        let mut pair = Pair::new(&contexts);
        let body = [&[0xfe, 0xff, 32][..], &[9; 32]].concat();
        pair.to_client.forger = Some(before(0, move |_| vec![message(3, 0, 0, &body)]));
        let began = clock::now();
        pair.handshake();
        assert!(
            clock::now() - began < Duration::from_secs(3),
            "{kind}: {pair:?}"
        );
        assert_eq!(
            pair.client.stats().handshake_restarts,
            1,
            "{kind}: {pair:?}"
        );
        pair.assert_works();
    }
}

#[test]
fn cookie_that_expired_on_its_way_is_asked_for_again() {
    let transport = TransportConfig::default().handshake_timeout(Duration::from_secs(300));
    for contexts in [psk_contexts(&transport), certificate_contexts(&transport)] {
        let mut pair = Pair::new(&contexts);
        // The hello with the cookie is lost for two minutes: seven times.
        pair.to_server.settings.lost = (1..8).collect();
        let done = pair.run(Duration::from_secs(150), Pair::is_established);
        assert!(done, "{pair:?}");
        assert!(pair.listener.stats().drops.count(DropReason::BadCookie) > 0);
        assert_eq!(pair.client.stats().handshake_restarts, 1, "{pair:?}");
        pair.assert_works();
    }
}

#[test]
fn forged_client_hello_before_the_real_one_costs_an_interval() {
    let hello = [&[0xfe, 0xfd][..], &[7; 32], &[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]].concat();
    for (kind, contexts) in kinds() {
        for at in 0..3 {
            let mut pair = Pair::new(&contexts);
            let hello = hello.clone();
            pair.to_server.forger = Some(before(at, move |real| {
                vec![message(1, 0, sequence(real), &hello)]
            }));
            let began = clock::now();
            pair.handshake();
            assert!(
                clock::now() - began < Duration::from_secs(3),
                "{kind}, {at}: {pair:?}"
            );
            assert!(pair.client_error.is_none(), "{kind}, {at}: {pair:?}");
            pair.assert_works();
        }
    }
}

#[test]
fn refusal_is_told_though_forged_datagrams_come_between() {
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .cipher_list("ECDHE-RSA-AES128-GCM-SHA256");
    let (_, server) = certificate_contexts(&TransportConfig::default());
    let mut pair = Pair::new(&(client.build().unwrap(), server));
    pair.to_client.forger = Some(Box::new(|_, real| {
        forgeries(Role::Client, real)
            .into_iter()
            .filter(|(name, _)| !name.contains("alert") && !name.contains("close_notify"))
            .flat_map(|(_, forged)| forged)
            .collect()
    }));
    pair.travel(Duration::from_secs(20));
    assert!(
        matches!(pair.client_error, Some(Error::AlertReceived { .. })),
        "{pair:?}"
    );
}

/// Cuts, flips bits of, and splices real datagrams.
fn mutated(random: &mut fastrand::Rng, real: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = random.choice(real).unwrap().clone();
    for _ in 0..random.usize(1..4) {
        if datagram.is_empty() {
            break;
        }
        let at = random.usize(0..datagram.len());
        match random.u8(0..5) {
            0 => datagram.truncate(at),
            1 => datagram[at] ^= 1 << random.u8(0..8),
            2 => {
                let other = random.choice(real).unwrap();
                let from = random.usize(0..other.len());
                datagram.truncate(at);
                datagram.extend_from_slice(&other[from..]);
            }
            3 => datagram.extend_from_slice(random.choice(real).unwrap()),
            _ => {
                // Headers are the interesting part.
                let at = at.min(24);
                datagram[at] = random.u8(..);
            }
        }
    }
    datagram
}

#[test]
fn mutated_datagrams_lead_to_success_or_to_a_typed_failure() {
    for (kind, contexts) in kinds() {
        let (mut succeeded, rounds) = (0, 60);
        for seed in 0..rounds {
            let mut pair = Pair::new(&contexts);
            for receiver in ROLES {
                let mut random = fastrand::Rng::with_seed(seed * 2 + receiver as u64);
                let sent = Rc::new(RefCell::new(Vec::new()));
                toward(&mut pair, receiver).forger = Some(Box::new(move |_, real| {
                    sent.borrow_mut().push(real.to_vec());
                    let count = random.usize(0..3);
                    let sent = sent.borrow();
                    (0..count).map(|_| mutated(&mut random, &sent)).collect()
                }));
            }
            if pair.run(Duration::from_secs(120), Pair::is_established) {
                succeeded += 1;
                pair.assert_works();
            } else {
                // Well-formed messages with wrong bits in them look as if the peer had sent them.
                let failed = pair.client_error.is_some() || !pair.server_errors.is_empty();
                assert!(failed, "{kind}, seed {seed}: {pair:?}");
            }
        }
        assert!(succeeded > rounds / 2, "{kind}: {succeeded} of {rounds}");
    }
}

#[test]
fn mutated_datagrams_do_not_end_an_established_connection() {
    for suite in SUITES {
        let mut pair = Pair::connected(&suite_contexts(suite));
        pair.assert_works();
        for receiver in ROLES {
            let real = toward(&mut pair, receiver).log.clone();
            let mut random = fastrand::Rng::with_seed(7);
            for _ in 0..1_500 {
                let datagram = mutated(&mut random, &real);
                gets(&mut pair, receiver, &datagram);
            }
        }
        // A datagram that began with a new hello has begun nothing.
        pair.to_client.forger = None;
        pair.travel(Duration::from_secs(1));
        assert!(pair.client_error.is_none(), "{suite}: {pair:?}");
        assert!(pair.server_errors.is_empty(), "{suite}: {pair:?}");
        pair.assert_works();
    }
}

#[test]
fn mutated_hellos_leave_a_listener_in_order() {
    for (kind, contexts) in kinds() {
        let hellos: Vec<_> = undisturbed(&contexts, Role::Server)
            .into_iter()
            .take(2)
            .collect();
        let mut listener = listener(&contexts.1);
        for seed in 0..3_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let datagram = mutated(&mut random, &hellos);
            let length = datagram.len();
            match listener
                .handle_datagram(clock::now(), client_addr(), &datagram)
                .unwrap()
            {
                Incoming::Reply(reply) => assert!(reply.contents.len() <= length),
                Incoming::Dropped(_) => {}
                // Its cookie was another listener's.
                other => panic!("{kind}, seed {seed}: {other:?}"),
            }
        }
        // It still makes connections, also of mutated hellos with a good cookie.
        let mut client =
            Connection::client(&contexts.0, client_addr(), name(), clock::now()).unwrap();
        let hello = client.poll_transmit().unwrap().contents.to_vec();
        let Incoming::Reply(reply) = listener
            .handle_datagram(clock::now(), client_addr(), &hello)
            .unwrap()
        else {
            panic!("{kind}: no cookie");
        };
        client
            .handle_datagram(clock::now(), reply.contents)
            .unwrap();
        let hello = client.poll_transmit().unwrap().contents.to_vec();
        for seed in 0..1_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let datagram = mutated(&mut random, std::slice::from_ref(&hello));
            // Each ends in one of the ways there are.
            drop(
                listener
                    .handle_datagram(clock::now(), client_addr(), &datagram)
                    .unwrap(),
            );
        }
        let incoming = listener
            .handle_datagram(clock::now(), client_addr(), &hello)
            .unwrap();
        assert!(
            matches!(incoming, Incoming::Connection(_)),
            "{kind}: {incoming:?}"
        );
    }
}

fn name() -> Option<openssl_dtls::ServerName> {
    openssl_dtls::ServerName::try_from("localhost").ok()
}
