//! Peers that start anew from an address that has a connection (RFC 6347, 4.2.8).

use std::time::Duration;

use openssl_dtls::{
    CloseReason, Context, Endpoint, EndpointConfig, EndpointEvent, PskLookup, TransportConfig,
};

use super::world::{World, later, read, take_sent};
use crate::support::{certificate_contexts, clock, psk, psk_contexts};

fn connected() -> World {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(1);
    world.establish();
    world.assert_works(0);
    world
}

#[test]
fn hazard_c28_restarted_peer_gets_a_new_connection_and_the_old_one_goes() {
    let mut world = connected();
    let old = world.server_handle(0);
    world.restart(0);
    let replaced = world.run(Duration::from_secs(10), |world| {
        world.close_reason(old) == Some(CloseReason::Replaced) && world.is_established(0)
    });
    assert!(replaced, "{:?}", world.server.stats());
    let new = world.server_handle(0);
    assert_ne!(old, new);
    assert!(world.server.connection(old).is_none());
    let of_new: Vec<_> = world.events.iter().filter(|(of, _)| *of == new).collect();
    assert!(matches!(of_new[..], [(_, EndpointEvent::Connected)]));
    world.assert_works(0);
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.ended.replaced), (1, 1));
    assert_eq!(stats.accepted.completed, 2);
}

#[test]
fn old_connection_works_while_the_new_handshake_is_under_way() {
    let mut world = connected();
    let old = world.server_handle(0);
    let addr = world.hosts[0].addr;
    // A second machine behind the same address and port gets as far as its cookie, and no farther.
    let mut other = Endpoint::new(EndpointConfig::new()).unwrap();
    let server = crate::support::pair::server_addr();
    other
        .connect(clock::now(), &world.client_context, server, None)
        .unwrap();
    for (_, hello) in take_sent(&mut other) {
        let _ = world.inject(addr, &hello);
    }
    let replies = take_sent(&mut world.server);
    assert_eq!(replies.len(), 1);
    let _ = other.handle_datagram(clock::now(), server, &replies[0].1);
    for (_, hello) in take_sent(&mut other) {
        let _ = world.inject(addr, &hello);
    }
    assert_eq!(world.server.stats().half_open, 1);
    assert_eq!(world.server_handle(0), old);
    world.assert_works(0);
    // It never proves itself: the old connection stays.
    world.travel(Duration::from_secs(70));
    assert_eq!(world.server.stats().half_open, 0);
    assert_eq!(world.server.stats().accepted.timed_out, 1);
    assert_eq!(world.server_handle(0), old);
    world.assert_works(0);
}

#[test]
fn forged_hello_does_nothing_to_a_connection() {
    let mut world = connected();
    let old = world.server_handle(0);
    let addr = world.hosts[0].addr;
    for _ in 0..100 {
        let mut forger = Endpoint::new(EndpointConfig::new()).unwrap();
        let server = crate::support::pair::server_addr();
        forger
            .connect(clock::now(), &world.client_context, server, None)
            .unwrap();
        for (_, hello) in take_sent(&mut forger) {
            let _ = world.inject(addr, &hello);
        }
    }
    // Each is answered with a cookie that the forger does not see, and costs nothing else.
    assert_eq!(take_sent(&mut world.server).len(), 100);
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.half_open), (1, 0));
    assert_eq!(world.server_handle(0), old);
    world.assert_works(0);
}

#[test]
fn peer_that_restarts_in_mid_handshake_replaces_its_handshake() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(1);
    world.run(Duration::from_secs(5), |world| {
        world.server.stats().half_open == 1
    });
    let first = world.server_handle(0);
    world.hosts[0].up.settings.loss = 1.0;
    world.travel(Duration::from_millis(100));
    world.hosts[0].up.settings.loss = 0.0;
    world.restart(0);
    world.establish();
    assert_ne!(world.server_handle(0), first);
    assert_eq!(world.close_reason(first), Some(CloseReason::Replaced));
    let accepted = world.server.stats().accepted;
    assert_eq!(
        (accepted.begun, accepted.completed, accepted.replaced),
        (2, 1, 1)
    );
    world.assert_works(0);
}

