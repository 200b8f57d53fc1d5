//! Handshakes over a network that loses, repeats and reorders.

use std::collections::BTreeSet;
use std::time::Duration;

use openssl_dtls::{ClientCertificates, Context, DropReason, Mtu, TransportConfig};

use crate::support::pair::receive;
use crate::support::{Pair, Settings, certificate_contexts, certs, clock, psk_contexts, records};

const SEEDS: u64 = 24;
/// What raw libssl needs for the same, over 24 seeds with a first interval of 1 s: it repeats a flight record by record.
const RAW_MEDIAN: Duration = Duration::from_millis(6100);
const RAW_COMPLETED: usize = 22;

type Contexts = (Context, Context);

fn mutual_contexts(transport: &TransportConfig) -> Contexts {
    let authority = certs::authority().pem();
    let client = Context::client()
        .trust_pem(&authority)
        .identity(certs::client_identity())
        .transport(transport.clone());
    let server = Context::server(certs::server_identity())
        .trust_pem(&authority)
        .client_certificates(ClientCertificates::Required)
        .transport(transport.clone());
    (client.build().unwrap(), server.build().unwrap())
}

/// A handshake with many datagrams in each flight.
fn fragmented_contexts() -> Contexts {
    let transport = TransportConfig::default().mtu(Mtu::new(300).unwrap());
    mutual_contexts(&transport)
}

/// Each kind of handshake, by name.
fn kinds() -> Vec<(&'static str, Contexts)> {
    let transport = TransportConfig::default();
    vec![
        ("psk", psk_contexts(&transport)),
        ("certificate", certificate_contexts(&transport)),
        ("mutual certificates", mutual_contexts(&transport)),
    ]
}

fn over((client, server): &Contexts, to_server: Settings, to_client: Settings) -> Pair {
    Pair::over((client, server), to_server, to_client)
}

fn losing<const N: usize>(numbers: [usize; N]) -> Settings {
    Settings {
        lost: BTreeSet::from(numbers),
        ..Settings::default()
    }
}

/// Shows that the connection is good, whatever it took to get there.
fn assert_works_when_nothing_is_lost(pair: &mut Pair) {
    pair.to_server.settings = Settings::default();
    pair.to_client.settings = Settings::default();
    pair.travel(Duration::from_secs(1));
    pair.assert_works();
}

/// Runs a handshake over `settings` for each seed and tells how long each took.
fn durations(contexts: &Contexts, settings: impl Fn(u64) -> Settings) -> Vec<Duration> {
    let mut durations: Vec<Duration> = (0..SEEDS)
        .filter_map(|seed| {
            let began = clock::now();
            let mut pair = over(contexts, settings(seed), settings(seed + 1000));
            pair.run(Duration::from_secs(120), |pair| {
                pair.is_established() || pair.client_error.is_some()
            });
            if !pair.is_established() {
                println!("seed {seed}: {pair:?}");
                return None;
            }
            let took = clock::now() - began;
            assert_works_when_nothing_is_lost(&mut pair);
            Some(took)
        })
        .collect();
    durations.sort_unstable();
    durations
}

#[test]
fn hazard_c56_thirty_percent_loss_each_way_is_survived_better_than_by_raw_libssl() {
    for (kind, contexts) in kinds() {
        let took = durations(&contexts, |seed| Settings {
            seed,
            loss: 0.3,
            ..Settings::default()
        });
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "{kind}: {} of {SEEDS}, median {median:?}, slowest {slowest:?}",
            took.len()
        );
        assert!(took.len() > RAW_COMPLETED, "{kind}");
        assert!(median < RAW_MEDIAN, "{kind}");
    }
}

#[test]
fn loss_with_duplicates_and_reordering_is_survived() {
    for (kind, contexts) in kinds() {
        let took = durations(&contexts, |seed| Settings {
            seed,
            loss: 0.3,
            duplication: 0.2,
            reordering: 0.3,
            ..Settings::default()
        });
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "{kind}: {} of {SEEDS}, median {median:?}, slowest {slowest:?}",
            took.len()
        );
        assert!(took.len() > RAW_COMPLETED, "{kind}");
        assert!(median < RAW_MEDIAN, "{kind}");
    }
}

