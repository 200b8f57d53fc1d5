//! What anybody can send to an established connection.

use std::io;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions};

use super::{Contexts, ROLES, completes, end, psk, spoofed};
use crate::gate::bypass;
use crate::support::{Pair, certs, clock, record, records};
use crate::{Context, DropReason, Role};

/// Whether the loaded libssl has its record layer in files of its own: from 3.2 on.
fn has_record_layer() -> bool {
    openssl::version::number() >= 0x3020_0000
}

fn is_openssl_4() -> bool {
    openssl::version::number() >= 0x4000_0000
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
