//! Nothing that is printed for debugging holds a key, a cookie or a message.

use std::fmt::Debug;
use std::time::SystemTime;

use openssl_dtls::{
    AddressProof, ClockAnchor, Connection, Context, CookieRing, CookieSecret, Endpoint,
    EndpointConfig, Incoming, Psk, PskKey, PskLookup, TicketRing, TicketSecret, TransportConfig,
};

use crate::support::pair::{client_addr, listener, server_addr};
use crate::support::{KEY, Pair, certificate_contexts, certs, clock, psk, psk_contexts};

const MESSAGE: &[u8] = b"the plaintext of a message";
const SECRET: &[u8] = b"a secret that a fleet of servers shares, long enough";

/// What must not be seen.
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    /// Panics if `value` shows a secret, in any way bytes are commonly printed.
    fn assert_hidden(&self, value: &dyn Debug) {
        for text in [format!("{value:?}"), format!("{value:#?}")] {
            let plain: String = text.split_whitespace().collect();
            for (name, secret) in &self.0 {
                for form in forms(secret) {
                    let form: String = form.split_whitespace().collect();
                    assert!(!plain.contains(&form), "{name} in {text}");
                }
            }
        }
    }
}

/// How the beginning of `secret` looks as text, in hexadecimal and as a list of numbers.
fn forms(secret: &[u8]) -> Vec<String> {
    let start = &secret[..secret.len().min(8)];
    let list = format!("{start:?}");
    let hex: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        String::from_utf8_lossy(start).into_owned(),
        start.escape_ascii().to_string(),
        hex.to_uppercase(),
        hex,
        list.trim_matches(['[', ']']).to_owned(),
    ]
}

#[test]
fn forms_of_a_secret_are_found() {
    let secrets = Secrets(vec![("message", MESSAGE.to_vec())]);
    for shown in [
        format!("{MESSAGE:?}"),
        String::from_utf8(MESSAGE.to_vec()).unwrap(),
        hex::encode(MESSAGE),
    ] {
        let found = std::panic::catch_unwind(|| secrets.assert_hidden(&format_args!("{shown}")));
        assert!(found.is_err(), "{shown}");
    }
}

#[test]
fn debug_output_after_a_handshake_holds_no_secret() {
    let mut secrets = Secrets(vec![
        ("pre-shared key", KEY.to_vec()),
        ("message", MESSAGE.to_vec()),
        ("shared secret", SECRET.to_vec()),
        (
            "private key",
            certs::server_key().private_key_to_der().unwrap()[40..].to_vec(),
        ),
    ]);
    let transport = TransportConfig::default();
    for contexts in [psk_contexts(&transport), certificate_contexts(&transport)] {
        let mut pair = Pair::connected(&contexts);
        // Waiting in every queue there is.
        pair.client.send(MESSAGE).unwrap();
        let datagram = pair.client.poll_transmit().unwrap().contents.to_vec();
        secrets.0.push(("datagram", datagram[21..].to_vec()));
        pair.server_receives(&datagram);
        pair.server_mut().send(MESSAGE).unwrap();
        let cookie = pair.to_client.log[0][28..].to_vec();
        secrets.0.push(("cookie", cookie));
        let mut master = vec![0; 48];
        let ssl = pair.client.ssl().unwrap();
        ssl.session().unwrap().master_key(&mut master);
        secrets.0.push(("master secret", master));
        let mut exported = vec![0; 32];
        pair.client
            .export_keying_material(&mut exported, "EXPERIMENTAL test", None)
            .unwrap();
        secrets.0.push(("exported key", exported));

        secrets.assert_hidden(&pair);
        secrets.assert_hidden(&pair.client);
        secrets.assert_hidden(&pair.server());
        secrets.assert_hidden(&pair.client.handshake_info());
        secrets.assert_hidden(&pair.server().unwrap().handshake_info());
        secrets.assert_hidden(&pair.client.stats());
        secrets.assert_hidden(&pair.client_events);
        secrets.assert_hidden(&pair.listener);
        secrets.assert_hidden(&pair.listener.stats());
        secrets.assert_hidden(&pair.listener.cookie_ring());
        secrets.assert_hidden(&pair.client.saved_session());
        secrets.assert_hidden(&contexts);
        secrets.assert_hidden(&pair.server_mut().poll_transmit());
        secrets.assert_hidden(&pair.server_mut().poll_transmit_batch(4));
        pair.server_mut().send(MESSAGE).unwrap();
        secrets.assert_hidden(
            &pair
                .server_mut()
                .poll_transmit()
                .unwrap()
                .datagrams()
                .count(),
        );
        pair.client.close();
        secrets.assert_hidden(&pair.client);
    }

    secrets.assert_hidden(&psk());
    secrets.assert_hidden(&PskKey::new(KEY).unwrap());
    secrets.assert_hidden(&PskLookup::single(psk()));
    secrets.assert_hidden(&certs::server_identity());
    secrets.assert_hidden(&Context::client().psk(Psk::new(b"identity", KEY).unwrap()));
    secrets.assert_hidden(&Context::server((
        certs::server_identity(),
        PskLookup::single(psk()),
    )));
    secrets.assert_hidden(&Context::client().psk(psk()).dangerous());
    secrets.assert_hidden(&CookieSecret::from_shared(SECRET).unwrap());
    secrets.assert_hidden(&TicketSecret::from_shared(SECRET).unwrap());
    secrets.assert_hidden(&TicketRing::random().unwrap());
}

#[test]
fn debug_output_of_listeners_and_endpoints_holds_no_secret() {
    let now = clock::now();
    let (client, server) = psk_contexts(&TransportConfig::default());
    let anchor = ClockAnchor::new(now, SystemTime::now());
    let mut secrets = Secrets(vec![("pre-shared key", KEY.to_vec())]);
    let mut listener = listener(&server);
    let mut connection = Connection::client(&client, server_addr(), None, now).unwrap();
    let hello = connection.poll_transmit().unwrap().contents.to_vec();
    secrets
        .0
        .push(("random of the client", hello[27..].to_vec()));
    let incoming = listener
        .handle_datagram(now, client_addr(), &hello)
        .unwrap();
    if let Incoming::Reply(reply) = &incoming {
        secrets.0.push(("cookie", reply.contents[28..].to_vec()));
    }
    secrets.assert_hidden(&incoming);
    let Incoming::Reply(reply) = incoming else {
        panic!("no reply");
    };
    connection.handle_datagram(now, reply.contents).unwrap();
    let hello = connection.poll_transmit().unwrap().contents.to_vec();
    let incoming = listener
        .handle_datagram(now, client_addr(), &hello)
        .unwrap();
    secrets.assert_hidden(&incoming);
    secrets.assert_hidden(&listener);

    let ring = CookieRing::random(anchor).unwrap();
    let mut endpoint = Endpoint::server(EndpointConfig::new(), &server, ring).unwrap();
    let handled = endpoint.handle_datagram(now, client_addr(), &hello);
    secrets.assert_hidden(&handled);
    secrets.assert_hidden(&endpoint);
    let proof = AddressProof::ProvedElsewhere;
    secrets.assert_hidden(&Connection::server(&server, client_addr(), now, proof));
}