#[test]
fn duplicates_and_reordering_alone_cost_little() {
    let mut kinds = kinds();
    kinds.push(("fragmented", fragmented_contexts()));
    for (kind, contexts) in kinds {
        let took = durations(&contexts, |seed| Settings {
            seed,
            duplication: 0.5,
            reordering: 0.5,
            ..Settings::default()
        });
        assert_eq!(took.len() as u64, SEEDS, "{kind}");
        // A ChangeCipherSpec that overtook its flight costs an interval, in either direction.
        assert!(
            took[took.len() - 1] < Duration::from_secs(4),
            "{kind}: {took:?}"
        );
    }
}

/// How many datagrams a handshake takes each way when none is lost.
fn lengths(contexts: &Contexts) -> (usize, usize) {
    let pair = Pair::connected(contexts);
    (pair.to_server.log.len(), pair.to_client.log.len())
}

#[test]
fn any_one_datagram_can_be_lost() {
    let mut kinds = kinds();
    kinds.push(("fragmented", fragmented_contexts()));
    for (kind, contexts) in kinds {
        let (to_server, to_client) = lengths(&contexts);
        assert!(kind != "fragmented" || to_server + to_client > 12);
        let cases = (0..to_server)
            .map(|number| (losing([number]), losing([])))
            .chain((0..to_client).map(|number| (losing([]), losing([number]))));
        for (to_server, to_client) in cases {
            let began = clock::now();
            let mut pair = over(&contexts, to_server, to_client);
            pair.handshake();
            assert_eq!(pair.to_server.lost + pair.to_client.lost, 1, "{kind}");
            let took = clock::now() - began;
            assert!(
                took < Duration::from_millis(1200),
                "{kind}: {took:?} {pair:?}"
            );
            pair.assert_works();
        }
    }
}

#[test]
fn any_two_datagrams_can_be_lost() {
    for (kind, contexts) in kinds() {
        let (to_server, to_client) = lengths(&contexts);
        // Those that are sent because of the first loss as well.
        let numbers = |count: usize| 0..count + 1;
        let mut cases = Vec::new();
        for first in numbers(to_server) {
            cases.extend((0..first).map(|second| (losing([first, second]), losing([]))));
            cases.extend(numbers(to_client).map(|second| (losing([first]), losing([second]))));
        }
        for first in numbers(to_client) {
            cases.extend((0..first).map(|second| (losing([]), losing([first, second]))));
        }
        for (to_server, to_client) in cases {
            let began = clock::now();
            let mut pair = over(&contexts, to_server, to_client);
            pair.handshake();
            let took = clock::now() - began;
            // At worst the same flight twice: 1 s and 2 s.
            assert!(
                took < Duration::from_millis(3200),
                "{kind}: {took:?} {pair:?}"
            );
            assert_works_when_nothing_is_lost(&mut pair);
        }
    }
}

#[test]
fn repeated_flight_takes_no_more_datagrams_than_the_first() {
    for (kind, contexts) in kinds() {
        let mut pair = over(&contexts, losing([2]), losing([1, 2]));
        pair.handshake();
        let [lost, again] = &pair.to_server.log[2..4] else {
            panic!("{kind}: {pair:?}");
        };
        assert_eq!(records(lost).len(), records(again).len(), "{kind}");
        assert_eq!(pair.to_server.log.len(), 5, "{kind}");
        assert_eq!(pair.to_client.log.len(), 5, "{kind}");
    }
}

#[test]
fn hazard_c21_lost_last_flight_is_sent_again_though_the_server_is_done() {
    for (kind, contexts) in kinds() {
        let last = lengths(&contexts).1 - 1;
        let mut pair = over(&contexts, losing([]), losing([last]));
        pair.travel(Duration::from_millis(500));
        assert!(pair.server().unwrap().is_established(), "{kind}");
        assert!(!pair.client.is_established(), "{kind}");
        // It has no timer any more, is not asked to read, and gave its buffers back.
        assert_eq!(pair.server().unwrap().poll_timeout(), None);
        pair.server_mut().release_buffers();
        pair.travel(Duration::from_millis(700));
        assert!(pair.client.is_established(), "{kind}: {pair:?}");
        assert_eq!(pair.server().unwrap().stats().retransmissions, 1, "{kind}");
        pair.assert_works();
    }
}

