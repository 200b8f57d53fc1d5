//! libssl's traps: each is sprung twice, once with the gate and once around it.
//!
//! With the gate the handshake or the connection goes on and the drop is counted. Around it the same datagram does the harm, or
//! the test says that this libssl is immune.

use std::io;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions};

use crate::gate::bypass;
use crate::support::forge::{message, renumbered, sequence};
use crate::support::{
    Pair, certificate_contexts, certs, clock, fragment, psk_contexts, record, records,
};
use crate::{
    AddressProof, Alert, Connection, Context, DropReason, Error, Incoming, Mtu, Role,
    TransportConfig,
};

type Contexts = (Context, Context);

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn psk() -> Contexts {
    psk_contexts(&TransportConfig::default())
}

fn certificate() -> Contexts {
    certificate_contexts(&TransportConfig::default())
}

/// Contexts whose certificate takes several fragments.
fn fragmented() -> Contexts {
    certificate_contexts(&TransportConfig::default().mtu(Mtu::new(300).unwrap()))
}

/// Whether the loaded libssl has its record layer in files of its own: from 3.2 on.
fn has_record_layer() -> bool {
    openssl::version::number() >= 0x3020_0000
}

fn is_openssl_4() -> bool {
    openssl::version::number() >= 0x4000_0000
}

/// A pair whose `receiver` gets what `forge` makes of each real datagram, just before it.
fn spoofed(
    contexts: &Contexts,
    receiver: Role,
    mut forge: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + 'static,
) -> Pair {
    let mut pair = Pair::new(contexts);
    let link = match receiver {
        Role::Client => &mut pair.to_client,
        Role::Server => &mut pair.to_server,
    };
    link.forger = Some(Box::new(move |number, real| forge(number, real)));
    pair
}

/// Whether the handshake completes within seconds, at the first try.
fn completes(pair: &mut Pair) -> bool {
    pair.run(Duration::from_secs(6), Pair::is_established)
        && pair.client_error.is_none()
        && pair.server_errors.is_empty()
        && pair.client.stats().handshake_restarts == 0
}

fn end(pair: &Pair, role: Role) -> &Connection {
    match role {
        Role::Client => &pair.client,
        Role::Server => pair.server().expect("there is a server"),
    }
}

/// Shows that `forge`, before the second datagram to `receiver`, is dropped for `reason`, and whether it does harm around the gate.
fn spring(
    what: &str,
    contexts: &Contexts,
    receiver: Role,
    reason: DropReason,
    is_harmful: bool,
    forge: impl Fn(u64) -> Vec<Vec<u8>> + Clone + 'static,
) {
    let make = |forge: Box<dyn Fn(u64) -> Vec<Vec<u8>>>| {
        // Before its second datagram a client waits for a ServerHello; before its third a server has sent its flight.
        let at = match receiver {
            Role::Client => 1,
            Role::Server => 2,
        };
        spoofed(contexts, receiver, move |number, real| {
            if number == at {
                forge(sequence(real))
            } else {
                Vec::new()
            }
        })
    };
    let mut pair = make(Box::new(forge.clone()));
    assert!(completes(&mut pair), "{what} to the {receiver:?}: {pair:?}");
    let drops = &end(&pair, receiver).stats().drops;
    assert!(
        drops.count(reason) > 0,
        "{what} to the {receiver:?}: {drops:?}"
    );
    pair.assert_works();

    let survived = bypass::with(|| completes(&mut make(Box::new(forge))));
    assert_eq!(
        survived, !is_harmful,
        "{what} to the {receiver:?}, around the gate"
    );
}

