//! What a program can watch: key log, messages, records, alerts, states.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl_dtls::{
    Alert, ConfigError, ContentType, Context, Direction, HandshakeType, Mtu, Observation, Psk,
    PskLookup, Role, TransportConfig,
};

use crate::support::pair::{client_addr, server_addr};
use crate::support::{IDENTITY, KEY, Pair, certs, fragment, psk, record};

/// One observation, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Started,
    State(&'static str),
    Done,
    Record(Direction, ContentType, u16, usize),
    Message(Direction, &'static str, u16, Option<Vec<u8>>),
    ChangeCipherSpec(Direction),
    Alert(Direction, bool, Alert),
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// An observer that keeps what it is told, of a connection of `role`.
fn watch(
    log: &Log,
    role: Role,
) -> impl Fn(&openssl_dtls::Observed<'_>) + Send + Sync + 'static + use<> {
    let log = log.clone();
    move |observed| {
        let peer = match role {
            Role::Client => server_addr(),
            Role::Server => client_addr(),
        };
        assert_eq!((observed.role, observed.peer), (role, peer));
        let seen = match observed.what {
            Observation::HandshakeStarted => Seen::Started,
            Observation::State { name } => Seen::State(name),
            Observation::HandshakeDone => Seen::Done,
            Observation::Record {
                direction,
                content_type,
                epoch,
                length,
                ..
            } => Seen::Record(direction, content_type, epoch, length),
            Observation::Message {
                direction,
                message_type,
                sequence,
                body,
                ..
            } => {
                let name = message_type.name().expect("a message of DTLS 1.2");
                Seen::Message(direction, name, sequence, body.map(<[u8]>::to_vec))
            }
            Observation::ChangeCipherSpec { direction, .. } => Seen::ChangeCipherSpec(direction),
            Observation::Alert {
                direction,
                fatal,
                alert,
                ..
            } => Seen::Alert(direction, fatal, alert),
            _ => panic!("nothing else is told"),
        };
        log.lock().unwrap().push(seen);
    }
}

fn watched() -> (Log, Log, (Context, Context)) {
    let (client_log, server_log) = (Log::default(), Log::default());
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .observe(watch(&client_log, Role::Client));
    let server =
        Context::server(certs::server_identity()).observe(watch(&server_log, Role::Server));
    let contexts = (client.build().unwrap(), server.build().unwrap());
    (client_log, server_log, contexts)
}

fn messages(log: &Log, wanted: Direction) -> Vec<&'static str> {
    let log = log.lock().unwrap();
    let names = log.iter().filter_map(|seen| match seen {
        Seen::Message(direction, name, ..) if *direction == wanted => Some(*name),
        _ => None,
    });
    names.collect()
}

#[test]
fn messages_of_a_handshake_are_told_at_both_ends() {
    let (client, server, contexts) = watched();
    let mut pair = Pair::connected(&contexts);
    let from_client = [
        "client_hello",
        "client_hello",
        "client_key_exchange",
        "finished",
    ];
    let from_server = [
        "server_hello",
        "certificate",
        "server_key_exchange",
        "server_hello_done",
        "new_session_ticket",
        "finished",
    ];
    assert_eq!(messages(&client, Direction::Sent), from_client);
    let mut received = messages(&client, Direction::Received);
    assert_eq!(received.remove(0), "hello_verify_request");
    assert_eq!(received, from_server);
    assert_eq!(messages(&server, Direction::Sent), from_server);
    // The first hello is answered without libssl; `DTLSv1_listen` may read the second one more time.
    let received = messages(&server, Direction::Received);
    assert!(received.ends_with(&from_client[1..]), "{received:?}");

    for log in [&client, &server] {
        let log = log.lock().unwrap();
        for direction in [Direction::Sent, Direction::Received] {
            assert!(log.contains(&Seen::ChangeCipherSpec(direction)));
        }
        assert!(log.contains(&Seen::Started));
        assert_eq!(log.iter().filter(|seen| **seen == Seen::Done).count(), 1);
        let states = log.iter().filter(|seen| matches!(seen, Seen::State(_)));
        assert!(states.count() > 5);
    }

    // Messages of the application are records and nothing more.
    client.lock().unwrap().clear();
    pair.assert_works();
    let log = client.lock().unwrap();
    assert!(
        log.iter().all(|seen| matches!(
            seen,
            Seen::Record(_, content_type, 1, length)
                if *content_type == ContentType(23) && *length > 4
        )),
        "{log:?}"
    );
    assert_eq!(log.len(), 2);
}

#[test]
fn bodies_are_what_went_over_the_network() {
    let (client, server, contexts) = watched();
    drop(Pair::connected(&contexts));
    let body = |log: &Log, wanted: Direction, name: &str| {
        let log = log.lock().unwrap();
        log.iter().rev().find_map(|seen| match seen {
            Seen::Message(direction, told, _, body) if *direction == wanted && *told == name => {
                body.clone()
            }
            _ => None,
        })
    };
    for (name, from, to) in [
        ("client_hello", &client, &server),
        ("certificate", &server, &client),
        ("client_key_exchange", &client, &server),
        ("finished", &server, &client),
    ] {
        let sent = body(from, Direction::Sent, name).unwrap();
        assert_eq!(body(to, Direction::Received, name).unwrap(), sent, "{name}");
    }
    let certificate = certs::server_identity().certificate().to_der().unwrap();
    let told = body(&client, Direction::Received, "certificate").unwrap();
    assert!(told.ends_with(&certificate));
}

#[test]
fn fragmented_messages_are_told_once_and_whole_where_they_are_received() {
    let transport = TransportConfig::default().mtu(Mtu::MIN);
    let (client_log, server_log) = (Log::default(), Log::default());
    let client = Context::client()
        .trust_pem(&certs::authority().pem())
        .transport(transport.clone())
        .observe(watch(&client_log, Role::Client));
    let server = Context::server(certs::server_identity())
        .transport(transport)
        .observe(watch(&server_log, Role::Server));
    drop(Pair::connected(&(
        client.build().unwrap(),
        server.build().unwrap(),
    )));
    let of_certificate = |log: &Log| {
        let log = log.lock().unwrap();
        let told: Vec<_> = log
            .iter()
            .filter(|seen| matches!(seen, Seen::Message(_, "certificate", ..)))
            .cloned()
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    };
    let Seen::Message(Direction::Received, _, _, Some(received)) = of_certificate(&client_log)
    else {
        panic!("{:?}", of_certificate(&client_log));
    };
    match of_certificate(&server_log) {
        Seen::Message(Direction::Sent, _, _, None) => {}
        // OpenSSL 4 still has it in one piece.
        Seen::Message(Direction::Sent, _, _, Some(sent)) => assert_eq!(sent, received),
        other => panic!("{other:?}"),
    }
}

#[test]
fn alerts_are_told_in_both_directions() {
    let (client, server, contexts) = watched();
    let mut pair = Pair::connected(&contexts);
    pair.client.close();
    pair.travel(Duration::from_millis(100));
    let closed = |direction| Seen::Alert(direction, false, Alert::CLOSE_NOTIFY);
    assert_eq!(
        client.lock().unwrap().last(),
        Some(&closed(Direction::Sent))
    );
    assert!(
        server
            .lock()
            .unwrap()
            .contains(&closed(Direction::Received))
    );

    // A fatal one, in the clear: it is held for a while, and told when it is believed.
    let (client, server) = (Log::default(), Log::default());
    let stranger = Context::client()
        .psk(Psk::new(b"nobody", KEY).unwrap())
        .observe(watch(&client, Role::Client));
    let refusing = Context::server(PskLookup::single(psk())).observe(watch(&server, Role::Server));
    let mut pair = Pair::new(&(stranger.build().unwrap(), refusing.build().unwrap()));
    pair.travel(Duration::from_secs(5));
    let refused = |direction| Seen::Alert(direction, true, Alert::UNKNOWN_PSK_IDENTITY);
    let count = |log: &Log, wanted| {
        let log = log.lock().unwrap();
        log.iter().filter(|seen| **seen == wanted).count()
    };
    assert_eq!(count(&server, refused(Direction::Sent)), 1);
    assert_eq!(count(&client, refused(Direction::Received)), 1);
}

#[test]
fn what_the_gate_drops_is_not_told() {
    let (client, _, contexts) = watched();
    let mut pair = Pair::new(&contexts);
    let before = client.lock().unwrap().len();
    for junk in [
        record(21, 0, 1, &[1, 0, 0]),
        record(99, 0, 2, b"junk"),
        record(22, 0, 3, &fragment(1, 10, 0, 0, &[0; 10])),
    ] {
        pair.client_receives(&junk);
    }
    assert_eq!(client.lock().unwrap().len(), before);
    pair.handshake();
}

#[test]
fn panics_of_an_observer_reach_the_caller() {
    let observed = |what: fn(&Observation<'_>) -> bool| {
        Context::client()
            .psk(psk())
            .observe(move |observed| assert!(!what(&observed.what), "seen"))
            .build()
            .unwrap()
    };
    // From a message callback, in the first call.
    let context = observed(|what| matches!(what, Observation::Message { .. }));
    let connect = || {
        openssl_dtls::Connection::client(
            &context,
            server_addr(),
            None,
            crate::support::clock::now(),
        )
    };
    let payload = catch_unwind(AssertUnwindSafe(connect)).unwrap_err();
    assert!(
        payload
            .downcast_ref::<&str>()
            .is_some_and(|text| text.contains("seen"))
    );

    // From an info callback, at the end of the handshake.
    let context = observed(|what| matches!(what, Observation::HandshakeDone));
    let server = Context::server(PskLookup::single(psk())).build().unwrap();
    let mut pair = Pair::new(&(context, server));
    assert!(catch_unwind(AssertUnwindSafe(|| pair.handshake())).is_err());
    // The next call finds no panic left.
    drop(
        pair.client
            .handle_datagram(crate::support::clock::now(), b"junk"),
    );
}

#[test]
fn key_log_has_one_line_of_nss_format_and_both_ends_agree() {
    let lines = Arc::new(Mutex::new(Vec::<String>::new()));
    let keep = |lines: &Arc<Mutex<Vec<String>>>| {
        let lines = lines.clone();
        move |line: &str| lines.lock().unwrap().push(line.to_owned())
    };
    let client = Context::client().psk(psk()).key_log(keep(&lines));
    let server = Context::server(PskLookup::single(psk())).key_log(keep(&lines));
    let pair = Pair::connected(&(client.build().unwrap(), server.build().unwrap()));
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], lines[1]);
    let fields: Vec<_> = lines[0].split(' ').collect();
    let ssl = pair.client.ssl().unwrap();
    let (mut random, mut master) = ([0; 32], [0; 48]);
    ssl.client_random(&mut random);
    ssl.session().unwrap().master_key(&mut master);
    assert_eq!(fields[0], "CLIENT_RANDOM");
    assert!(fields[1].eq_ignore_ascii_case(&hex::encode(random)));
    assert!(fields[2].eq_ignore_ascii_case(&hex::encode(master)));
    assert_eq!(fields.len(), 3);
}

