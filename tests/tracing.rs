//! What is told through the crate `tracing`, and what is not.

#![cfg(feature = "tracing")]

use std::fmt::{Debug, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, Connection, Context, CookieRing, Incoming, Listener, Psk, PskLookup,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const KEY: &[u8] = b"a key of sixteen";
const MESSAGE: &[u8] = b"plaintext nobody may log";

/// Writes everything down, each event behind the spans it happened in.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<Mutex<Vec<String>>>,
    entered: Arc<Mutex<Vec<u64>>>,
    next: Arc<AtomicU64>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("openssl_dtls")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields(attributes.metadata().name().to_owned());
        attributes.record(&mut fields);
        self.spans.lock().unwrap().push(fields.0);
        Id::from_u64(self.next.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        if let Some(&span) = self.entered.lock().unwrap().last() {
            let spans = self.spans.lock().unwrap();
            write!(fields.0, " {{{}}}", spans[span as usize - 1]).unwrap();
        }
        event.record(&mut fields);
        self.lines.lock().unwrap().push(fields.0);
    }

    fn enter(&self, span: &Id) {
        self.entered.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.entered.lock().unwrap().pop();
    }
}

#[test]
fn life_of_a_connection_is_told_without_its_secrets() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let psk = || Psk::new(b"sensor", KEY).unwrap();
        let client_context = Context::client().psk(psk()).build().unwrap();
        let server_context = Context::server(PskLookup::single(psk())).build().unwrap();
        let now = Instant::now();
        let peer: SocketAddr = "192.0.2.1:40000".parse().unwrap();
        let ring = CookieRing::random(ClockAnchor::new(now, SystemTime::now())).unwrap();
        let mut listener = Listener::new(&server_context, ring).unwrap();
        let mut client = Connection::client(&client_context, peer, None, now).unwrap();
        let mut server = loop {
            let datagram = client.poll_transmit().unwrap().contents.to_vec();
            match listener.handle_datagram(now, peer, &datagram).unwrap() {
                Incoming::Reply(reply) => client.handle_datagram(now, reply.contents).unwrap(),
                Incoming::Connection(connection) => break connection,
                other => panic!("{other:?}"),
            }
        };
        while !client.is_established() {
            while let Some(transmit) = server.poll_transmit() {
                client.handle_datagram(now, transmit.contents).unwrap();
            }
            while let Some(transmit) = client.poll_transmit() {
                server.handle_datagram(now, transmit.contents).unwrap();
            }
        }
        server.handle_datagram(now, &[]).unwrap();
        client.send(MESSAGE).unwrap();
        client.close();
        while let Some(transmit) = client.poll_transmit() {
            server.handle_datagram(now, transmit.contents).unwrap();
        }
    });

    let lines = log.lines.lock().unwrap().join("\n");
    for told in [
        "TRACE message=asked for a cookie",
        "DEBUG message=accepted peer=192.0.2.1:40000",
        "DEBUG {connection role=Server peer=192.0.2.1:40000} message=connected suite=\"TLS_ECDHE_PSK_",
        "DEBUG {connection role=Client peer=192.0.2.1:40000} message=connected",
        "TRACE {connection role=Server peer=192.0.2.1:40000} message=dropped reason=EmptyDatagram",
        "DEBUG {connection role=Client peer=192.0.2.1:40000} message=closed close_notify=true",
        "DEBUG {connection role=Server peer=192.0.2.1:40000} message=the peer closed",
    ] {
        assert!(lines.contains(told), "{told:?} is not in\n{lines}");
    }
    for secret in [KEY, MESSAGE] {
        let text = std::str::from_utf8(secret).unwrap();
        assert!(!lines.contains(text), "{lines}");
        assert!(!lines.contains(&format!("{secret:?}")), "{lines}");
    }
    assert!(log.entered.lock().unwrap().is_empty());
}
