//! Messages over an established connection: their borders, their sizes, the queues they wait in.

use std::time::Duration;

use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::pkey::PKey;
use openssl_dtls::openssl::sign::Signer;
use openssl_dtls::openssl::ssl::{ErrorCode, SslRef};
use openssl_dtls::openssl::symm::{Cipher, encrypt_aead};
use openssl_dtls::{
    Connection, Context, DropReason, Event, PskLookup, RecvError, SendError, TransportConfig,
};

use crate::support::pair::{receive, server_addr};
use crate::support::{Pair, clock, psk, psk_contexts, raw};

const GCM: &str = "PSK-AES128-GCM-SHA256";

fn raw_pair() -> (raw::Raw, raw::Raw) {
    raw::connected(raw::psk_client(GCM), raw::psk_server(GCM))
}

fn drained(connection: &mut Connection) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    while let Some(transmit) = connection.poll_transmit() {
        datagrams.push(transmit.contents.to_vec());
    }
    datagrams
}

fn all_received(connection: &mut Connection) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| receive(connection)).collect()
}

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

#[test]
fn messages_of_every_size_keep_their_borders() {
    let mut pair = connected();
    let max = pair.client.data_mtu().unwrap();
    let mut sizes = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let messages: Vec<_> = (0..sizes.usize(1..20))
            .map(|number| vec![number as u8; sizes.usize(1..=max)])
            .collect();
        for message in &messages {
            pair.client.send(message).unwrap();
        }
        let datagrams = drained(&mut pair.client);
        assert_eq!(datagrams.len(), messages.len(), "a datagram for each");
        for datagram in &datagrams {
            pair.server_receives(datagram);
        }
        assert_eq!(all_received(pair.server_mut()), messages);
    }
    let stats = pair.server().unwrap().stats();
    assert_eq!(stats.messages_received, pair.client.stats().messages_sent);
    assert_eq!(
        stats.message_bytes_received,
        pair.client.stats().message_bytes_sent
    );
    assert_eq!(stats.drops.total(), 0);
}

#[test]
fn hazard_c10_short_buffer_keeps_the_message_whole() {
    let (mut client, mut server) = raw_pair();
    server.stream.ssl_write(&[7; 100]).unwrap();
    server.carry_to(&mut client);
    // libssl hands the rest over as if that were the next message.
    assert_eq!(client.stream.ssl_read(&mut [0; 40]).unwrap(), 40);
    assert_eq!(client.stream.ssl_read(&mut [0; 200]).unwrap(), 60);

    let mut pair = connected();
    pair.client.send(&[7; 100]).unwrap();
    pair.client.send(b"next").unwrap();
    pair.travel(Duration::from_millis(50));
    let server = pair.server_mut();
    for length in [0, 40, 99] {
        let short = server.recv(&mut vec![0; length]);
        assert_eq!(short, Err(RecvError::TooSmall { needed: 100 }));
    }
    assert_eq!(server.recv(&mut [0; 100]), Ok(Some(100)));
    assert_eq!(receive(server).unwrap(), b"next");
    assert_eq!(server.recv(&mut []), Ok(None));
}

#[test]
fn hazard_c11_all_records_of_a_datagram_are_read() {
    let (mut client, mut server) = raw_pair();
    for message in [b"one", b"two"] {
        server.stream.ssl_write(message).unwrap();
    }
    let joined: Vec<u8> = server
        .stream
        .get_mut()
        .outgoing
        .drain(..)
        .flatten()
        .collect();
    client.stream.get_mut().incoming.push_back(joined);
    assert_eq!(client.stream.ssl_read(&mut [0; 40]).unwrap(), 3);
    assert_eq!(
        client.stream.ssl().pending(),
        0,
        "libssl does not tell of the second"
    );
    assert_eq!(client.stream.ssl_read(&mut [0; 40]).unwrap(), 3);

    let mut pair = connected();
    let messages: Vec<Vec<u8>> = (1..=20)
        .map(|length| vec![length; usize::from(length)])
        .collect();
    for message in &messages {
        pair.client.send(message).unwrap();
    }
    let mut joined = drained(&mut pair.client).concat();
    // What follows the records is no record.
    joined.extend([0; 5]);
    pair.server_receives(&joined);
    assert_eq!(all_received(pair.server_mut()), messages);
    assert_eq!(pair.server().unwrap().stats().drops.total(), 1);
    let readable = |event: &Event| *event == Event::Readable;
    pair.drain();
    assert_eq!(
        pair.server_events
            .iter()
            .filter(|event| readable(event))
            .count(),
        1
    );
}