#[test]
fn key_log_file_is_appended_to_and_only_its_owner_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.log");
    let contexts = || {
        let client = Context::client().psk(psk()).key_log_file(&path);
        let server = Context::server(PskLookup::single(psk()));
        (client.build().unwrap(), server.build().unwrap())
    };
    let shared = contexts();
    drop(Pair::connected(&shared));
    drop(Pair::connected(&shared));
    drop(Pair::connected(&contexts()));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(text.ends_with('\n'));
    assert!(text.lines().all(|line| line.starts_with("CLIENT_RANDOM ")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    let nowhere = directory.path().join("missing").join("keys.log");
    let refused = Context::client().psk(psk()).key_log_file(&nowhere).build();
    assert!(matches!(refused, Err(ConfigError::File { path, .. }) if path.contains("missing")));
}

#[test]
fn panics_of_a_key_log_reach_the_caller() {
    let client = Context::client()
        .psk(Psk::new(IDENTITY, KEY).unwrap())
        .key_log(|_| panic!("no keys for you"));
    let server = Context::server(PskLookup::single(psk()));
    let mut pair = Pair::new(&(client.build().unwrap(), server.build().unwrap()));
    let payload = catch_unwind(AssertUnwindSafe(|| pair.handshake())).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"no keys for you"));
}

#[test]
fn names_of_messages_are_those_of_the_rfc() {
    assert_eq!(HandshakeType(3).name(), Some("hello_verify_request"));
    assert_eq!(HandshakeType(200).name(), None);
}
