//! One socket for many: events, messages, closing, handles.

use std::time::Duration;

use openssl_dtls::{CloseReason, EndpointConfig, EndpointEvent};

use super::world::{World, read};

#[test]
fn many_hosts_connect_and_talk() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(10);
    world.establish();
    for host in 0..10 {
        world.assert_works(host);
    }
    let stats = world.server.stats();
    assert_eq!(stats.accepted.begun, 10);
    assert_eq!(stats.accepted.completed, 10);
    assert_eq!((stats.cookies_sent, stats.cookies_accepted), (10, 10));
    assert_eq!((stats.connections, stats.established), (10, 10));
    assert_eq!((stats.half_open, stats.queued_send_bytes), (0, 0));
    assert_eq!((stats.messages_received, stats.messages_sent), (10, 10));
    let connected = world
        .events
        .iter()
        .filter(|(_, event)| matches!(event, EndpointEvent::Connected));
    assert_eq!(connected.count(), 10);
}

#[test]
fn close_is_told_at_both_ends_and_frees_address_and_slot() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(1);
    world.establish();
    let handle = world.server_handle(0);
    world.say(0, b"last words");
    let client = world.hosts[0].handle.unwrap();
    world.hosts[0].endpoint.close(client);
    world.travel(Duration::from_secs(1));
    assert_eq!(world.close_reason(handle), Some(CloseReason::Peer));
    assert_eq!(world.server.handle_of(world.hosts[0].addr), None);
    // What came before the end can still be read.
    assert!(world.server.connection(handle).is_some());
    assert_eq!(
        read(&mut world.server, handle).as_deref(),
        Some(&b"last words"[..])
    );
    assert_eq!(read(&mut world.server, handle), None);
    assert!(world.server.connection(handle).is_none());
    assert_eq!(world.server.stats().connections, 0);
    assert_eq!(world.server.stats().ended.closed_by_peer, 1);
    assert_eq!(world.hosts[0].endpoint.stats().connections, 0);
    assert_eq!(world.hosts[0].endpoint.stats().ended.closed, 1);
}