#[test]
fn hazard_c23_spoofed_records_in_the_clear_end_a_handshake() {
    let contexts = certificate();
    for receiver in ROLES {
        let alert = |payload: &'static [u8]| move |next| vec![record(21, 0, next + 20, payload)];
        for (what, reason, is_harmful, payload) in [
            (
                "a fatal alert",
                DropReason::AlertOverruled,
                true,
                &[2, 40][..],
            ),
            ("close_notify", DropReason::AlertOverruled, true, &[1, 0]),
            (
                "an alert of one byte",
                DropReason::UnprovenAlert,
                true,
                &[2],
            ),
            (
                "an alert of an unknown level",
                DropReason::UnprovenAlert,
                true,
                &[9, 40],
            ),
        ] {
            spring(
                what,
                &contexts,
                receiver,
                reason,
                is_harmful,
                alert(payload),
            );
        }
        let data = |next| vec![record(23, 0, next + 20, b"spoofed")];
        spring(
            "data",
            &contexts,
            receiver,
            DropReason::BadContentType,
            true,
            data,
        );
        // What libssl reads as the header of a fragment.
        let of_length = |length| {
            move |next| {
                let header = fragment(11, length, 9, 0, &[0; 5]);
                vec![record(22, 0, next + 20, &header)]
            }
        };
        spring(
            "a huge message",
            &contexts,
            receiver,
            DropReason::MessageTooLong,
            true,
            of_length(0xff_ffff),
        );
        let outside = |next| {
            let mut header = fragment(11, 20, 1, 0, &[0; 5]);
            header[8] = 18;
            vec![record(22, 0, next + 20, &header)]
        };
        spring(
            "a fragment outside of its message",
            &contexts,
            receiver,
            DropReason::BadFragment,
            true,
            outside,
        );
        // A copy of something harmless, numbered from far ahead: the real ones are too old from now on.
        let far = |next| vec![record(20, 0, next + 1_000, &[1])];
        spring(
            "a number from far ahead",
            &contexts,
            receiver,
            DropReason::SequenceTooFar,
            true,
            far,
        );
    }
    let unknown = |next| vec![record(99, 0, next + 20, b"spoofed")];
    for receiver in ROLES {
        spring(
            "an unknown content type",
            &contexts,
            receiver,
            DropReason::BadContentType,
            false,
            unknown,
        );
    }
}

#[test]
fn hazard_c23_peer_that_refuses_is_still_believed() {
    // The same alert, and nothing goes on after it.
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .cipher_list("ECDHE-RSA-AES128-GCM-SHA256")
        .build()
        .unwrap();
    let mut pair = Pair::new(&(client, certificate().1));
    pair.travel(Duration::from_secs(10));
    assert!(
        matches!(
            pair.client_error,
            Some(Error::AlertReceived {
                alert: Alert::HANDSHAKE_FAILURE
            })
        ),
        "{pair:?}"
    );
}

/// One end of raw libssl, and what it sends.
struct Raw {
    stream: openssl::ssl::SslStream<Wire>,
}

