//! Messages over an established connection: their borders, their sizes, the queues they wait in.

use openssl_dtls::TransportConfig;

use crate::support::pair::{receive, server_addr};
use crate::support::{Pair, psk_contexts};

fn connected() -> Pair {
    Pair::connected(&psk_contexts(&TransportConfig::default()))
}

#[test]
fn batch_lends_datagrams_of_one_size_and_a_shorter_last() {
    let mut pair = connected();
    let sent = pair.client.stats().datagrams_sent;
    let messages: Vec<Vec<u8>> = [1000, 1000, 1000, 200, 1000, 1100]
        .iter()
        .zip(b'a'..)
        .map(|(&length, letter)| vec![letter; length])
        .collect();
    for message in &messages {
        pair.client.send(message).unwrap();
    }
    let mut batches = Vec::new();
    while let Some(transmit) = pair.client.poll_transmit_batch(8) {
        let datagrams: Vec<Vec<u8>> = transmit.datagrams().map(<[u8]>::to_vec).collect();
        assert_eq!(datagrams.concat(), transmit.contents);
        assert_eq!(transmit.path.peer, server_addr());
        batches.push((transmit.segment_size, datagrams));
    }
    let shape: Vec<_> = batches
        .iter()
        .map(|(segment_size, datagrams)| (segment_size.is_some(), datagrams.len()))
        .collect();
    assert_eq!(shape, [(true, 4), (false, 1), (false, 1)]);
    assert_eq!(batches[0].0, Some(batches[0].1[0].len()));
    assert_eq!(pair.client.stats().datagrams_sent - sent, 6);
    for datagram in batches.iter().flat_map(|(_, datagrams)| datagrams) {
        pair.server_receives(datagram);
    }
    let received: Vec<_> = std::iter::from_fn(|| receive(pair.server_mut())).collect();
    assert_eq!(received, messages);
}

#[test]
fn batch_holds_to_the_number_asked_for_and_to_what_one_call_takes() {
    let mut pair = connected();
    for _ in 0..100 {
        pair.client.send(&[7; 1000]).unwrap();
    }
    let mut counts = Vec::new();
    for max in [0, 1, 5, 1000] {
        let transmit = pair.client.poll_transmit_batch(max).unwrap();
        assert!(transmit.contents.len() <= 65_507);
        counts.push(transmit.datagrams().count());
    }
    let whole_call = 65_507 / (1000 + 13 + 16);
    assert_eq!(counts, [1, 1, 5, whole_call]);
    assert!(pair.client.poll_transmit().unwrap().segment_size.is_none());
}

#[test]
fn oversized_datagrams_come_alone() {
    let transport = TransportConfig::default().allow_oversize(true);
    let mut pair = Pair::connected(&psk_contexts(&transport));
    for _ in 0..3 {
        pair.client.send(&[7; 5000]).unwrap();
    }
    for _ in 0..3 {
        let transmit = pair.client.poll_transmit_batch(8).unwrap();
        assert_eq!(
            (transmit.segment_size, transmit.datagrams().count()),
            (None, 1)
        );
        let datagram = transmit.contents.to_vec();
        pair.server_receives(&datagram);
        assert_eq!(receive(pair.server_mut()).unwrap(), [7; 5000]);
    }
}