#[test]
fn late_flight_of_the_old_handshake_does_not_stop_the_new_one() {
    for contexts in [
        psk_contexts(&TransportConfig::default()),
        certificate_contexts(&TransportConfig::default()),
    ] {
        let mut world = World::with_contexts(EndpointConfig::new(), contexts);
        world.hosts(1);
        world.run(Duration::from_secs(5), |world| {
            world.server.stats().half_open == 1
        });
        // The server's flight is on its way.
        assert!(world.hosts[0].down.next_arrival().is_some());
        world.restart(0);
        let begun = clock::now();
        world.establish();
        assert!(clock::now() - begun < Duration::from_millis(900));
        world.assert_works(0);
    }
}

#[test]
fn repeated_hello_of_the_old_handshake_starts_no_third() {
    let mut world = connected();
    let old_hellos: Vec<_> = world.hosts[0].up.log[..2].to_vec();
    world.restart(0);
    world.run(Duration::from_secs(5), |world| {
        world.server.stats().half_open == 1
    });
    for hello in &old_hellos {
        let _ = world.inject(world.hosts[0].addr, hello);
    }
    assert_eq!(world.server.stats().accepted.begun, 2);
    world.establish();
    world.assert_works(0);
}

#[test]
fn messages_left_by_the_replaced_connection_can_be_read() {
    let mut world = connected();
    let old = world.server_handle(0);
    world.say(0, b"unread");
    world.travel(Duration::from_millis(100));
    world.restart(0);
    world.run(Duration::from_secs(10), |world| {
        world.close_reason(old).is_some()
    });
    assert_eq!(
        read(&mut world.server, old).as_deref(),
        Some(&b"unread"[..])
    );
    assert!(world.server.connection(old).is_some());
    // The next call frees it.
    assert!(world.server.poll_event().is_none());
    assert!(world.server.connection(old).is_none());
}

#[test]
fn failed_restart_leaves_the_old_connection_alone() {
    let mut world = connected();
    let old = world.server_handle(0);
    let wrong_key = Context::client()
        .psk(openssl_dtls::Psk::new(b"nobody", b"another sixteen b").unwrap())
        .build()
        .unwrap();
    let right = std::mem::replace(&mut world.client_context, wrong_key);
    world.restart(0);
    world.travel(Duration::from_secs(5));
    assert_eq!(world.server_handle(0), old);
    assert_eq!(world.server.stats().accepted.failed, 1);
    let failed = world
        .events
        .iter()
        .filter(|(of, event)| *of != old && matches!(event, EndpointEvent::Failed(_)));
    assert_eq!(failed.count(), 1);
    // And the address takes another try.
    world.client_context = right;
    world.restart(0);
    world.establish();
    world.assert_works(0);
}

#[test]
fn established_cbc_connection_is_offered_no_records_of_the_other() {
    let suite = "ECDHE-PSK-AES128-CBC-SHA256";
    let client = Context::client().psk(psk()).cipher_list(suite);
    let server = Context::server(PskLookup::single(psk())).cipher_list(suite);
    let contexts = (client.build().unwrap(), server.build().unwrap());
    let mut world = World::with_contexts(EndpointConfig::new(), contexts);
    world.hosts(1);
    world.establish();
    let old = world.server_handle(0);
    let before = world.server.connection(old).unwrap().stats().clone();
    world.restart(0);
    world.run(Duration::from_secs(5), |world| {
        world.server.stats().half_open == 1
    });
    let mut junk = crate::support::record(23, 1, 77, &[7; 64]);
    junk[1..3].copy_from_slice(&[0xfe, 0xfd]);
    let _ = world.inject(world.hosts[0].addr, &junk);
    let after = world.server.connection(old).unwrap().stats();
    assert_eq!(before.records_received, after.records_received);
    later(Duration::from_millis(1));
    world.establish();
    world.assert_works(0);
}