#[test]
fn hazard_c12_empty_messages_are_refused_and_empty_records_harmless() {
    let contexts = |suite: &str| -> (Context, Context) {
        let client = Context::client().psk(psk()).cipher_list(suite);
        let server = Context::server(PskLookup::single(psk())).cipher_list(suite);
        (client.build().unwrap(), server.build().unwrap())
    };
    let mut pair = Pair::connected(&contexts(GCM));
    assert!(matches!(pair.client.send(&[]), Err(SendError::Empty)));
    assert!(pair.client.poll_transmit().is_none());

    let keys = GcmKeys::of(pair.client.ssl().unwrap());
    let now = clock::now();
    for sequence in 5..10 {
        let empty = keys.record(23, sequence, &[]);
        pair.server_mut().handle_datagram(now, &empty).unwrap();
    }
    // The same with a byte in it is a message, so the record was a good one.
    let one = keys.record(23, 10, b"1");
    pair.server_mut().handle_datagram(now, &one).unwrap();
    let received = all_received(pair.server_mut());
    assert_eq!(received.last().unwrap(), b"1");
    assert!(received[..received.len() - 1].iter().all(Vec::is_empty));
    assert_eq!(pair.server_says(b"still here").unwrap(), b"still here");
}

/// What a client with this suite encrypts with (RFC 5246, 6.3; RFC 5288, 3).
struct GcmKeys {
    key: [u8; 16],
    salt: [u8; 4],
}

impl GcmKeys {
    fn of(ssl: &SslRef) -> GcmKeys {
        let mut master = [0; 48];
        ssl.session().unwrap().master_key(&mut master);
        let (mut server_random, mut client_random) = ([0; 32], [0; 32]);
        ssl.server_random(&mut server_random);
        ssl.client_random(&mut client_random);
        let mac = |parts: &[&[u8]]| {
            let key = PKey::hmac(&master).unwrap();
            let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
            for part in parts {
                signer.update(part).unwrap();
            }
            signer.sign_to_vec().unwrap()
        };
        let seed = [&b"key expansion"[..], &server_random, &client_random].concat();
        let mut block = Vec::new();
        let mut a = mac(&[&seed]);
        while block.len() < 40 {
            block.extend(mac(&[&a, &seed]));
            a = mac(&[&a]);
        }
        GcmKeys {
            key: block[..16].try_into().unwrap(),
            salt: block[32..36].try_into().unwrap(),
        }
    }

    fn record(&self, content_type: u8, sequence: u64, payload: &[u8]) -> Vec<u8> {
        let number = ((1 << 48) | sequence).to_be_bytes();
        let nonce = [&self.salt[..], &number].concat();
        let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let head = [content_type, 0xfe, 0xfd];
        let aad = [&number[..], &head, &length(payload.len())].concat();
        let mut tag = [0; 16];
        let cipher = Cipher::aes_128_gcm();
        let sealed =
            encrypt_aead(cipher, &self.key, Some(&nonce), &aad, payload, &mut tag).unwrap();
        let length = length(8 + sealed.len() + 16);
        [&head[..], &number, &length, &number, &sealed, &tag].concat()
    }
}

