//! What is done to a server while it runs.

use std::collections::HashSet;
use std::io::ErrorKind;

use openssl_dtls::udp::blocking::{Client, Peer};
use openssl_dtls::{CloseReason, ConfigError, Context, ServerName, TransportConfig};

use super::{Running, Told, assert_echo, connect, contexts, recv};
use crate::loopback::DEADLINE;
use crate::support::{certificate_contexts, certs};

#[test]
fn stop_ends_the_run_and_keeps_connections() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let client = connect(&client, running.address);
    assert_echo(&client, b"before");
    let server = running.server.clone();
    server.stop();
    running.join().unwrap();
    assert_eq!(server.connections().len(), 1);
    // For good: another run ends at once.
    server.run(&mut |_: &mut Peer<'_>, _: &[u8]| {}).unwrap();
    drop(server);
    assert_eq!(recv(&client), None, "the last clone says goodbye");
}

#[test]
fn second_runner_is_refused() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    drop(connect(&client, running.address));
    assert!(matches!(running.told(), Told::Connected(_)));
    let refused = running.server.run(&mut |_: &mut Peer<'_>, _: &[u8]| {});
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ResourceBusy);
}

#[test]
fn shutdown_says_goodbye_to_all_and_ends_the_run() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let clients: Vec<_> = (0..5).map(|_| connect(&client, running.address)).collect();
    for client in &clients {
        assert_echo(client, b"before");
    }
    running.server.shutdown(DEADLINE);
    for client in &clients {
        assert_eq!(recv(client), None);
    }
    let server = running.server.clone();
    let mut closed = HashSet::new();
    // Ends when the run does, and with it the handler.
    for told in running.told.iter() {
        if let Told::Closed(handle, CloseReason::Local) = told {
            closed.insert(handle);
        }
    }
    running.join().unwrap();
    assert_eq!(closed.len(), 5);
    assert_eq!(server.stats().endpoint.ended.closed, 5);
}

#[test]
fn wake_calls_the_handler() {
    let (_, server) = contexts();
    let running = Running::new(&server);
    for _ in 0..3 {
        running.server.wake();
        assert_eq!(running.told(), Told::Woken);
    }
}

#[test]
fn renewed_certificate_is_for_new_connections() {
    let (client, server) = certificate_contexts(&TransportConfig::default());
    let running = Running::new(&server);
    let dial = || {
        let name = ServerName::try_from("localhost").unwrap();
        Client::connect(&client, running.address, Some(name)).unwrap()
    };
    let certificate = |client: &Client| {
        let info = client.handshake_info().unwrap();
        info.peer_certificate().unwrap().to_der().unwrap()
    };
    let before = dial();
    let renewed = certs::authority().issue(&certs::Leaf::named("localhost"));
    let renewed = Context::server(renewed).build().unwrap();
    running.server.set_context(&renewed).unwrap();
    let after = dial();
    assert_ne!(certificate(&before), certificate(&after));
    for client in [&before, &after] {
        client.set_read_timeout(Some(DEADLINE));
        assert_echo(client, b"both are served");
    }
    assert!(matches!(
        running.server.set_context(&client),
        Err(ConfigError::WrongRole { .. })
    ));
}

#[test]
fn cookie_secrets_change_while_serving() {
    let (client, server) = contexts();
    let running = Running::new(&server);
    let early = connect(&client, running.address);
    for _ in 0..3 {
        running.server.rotate_cookie_secret().unwrap();
        assert_echo(&connect(&client, running.address), b"with a new secret");
    }
    assert_echo(&early, b"as before");
}