/// What arrives, and what was sent. The end of what arrives is "not yet", or end of file.
#[derive(Debug, Default)]
struct Wire {
    arrived: std::collections::VecDeque<Vec<u8>>,
    sent: std::collections::VecDeque<Vec<u8>>,
    ends: bool,
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.arrived.pop_front() {
            Some(datagram) => {
                let length = datagram.len().min(buffer.len());
                buffer[..length].copy_from_slice(&datagram[..length]);
                Ok(length)
            }
            None if self.ends => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl io::Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.sent.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Raw {
    fn new(context: &SslContext, role: Role) -> Raw {
        let mut ssl = Ssl::new(context).unwrap();
        ssl.set_mtu(1200).unwrap();
        match role {
            Role::Client => ssl.set_connect_state(),
            Role::Server => ssl.set_accept_state(),
        }
        Raw {
            stream: openssl::ssl::SslStream::new(ssl, Wire::default()).unwrap(),
        }
    }

    fn take(&mut self, from: &mut Raw) {
        self.stream
            .get_mut()
            .arrived
            .append(&mut from.stream.get_mut().sent);
    }

    /// Whether it is alive after reading `datagram`.
    fn survives(&mut self, datagram: &[u8]) -> bool {
        self.stream.get_mut().arrived.push_back(datagram.to_vec());
        let read = self.stream.ssl_read(&mut [0; 100]);
        matches!(read, Err(error) if error.code() == openssl::ssl::ErrorCode::WANT_READ)
    }
}

/// Both ends of raw libssl with `suite`, their handshake done.
fn raw_pair(suite: &str, options: SslOptions) -> (Raw, Raw) {
    let mut client = SslContext::builder(SslMethod::dtls()).unwrap();
    let mut server = SslContext::builder(SslMethod::dtls()).unwrap();
    for builder in [&mut client, &mut server] {
        builder.set_cipher_list(suite).unwrap();
        builder.set_security_level(0);
        builder.set_options(options | SslOptions::NO_QUERY_MTU);
    }
    server
        .set_certificate(certs::server_identity().certificate())
        .unwrap();
    server.set_private_key(&certs::server_key()).unwrap();
    let mut client = Raw::new(&client.build(), Role::Client);
    let mut server = Raw::new(&server.build(), Role::Server);
    for _ in 0..6 {
        // Not done yet, until it is.
        drop(client.stream.do_handshake());
        server.take(&mut client);
        drop(server.stream.do_handshake());
        client.take(&mut server);
    }
    assert!(client.stream.ssl().is_init_finished() && server.stream.ssl().is_init_finished());
    (client, server)
}

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

#[test]
fn hazard_c24_bad_mac_ends_a_connection_that_encrypts_then_macs() {
    let suite = "ECDHE-ECDSA-AES128-SHA";
    let forged = record(23, 1, 9, &[0x5a; 80]);
    let (_, mut server) = raw_pair(suite, SslOptions::empty());
    assert!(!server.survives(&forged));
    // Which is why it is never offered here, and each order of MAC and encryption is immune then.
    let (_, mut server) = raw_pair(suite, SslOptions::from_bits_retain(1 << 19));
    assert!(server.survives(&forged));

    for suite in [
        suite,
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ] {
        let mut pair = Pair::connected(&suite_contexts(suite));
        for length in (32..200).step_by(16) {
            let forged = record(23, 1, 9, &vec![0x5a; length]);
            bypass::with(|| {
                pair.client_receives(&forged);
                pair.server_receives(&forged);
            });
        }
        assert!(
            pair.client_error.is_none() && pair.server_errors.is_empty(),
            "{pair:?}"
        );
        pair.assert_works();
    }
}

#[test]
fn hazard_c24_record_shorter_than_nonce_and_tag_ends_an_aead_connection() {
    for (suite, shortest) in [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", 24),
        ("ECDHE-ECDSA-AES128-CCM", 24),
        ("ECDHE-ECDSA-AES128-CCM8", 16),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", 16),
    ] {
        let contexts = suite_contexts(suite);
        let short = |length| record(23, 1, 9, &vec![0x5a; length]);
        let mut pair = Pair::connected(&contexts);
        for length in 1..100 {
            pair.client_receives(&short(length));
            pair.server_receives(&short(length));
        }
        pair.assert_works();
        for role in ROLES {
            let drops = &end(&pair, role).stats().drops;
            assert_eq!(drops.count(DropReason::BadLength), shortest - 1, "{suite}");
        }
        // 3.0 and 4.0 discard them, as RFC 6347, 4.1.2.7 wants it.
        for length in [1, 7, 8, 15, 23] {
            let mut pair = Pair::connected(&contexts);
            bypass::with(|| pair.client_receives(&short(length)));
            let is_harmful = has_record_layer() && !is_openssl_4() && length < shortest as usize;
            assert_eq!(
                pair.client_error.is_some(),
                is_harmful,
                "{suite}, {length} bytes: {pair:?}"
            );
        }
    }
}

#[test]
fn hazard_c25_alert_in_the_clear_reaches_no_connection_with_keys() {
    let mut pair = Pair::connected(&psk());
    for payload in [&[2, 40][..], &[1, 0], &[1, 90], &[2]] {
        let alert = record(21, 0, 60, payload);
        pair.client_receives(&alert);
        pair.server_receives(&alert);
        // These versions are immune; a later one was not for a time.
        bypass::with(|| {
            pair.client_receives(&alert);
            pair.server_receives(&alert);
        });
    }
    for role in ROLES {
        let drops = &end(&pair, role).stats().drops;
        assert_eq!(drops.count(DropReason::UnprovenAlert), 4);
    }
    pair.assert_works();
}

#[test]
fn hazard_c26_fragments_of_future_messages_pin_memory_and_shut_out_real_ones() {
    // Each 26 bytes, each claiming a certificate list of the largest size.
    let length = u32::try_from(certificate().0.max_certificate_list()).unwrap();
    let forge = move |next| {
        let part = |seq| {
            record(
                22,
                0,
                next + 10 + u64::from(seq),
                &fragment(11, length, seq, 0, &[0]),
            )
        };
        (1..12).map(part).collect()
    };
    spring(
        "fragments",
        &fragmented(),
        Role::Client,
        DropReason::UnexpectedMessage,
        true,
        forge,
    );
    // What a server without client certificates takes is small.
    assert!(certificate().1.max_certificate_list() <= 8 * 1024);
    let forge = |next| vec![record(22, 0, next + 10, &fragment(11, 100_000, 2, 0, &[0]))];
    spring(
        "a certificate",
        &certificate(),
        Role::Server,
        DropReason::MessageTooLong,
        true,
        forge,
    );
}

#[test]
fn hazard_c26_forged_first_fragment_shuts_out_the_real_message() {
    for (what, length) in [("longer", 900), ("shorter", 60)] {
        let forge = move |next| {
            vec![record(
                22,
                0,
                next + 10,
                &fragment(11, length, 2, 0, &[0; 20]),
            )]
        };
        spring(
            what,
            &fragmented(),
            Role::Client,
            DropReason::Contradiction,
            true,
            forge,
        );
    }
}

#[test]
fn hazard_c27_records_of_the_next_epoch_are_kept_within_bounds() {
    let contexts = psk();
    for receiver in ROLES {
        let forge = |_| (0..150).map(|n| record(22, 1, n, &[0xa5; 40])).collect();
        // libssl bounds them as well: 3.0.22 and 4.0 at a few, 3.6 at a hundred of 17 KB each.
        spring(
            "150 records",
            &contexts,
            receiver,
            DropReason::TooManyEarlyRecords,
            false,
            forge,
        );
    }
}

#[test]
fn hazard_c44_empty_and_impossible_fragments_break_a_handshake() {
    let contexts = certificate();
    for (receiver, message_type, seq) in [(Role::Client, 2, 1), (Role::Server, 16, 2)] {
        let empty = move |next| {
            vec![record(
                22,
                0,
                next + 10,
                &fragment(message_type, 70, seq, 0, &[]),
            )]
        };
        spring(
            "an empty fragment",
            &contexts,
            receiver,
            DropReason::BadFragment,
            true,
            empty,
        );
        let impossible = move |next| {
            let mut fragment = fragment(message_type, 70, seq, 0, &[0; 20]);
            fragment[8] = 60;
            vec![record(22, 0, next + 10, &fragment)]
        };
        spring(
            "an impossible fragment",
            &contexts,
            receiver,
            DropReason::BadFragment,
            true,
            impossible,
        );
    }
}

#[test]
fn hazard_c45_repeated_finished_amplifies() {
    // The client's last flight, its Finished in a record of its own, as often as anybody likes to repeat it.
    let mut pair = Pair::connected(&psk());
    let flight = pair.to_server.log.last().unwrap().clone();
    let finished = *records(&flight).last().unwrap();
    assert_eq!((finished[0], finished[4]), (22, 1));
    let sent = pair.to_client.log.len();
    // libssl has seen its number; a new one takes the keys. So does the peer itself, which repeats it for good reason.
    for _ in 0..20 {
        pair.server_receives(finished);
        pair.drain();
    }
    assert_eq!(pair.to_client.log.len(), sent);
    pair.assert_works();
}

#[test]
fn hazard_c51_empty_datagram_is_the_end_of_file_to_libssl() {
    let (mut raw, _) = raw_pair("ECDHE-ECDSA-AES128-GCM-SHA256", SslOptions::empty());
    raw.stream.get_mut().ends = true;
    let error = raw.stream.ssl_read(&mut [0; 10]).unwrap_err();
    assert_ne!(error.code(), openssl::ssl::ErrorCode::WANT_READ);

    for receiver in ROLES {
        let mut pair = spoofed(&psk(), receiver, |_, _| vec![Vec::new(); 3]);
        assert!(completes(&mut pair), "{pair:?}");
        pair.client_receives(&[]);
        pair.server_receives(&[]);
        assert!(
            end(&pair, receiver)
                .stats()
                .drops
                .count(DropReason::EmptyDatagram)
                > 3
        );
        pair.assert_works();
        // The BIO says "not yet" whatever is lent to it.
        bypass::with(|| {
            pair.client_receives(&[]);
            pair.server_receives(&[]);
        });
        pair.assert_works();
    }
}

#[test]
fn hazard_c52_libssl_answers_warnings_and_repeated_hellos() {
    let contexts = certificate();
    for receiver in ROLES {
        // Six in a row end a handshake.
        let warnings = |next| {
            (0..8)
                .map(|n| record(21, 0, next + 20 + n, &[1, 90]))
                .collect()
        };
        spring(
            "warnings",
            &contexts,
            receiver,
            DropReason::UnprovenAlert,
            true,
            warnings,
        );
    }
    let requests = |next| vec![message(0, 1, next + 20, &[0; 4])];
    spring(
        "a HelloRequest",
        &contexts,
        Role::Client,
        DropReason::RepeatedHello,
        true,
        requests,
    );
    let hellos = |next| vec![message(1, 2, next + 20, &[0xfe; 60])];
    spring(
        "a ClientHello",
        &contexts,
        Role::Server,
        DropReason::RepeatedHello,
        true,
        hellos,
    );

    // Nor is anything sent to whoever sends them to an established connection.
    let mut pair = Pair::connected(&contexts);
    let (to_client, to_server) = (pair.to_client.log.len(), pair.to_server.log.len());
    for n in 0..20 {
        for forged in [
            record(21, 0, 40 + n, &[1, 90]),
            message(0, 0, 70 + n, &[]),
            message(20, 5, 90 + n, &[0; 12]),
        ] {
            pair.client_receives(&forged);
            pair.server_receives(&forged);
        }
        pair.drain();
    }
    assert_eq!(
        (to_client, to_server),
        (pair.to_client.log.len(), pair.to_server.log.len())
    );
    pair.assert_works();
}

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
fn hazard_c28_established_connection_is_deaf_to_a_restarted_peer() {
    let contexts = psk();
    let mut pair = Pair::connected(&contexts);
    let hello = Pair::new(&contexts)
        .client
        .poll_transmit()
        .unwrap()
        .contents
        .to_vec();
    let server = pair.server_mut();
    assert!(server.starts_new_handshake(&hello));
    // libssl says nothing, for ever; the gate counts.
    bypass::with(|| server.handle_datagram(clock::now(), &hello).unwrap());
    assert!(server.poll_transmit().is_none());
    server.handle_datagram(clock::now(), &hello).unwrap();
    assert!(server.poll_transmit().is_none());
    assert_eq!(server.stats().drops.count(DropReason::RepeatedHello), 1);
    pair.assert_works();
}

#[test]
fn hazard_c43_cipher_spec_that_comes_too_early_uses_up_its_number() {
    // Numbered as the next real records, before each datagram.
    for receiver in ROLES {
        for contexts in [psk(), certificate()] {
            let forge = |_: usize, real: &[u8]| {
                let next = sequence(real);
                (next..next + 4).map(|n| record(20, 0, n, &[1])).collect()
            };
            let mut pair = spoofed(&contexts, receiver, forge);
            assert!(completes(&mut pair), "{pair:?}");
            assert_eq!(pair.client.stats().retransmissions, 0, "{pair:?}");
            pair.assert_works();
            let mut pair = spoofed(&contexts, receiver, forge);
            let undisturbed = bypass::with(|| completes(&mut pair));
            let repeated = pair.client.stats().retransmissions > 0;
            assert!(
                !undisturbed || repeated || receiver == Role::Server,
                "{pair:?}"
            );
        }
    }
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

#[test]
fn copy_of_a_message_from_far_ahead_makes_the_real_ones_too_old() {
    let contexts = certificate();
    let forge = |number: usize, real: &[u8]| {
        if number == 1 {
            // A copy of the real ServerHello, behind it in everybody's count.
            vec![records(real)[0].to_vec(), renumbered(records(real)[0], 900)]
        } else {
            Vec::new()
        }
    };
    let mut pair = spoofed(&contexts, Role::Client, forge);
    assert!(completes(&mut pair), "{pair:?}");
    let mut pair = spoofed(&contexts, Role::Client, forge);
    assert!(!bypass::with(|| completes(&mut pair)), "{pair:?}");
}