#[test]
fn hazard_c21_last_flight_lost_seven_times_is_still_sent_again() {
    let transport = TransportConfig::default().handshake_timeout(Duration::from_secs(600));
    let contexts = psk_contexts(&transport);
    let last = lengths(&contexts).1 - 1;
    let lost = Settings {
        lost: (last..last + 7).collect(),
        ..Settings::default()
    };
    let mut pair = over(&contexts, losing([]), lost);
    pair.run(Duration::from_secs(200), Pair::is_established);
    assert_eq!(pair.to_client.lost, 7);
    pair.assert_works();
}

#[test]
fn hazard_c22_messages_that_overtake_the_last_flight_are_kept_up_to_a_limit() {
    for (kind, contexts) in kinds() {
        for count in [1_u8, 16, 20] {
            let last = lengths(&contexts).1 - 1;
            let mut pair = over(&contexts, losing([]), losing([last]));
            pair.run(Duration::from_millis(500), |pair| {
                pair.server().is_some_and(|server| server.is_established())
            });
            pair.drain();
            let last_flight = pair.to_client.log[last].clone();
            for number in 0..count {
                pair.server_mut().send(&[number; 10]).unwrap();
            }
            pair.travel(Duration::from_millis(50));
            assert!(!pair.client.is_established(), "{kind}");
            pair.client_receives(&last_flight);
            assert!(pair.client.is_established(), "{kind}");
            let received: Vec<_> = std::iter::from_fn(|| receive(&mut pair.client)).collect();
            let kept: Vec<_> = (0..count.min(16)).map(|number| [number; 10]).collect();
            assert_eq!(received, kept, "{kind}");
            let dropped = pair
                .client
                .stats()
                .drops
                .count(DropReason::TooManyEarlyRecords);
            assert_eq!(dropped, u64::from(count.saturating_sub(16)), "{kind}");
            pair.assert_works();
        }
    }
}

#[test]
fn hazard_c43_change_cipher_spec_that_overtakes_its_flight_waits_for_it() {
    let contexts = fragmented_contexts();
    let mut pair = Pair::new(&contexts);
    // Up to the client's last flight, which is then delivered from its end.
    let mut flight = Vec::new();
    pair.run(Duration::from_secs(1), |pair| {
        pair.to_server
            .log
            .last()
            .is_some_and(|last| carries_cipher_spec(last))
    });
    while let Some(datagram) = pair
        .to_server
        .receive(clock::now() + Duration::from_secs(1))
    {
        flight.push(datagram);
    }
    assert!(flight.len() > 2);
    for datagram in flight.iter().rev() {
        pair.server_receives(datagram);
    }
    // libssl would drop it and wait for the client's timer.
    assert!(pair.server().unwrap().is_established(), "{pair:?}");
    let began = clock::now();
    pair.handshake();
    assert!(clock::now() - began < Duration::from_millis(200));
    pair.assert_works();
}

fn carries_cipher_spec(datagram: &[u8]) -> bool {
    records(datagram).iter().any(|record| record[0] == 20)
}

#[test]
fn hazard_c16_server_hello_has_the_number_of_its_client_hello() {
    // RFC 6347, 4.2.1: the first hello was lost, so the one with the cookie is the client's third record.
    for lost in [0, 1, 2] {
        let mut pair = over(&kinds()[0].1, Settings::losing(0), Settings::default());
        pair.to_server.settings.lost = (0..lost).collect();
        pair.handshake();
        let number = |datagram: &[u8]| datagram[3..11].to_vec();
        let hello = &pair.to_server.log[lost + 1];
        let answer = &pair.to_client.log[1];
        assert_eq!(
            (hello[13], answer[13]),
            (1, 2),
            "a ClientHello and a ServerHello"
        );
        assert_eq!(number(answer), number(hello));
        let numbers: BTreeSet<_> = pair
            .to_client
            .log
            .iter()
            .flat_map(|datagram| records(datagram))
            .map(number)
            .collect();
        let count: usize = pair
            .to_client
            .log
            .iter()
            .map(|datagram| records(datagram).len())
            .sum();
        assert_eq!(numbers.len(), count, "no number is used twice");
        pair.assert_works();
    }
}