#[test]
fn hazard_c13_full_queue_refuses_and_loses_nothing() {
    let (mut client, mut server) = raw_pair();
    client.stream.get_mut().refuse = 1;
    let error = client.stream.ssl_write(b"first").unwrap_err();
    assert_eq!(error.code(), ErrorCode::WANT_WRITE);
    client.stream.ssl_write(b"other").unwrap();
    client.carry_to(&mut server);
    let mut buffer = [0; 16];
    assert_eq!(server.stream.ssl_read(&mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"other", "libssl forgot the first");

    let transport = TransportConfig::default()
        .send_queue(64 * 1024)
        .receive_queue(1024 * 1024);
    let mut pair = Pair::connected(&psk_contexts(&transport));
    let mut sent = Vec::new();
    for number in 0..1000_u32 {
        let message = [&number.to_be_bytes()[..], &[7; 1000]].concat();
        match pair.client.send(&message) {
            Ok(()) => sent.push(message),
            Err(SendError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent.len() > 60 && sent.len() < 66);
    assert!(matches!(pair.client.send(&[7; 1000]), Err(SendError::Full)));
    for datagram in drained(&mut pair.client) {
        pair.server_receives(&datagram);
    }
    assert_eq!(all_received(pair.server_mut()), sent);
    assert_eq!(pair.client.stats().drops.total(), 0);
    pair.assert_works();
}

#[test]
fn full_receive_queue_drops_the_newest_and_counts() {
    let transport = TransportConfig::default().receive_queue(16 * 1024);
    let mut pair = Pair::connected(&psk_contexts(&transport));
    for number in 0..30 {
        pair.client.send(&[number; 1024]).unwrap();
    }
    pair.travel(Duration::from_millis(50));
    let received = all_received(pair.server_mut());
    let kept: Vec<_> = (0..16).map(|number| vec![number; 1024]).collect();
    assert_eq!(received, kept);
    let stats = pair.server().unwrap().stats();
    assert_eq!(stats.drops.count(DropReason::ReceiveQueueFull), 14);
    assert_eq!(stats.messages_received, 16);
    pair.assert_works();
}

#[test]
fn repeated_datagrams_are_received_once_and_late_ones_too() {
    let mut pair = connected();
    for number in 0..40 {
        pair.client.send(&[number; 10]).unwrap();
    }
    let datagrams = drained(&mut pair.client);
    for datagram in datagrams.iter().rev().chain(&datagrams) {
        pair.server_receives(datagram);
    }
    let received = all_received(pair.server_mut());
    let sent: Vec<_> = (0..40).rev().map(|number| vec![number; 10]).collect();
    assert_eq!(received, sent);
    // Later than the replay window reaches back they are dropped, which is no error.
    for number in 0..100 {
        pair.client.send(&[number; 10]).unwrap();
    }
    let datagrams = drained(&mut pair.client);
    pair.server_receives(&datagrams[99]);
    pair.server_receives(&datagrams[0]);
    assert_eq!(all_received(pair.server_mut()), [[99; 10]]);
    pair.assert_works();
}

#[test]
fn forged_and_damaged_records_are_dropped_in_silence() {
    let mut pair = connected();
    pair.client.send(b"authentic").unwrap();
    let datagram = drained(&mut pair.client).remove(0);
    for index in 0..datagram.len() {
        let mut damaged = datagram.clone();
        damaged[index] ^= 0x10;
        pair.server_receives(&damaged);
        pair.server_receives(&damaged[..index]);
    }
    assert!(pair.server_errors.is_empty(), "{pair:?}");
    assert_eq!(all_received(pair.server_mut()), [[0_u8; 0]; 0]);
    assert!(drained(pair.server_mut()).is_empty());
    pair.server_receives(&datagram);
    assert_eq!(receive(pair.server_mut()).unwrap(), b"authentic");
}

#[test]
fn hazard_c49_every_verb_works_after_the_buffers_were_given_back() {
    type Verb = fn(&mut Pair);
    let verbs: [(&str, Verb); 8] = [
        ("send", |pair| pair.server_mut().send(b"message").unwrap()),
        ("recv", |pair| {
            pair.client.send(b"message").unwrap();
            pair.travel(Duration::from_millis(50));
            assert_eq!(receive(pair.server_mut()).unwrap(), b"message");
        }),
        ("close", |pair| {
            pair.server_mut().close();
            pair.travel(Duration::from_millis(50));
            assert!(pair.client.is_closed_by_peer());
        }),
        ("close of the peer", |pair| {
            pair.client.close();
            pair.travel(Duration::from_millis(50));
            assert!(pair.server().unwrap().is_closed_by_peer());
            pair.server_mut().release_buffers();
            pair.server_mut().send(b"message").unwrap();
            pair.server_mut().close();
        }),
        ("handle_timeout", |pair| {
            let now = clock::now();
            pair.server_mut().handle_timeout(now).unwrap();
        }),
        ("junk", |pair| {
            pair.server_receives(&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 99, 0, 1, 7])
        }),
        ("questions", |pair| {
            let server = pair.server_mut();
            assert!(server.data_mtu().is_some() && server.ssl().is_some());
            assert!(format!("{server:?}").contains("established"));
            server.set_mtu(server.mtu()).unwrap();
        }),
        ("refuse", |pair| pair.server_mut().refuse()),
    ];
    for (name, verb) in verbs {
        for times in [1, 2] {
            let mut pair = connected();
            for _ in 0..times {
                pair.server_mut().release_buffers();
            }
            verb(&mut pair);
            pair.travel(Duration::from_millis(50));
            assert!(pair.server_errors.is_empty(), "{name}");
            if pair.is_established() && !pair.server().unwrap().is_closed_by_peer() {
                pair.client_events.clear();
                all_received(&mut pair.client);
                pair.assert_works();
            }
        }
    }
}

#[test]
fn hazard_c2_errors_that_others_left_on_the_thread_are_not_taken_for_ours() {
    /// Leaves an error in this thread's queue, as a program does that looks at return codes alone.
    fn leave_an_error() {
        let stack = PKey::private_key_from_pem(b"no key").unwrap_err();
        stack.put();
    }
    let (mut client, _server) = raw_pair();
    leave_an_error();
    let code = client.stream.ssl_read(&mut [0; 9]).unwrap_err().code();
    // OpenSSL 3 takes it for its own, later ones do not.
    let is_old = openssl_dtls::openssl::version::number() < 0x4000_0000;
    assert_eq!(code == ErrorCode::SSL, is_old, "{code:?}");

    leave_an_error();
    let mut pair = Pair::new(&psk_contexts(&TransportConfig::default()));
    for _ in 0..100 {
        leave_an_error();
        pair.travel(Duration::from_millis(5));
        leave_an_error();
        let now = clock::now();
        pair.client.handle_timeout(now).unwrap();
    }
    assert!(pair.is_established(), "{pair:?}");
    for _ in 0..3 {
        leave_an_error();
        pair.client.send(b"message").unwrap();
        leave_an_error();
        pair.travel(Duration::from_millis(50));
        leave_an_error();
        assert_eq!(receive(pair.server_mut()).unwrap(), b"message");
        leave_an_error();
        pair.server_receives(&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 99, 0, 1, 7]);
        pair.client.release_buffers();
    }
    leave_an_error();
    pair.client.close();
    assert!(pair.client.stats().close_notify_sent);
}

#[test]
fn hazard_c3_failure_without_a_reason_is_no_end_of_file() {
    use openssl_dtls::openssl::ssl::SslOptions;
    // libssl gives up without a word: no reason, and the kind of error that means "end of file" elsewhere.
    let mut builder = raw::psk_client(GCM);
    builder.set_options(SslOptions::NO_QUERY_MTU);
    let mut client = raw::Raw::client(&builder.build(), |_| ());
    let error = client.stream.do_handshake().unwrap_err();
    assert_eq!(error.code(), ErrorCode::SYSCALL);
    assert!(error.ssl_error().is_none());

    // Ours always has an MTU, and a connection that failed is over whatever libssl says to further calls.
    let client = Context::client()
        .psk(psk())
        .configure(|builder| {
            builder.set_options(SslOptions::NO_QUERY_MTU);
            Ok(())
        })
        .build()
        .unwrap();
    let (_, server) = psk_contexts(&TransportConfig::default());
    Pair::connected(&(client, server)).assert_works();
}

#[test]
fn hazard_c41_full_socket_costs_libssl_part_of_a_repeated_flight_and_us_nothing() {
    /// Datagrams of a repeated flight that get through a socket that refuses so many at first and is asked again.
    fn repeated(refuse: usize) -> usize {
        let mut client = raw::Raw::client(&raw::psk_client(GCM).build(), |_| ());
        let mut server = raw::Raw::server(&raw::psk_server(GCM).build());
        client.step();
        client.carry_to(&mut server);
        server.step();
        server.stream.get_mut().outgoing.clear();
        clock::move_to(clock::now() + Duration::from_secs(1));
        server.stream.get_mut().refuse = refuse;
        for _ in 0..5 {
            server.stream.do_handshake().unwrap_err();
        }
        server.stream.get_mut().outgoing.len()
    }
    // libssl sets its timer anew first, and does not come back to what was refused.
    assert!(repeated(1) < repeated(0));

    // Our queue always takes them: a socket that is full is its owner's affair.
    let mut pair = Pair::new(&psk_contexts(&TransportConfig::default()));
    pair.to_client.settings.lost.insert(1);
    pair.handshake();
    assert_eq!(pair.to_client.log[1].len(), pair.to_client.log[2].len());
}

#[test]
fn hazard_c45_repeated_finished_is_answered_once_in_an_interval() {
    let ms = Duration::from_millis;
    let hasty = TransportConfig::default().retransmission(ms(100), ms(100));
    let (client, _) = psk_contexts(&hasty);
    let (_, server) = psk_contexts(&TransportConfig::default());
    let mut pair = Pair::new(&(client, server));
    pair.to_client.settings.lost = (2..100).collect();
    pair.travel(ms(1090));
    let server = pair.server().unwrap();
    assert!(server.is_established());
    // Repeated after 100 ms, 200 ms, ... by the client: answered at the first and again a second later.
    assert_eq!(server.stats().retransmissions, 1);
    assert_eq!(server.stats().drops.count(DropReason::FlightRepeated), 9);
    pair.to_client.settings.lost.clear();
    pair.travel(ms(100));
    assert_eq!(pair.server().unwrap().stats().retransmissions, 2);
    assert!(pair.client.is_established());
    pair.assert_works();
}
