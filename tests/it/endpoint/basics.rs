//! One socket for many: events, messages, closing, handles.

use std::time::Duration;

use openssl_dtls::{CloseReason, DropReason, EndpointConfig, EndpointEvent};

use super::world::{World, read};
use crate::support::clock;

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

#[test]
fn datagrams_and_bytes_are_counted_both_ways() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(3);
    world.establish();
    for host in 0..3 {
        world.assert_works(host);
    }
    let total = |logs: Vec<&Vec<Vec<u8>>>| {
        let datagrams: usize = logs.iter().map(|log| log.len()).sum();
        let bytes: usize = logs.iter().flat_map(|log| log.iter()).map(Vec::len).sum();
        (datagrams as u64, bytes as u64)
    };
    let stats = world.server.stats();
    let up = total(world.hosts.iter().map(|host| &host.up.log).collect());
    let down = total(world.hosts.iter().map(|host| &host.down.log).collect());
    assert_eq!((stats.datagrams_received, stats.bytes_received), up);
    assert_eq!((stats.datagrams_sent, stats.bytes_sent), down);
    assert_eq!(stats.message_bytes_received, 3 * 4);
    assert_eq!(stats.message_bytes_sent, 3 * 4);
    // Counts outlive their connections.
    let before = world.server.stats();
    world.server.shutdown(clock::now(), Duration::ZERO);
    world.travel(Duration::from_secs(1));
    let after = world.server.stats();
    assert_eq!((before.connections, after.connections), (3, 0));
    assert_eq!(before.messages_received, after.messages_received);
    assert_eq!(before.message_bytes_sent, after.message_bytes_sent);
}

#[test]
fn drops_of_ended_connections_stay_in_the_sums() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(1);
    world.establish();
    let addr = world.hosts[0].addr;
    let warning = crate::support::record(21, 0, 50, &[1, 90]);
    for _ in 0..5 {
        let _ = world.inject(addr, &warning);
    }
    let count = |world: &World| world.server.stats().drops.count(DropReason::UnprovenAlert);
    assert_eq!(count(&world), 5);
    world.server.close(world.server_handle(0));
    world.travel(Duration::from_secs(1));
    assert_eq!(world.server.stats().connections, 0);
    assert_eq!(count(&world), 5);
}

#[test]
fn peers_that_stall_do_not_delay_a_thousand_others() {
    let finished_by = |stalling: bool| {
        let mut world = World::new(EndpointConfig::new());
        world.hosts(1000);
        for host in world.hosts.iter_mut().step_by(10).filter(|_| stalling) {
            // Past the hello with its cookie nothing comes.
            host.up.settings.lost = (2..1000).collect();
        }
        let honest = |world: &World| {
            (0..1000)
                .filter(|host| !stalling || host % 10 != 0)
                .all(|host| world.is_established(host))
        };
        let begun = clock::now();
        assert!(world.run(Duration::from_secs(5), honest));
        let took = clock::now() - begun;
        let stats = world.server.stats();
        assert_eq!(stats.half_open, if stalling { 100 } else { 0 });
        took
    };
    assert_eq!(finished_by(true), finished_by(false));
}

#[test]
fn endpoint_moves_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let mut world = World::new(EndpointConfig::new());
    is_send(&world.server);
    world.hosts(1);
    world.establish();
    let handle = world.server_handle(0);
    let mut server = std::mem::replace(
        &mut world.server,
        openssl_dtls::Endpoint::new(EndpointConfig::new()).unwrap(),
    );
    let server = std::thread::spawn(move || {
        server.send(handle, b"from another thread").unwrap();
        server
    });
    world.server = server.join().unwrap();
    world.travel(Duration::from_secs(1));
    let host = &mut world.hosts[0];
    assert_eq!(
        read(&mut host.endpoint, host.handle.unwrap()).as_deref(),
        Some(&b"from another thread"[..])
    );
}
