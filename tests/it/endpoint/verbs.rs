//! What a program does with a running endpoint: rebind, share the socket, rotate, renew, shut down.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use openssl_dtls::openssl::pkey::{PKey, Private};
use openssl_dtls::{
    ClockAnchor, CloseReason, ConfigError, ConnectError, Context, CookieRing, CookieSecret,
    DropReason, Endpoint, EndpointConfig, EndpointEvent, Error, Handled, Mtu, PskKey, PskLookup,
    RebindError, SendError, TransportConfig,
};

use super::world::{World, host_addr, later, name, read, ring, take_sent};
use crate::support::certs::{self, Leaf};
use crate::support::pair::server_addr;
use crate::support::{IDENTITY, KEY, certificate_contexts, clock, psk_contexts};

fn connected(hosts: usize) -> World {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(hosts);
    world.establish();
    world
}

#[test]
fn rebound_connection_works_from_its_new_address() {
    let mut world = connected(1);
    let handle = world.server_handle(0);
    let (old, new) = (host_addr(0), host_addr(7));
    // What waits already goes to the new address.
    world.server.send(handle, b"queued before").unwrap();
    world.server.rebind(handle, new).unwrap();
    assert_eq!(world.server.handle_of(old), None);
    assert_eq!(world.server.handle_of(new), Some(handle));
    assert_eq!(world.server.connection(handle).unwrap().path().peer, new);
    world.move_host(0, new);
    world.travel(Duration::from_secs(1));
    let client = world.hosts[0].handle.unwrap();
    assert_eq!(
        read(&mut world.hosts[0].endpoint, client).as_deref(),
        Some(&b"queued before"[..])
    );
    world.assert_works(0);
    // The old address is free for another.
    let other = world.host(old);
    world.connect(other);
    world.establish();
    world.assert_works(other);
    world.assert_works(0);
}

#[test]
fn rebinding_is_refused_where_it_would_hurt() {
    let mut world = connected(2);
    let (first, second) = (world.server_handle(0), world.server_handle(1));
    let in_use = world.server.rebind(first, host_addr(1));
    assert_eq!(in_use, Err(RebindError::AddressInUse));
    // Also by the same address in another notation.
    let std::net::IpAddr::V4(ip) = host_addr(1).ip() else {
        panic!("an IPv4 address");
    };
    let mapped = SocketAddr::from((ip.to_ipv6_mapped(), host_addr(1).port()));
    let in_use = world.server.rebind(first, mapped);
    assert_eq!(in_use, Err(RebindError::AddressInUse));
    // To where it is: nothing to refuse.
    world.server.rebind(first, host_addr(0)).unwrap();
    world.assert_works(0);
    world.assert_works(1);

    let client = world.client_context.clone();
    let peer: SocketAddr = "192.0.2.50:1".parse().unwrap();
    let now = clock::now();
    let opening = world.server.connect(now, &client, peer, name()).unwrap();
    let too_early = world.server.rebind(opening, host_addr(9));
    assert_eq!(too_early, Err(RebindError::NotEstablished));
    world.server.close(second);
    let closed = world.server.rebind(second, host_addr(9));
    assert_eq!(closed, Err(RebindError::Closed));
    world.travel(Duration::from_secs(1));
    let gone = world.server.rebind(second, host_addr(9));
    assert_eq!(gone, Err(RebindError::Closed));
}

#[test]
fn nothing_unauthenticated_moves_a_connection() {
    let mut world = connected(1);
    let handle = world.server_handle(0);
    // Its own record, brought from another address by somebody who saw it.
    world.say(0, b"seen");
    let (_, record) = take_sent(&mut world.hosts[0].endpoint).remove(0);
    let _ = world.inject(host_addr(5), &record);
    assert_eq!(world.server.handle_of(host_addr(5)), None);
    assert_eq!(read(&mut world.server, handle), None);
    assert_eq!(world.server.handle_of(host_addr(0)), Some(handle));
    world.assert_works(0);
}

#[test]
fn restart_at_the_old_address_is_left_behind_by_rebinding() {
    let mut world = connected(1);
    let handle = world.server_handle(0);
    world.restart(0);
    world.run(Duration::from_secs(5), |world| {
        world.server.stats().half_open == 1
    });
    world.server.rebind(handle, host_addr(8)).unwrap();
    // The handshake goes on as the address's only one, and replaces nobody.
    world.establish();
    world.assert_works(0);
    assert_ne!(world.server_handle(0), handle);
    assert!(world.server.connection(handle).unwrap().is_established());
    assert_eq!(world.close_reason(handle), None);
}

#[test]
fn foreign_datagrams_are_handed_out_when_asked_for_and_dropped_else() {
    let mut world = World::new(EndpointConfig::new().hand_out_foreign(true));
    world.hosts(1);
    world.establish();
    let mut other = connected(1);
    let (mut foreign, mut ours) = (0, 0);
    for first in 0..=255_u8 {
        let datagram = [first, 1, 2, 3, 4, 5, 6, 7, 8, 9];
        // Of a known peer, and of anybody.
        for from in [host_addr(0), host_addr(77)] {
            let handled = world.inject(from, &datagram);
            let is_dtls = (20..=63).contains(&first);
            assert_eq!(handled == Handled::Consumed, is_dtls, "{first}");
            foreign += u64::from(!is_dtls);
            ours += u64::from(is_dtls);
            assert_eq!(other.inject(from, &datagram), Handled::Consumed);
        }
    }
    assert_eq!(world.inject(host_addr(0), &[]), Handled::Consumed);
    let stats = world.server.stats();
    assert_eq!(stats.foreign_datagrams, foreign);
    assert_eq!(stats.drops.total(), ours + 1);
    assert_eq!(stats.drops.count(DropReason::EmptyDatagram), 1);
    let stats = other.server.stats();
    assert_eq!(stats.foreign_datagrams, foreign);
    assert_eq!(stats.drops.total(), foreign + ours);
    world.assert_works(0);
    other.assert_works(0);
}

#[test]
fn client_and_server_share_one_socket() {
    let mut world = connected(1);
    // The server connects out as well, to another server.
    let (client, server) = psk_contexts(&TransportConfig::default());
    let mut far = Endpoint::server(EndpointConfig::new(), &server, ring()).unwrap();
    let far_addr: SocketAddr = "192.0.2.200:4433".parse().unwrap();
    let now = clock::now();
    let handle = world.server.connect(now, &client, far_addr, None).unwrap();
    let again = world.server.connect(now, &client, far_addr, None);
    assert!(matches!(again, Err(ConnectError::AddressInUse)));
    for _ in 0..4 {
        for (to, datagram) in take_sent(&mut world.server) {
            assert_eq!(to, far_addr);
            let _ = far.handle_datagram(now, server_addr(), &datagram).unwrap();
        }
        for (_, datagram) in take_sent(&mut far) {
            let _ = world.inject(far_addr, &datagram);
        }
    }
    let far_handle = far.handle_of(server_addr()).unwrap();
    world.server.send(handle, b"out").unwrap();
    for (_, datagram) in take_sent(&mut world.server) {
        let _ = far.handle_datagram(now, server_addr(), &datagram).unwrap();
    }
    assert_eq!(read(&mut far, far_handle).as_deref(), Some(&b"out"[..]));
    world.assert_works(0);
    let stats = world.server.stats();
    assert_eq!((stats.opened.completed, stats.accepted.completed), (1, 1));
    // A hello from where this endpoint is the client is not taken for a restart.
    let mut forger = Endpoint::new(EndpointConfig::new()).unwrap();
    forger.connect(now, &client, server_addr(), None).unwrap();
    for (_, hello) in take_sent(&mut forger) {
        let _ = world.inject(far_addr, &hello);
    }
    assert!(take_sent(&mut world.server).is_empty());
}

#[test]
fn endpoint_without_a_server_drops_strangers_until_one_is_set() {
    let mut world = World::new(EndpointConfig::new());
    world.server = Endpoint::new(EndpointConfig::new()).unwrap();
    assert!(matches!(
        world.server.set_context(&world.client_context),
        Err(ConfigError::NoServer)
    ));
    assert!(matches!(
        world.server.set_server(&world.client_context, ring()),
        Err(ConfigError::WrongRole { .. })
    ));
    assert!(world.server.cookie_ring().is_none());
    world.server.rotate_cookie_secret(clock::now()).unwrap();
    world.hosts(1);
    world.travel(Duration::from_millis(500));
    let stats = world.server.stats();
    assert_eq!(stats.drops.count(DropReason::UnknownPeer), 1);
    assert_eq!(stats.cookies_sent, 0);
    let (_, server) = psk_contexts(&TransportConfig::default());
    world.server.set_server(&server, ring()).unwrap();
    world.establish();
    world.assert_works(0);
    // Another server changes nothing for those who are in, and keeps the counts.
    world.server.set_server(&server, ring()).unwrap();
    world.assert_works(0);
    assert_eq!(world.server.stats().cookies_accepted, 1);
}

#[test]
fn cookie_secret_rotates_while_handshakes_are_under_way() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(5);
    // The cookies are on their way.
    world.travel(Duration::from_millis(12));
    assert_eq!(world.server.stats().cookies_sent, 5);
    world.server.rotate_cookie_secret(clock::now()).unwrap();
    world.establish();
    let stats = world.server.stats();
    assert_eq!((stats.cookies_rejected, stats.cookies_accepted), (0, 5));
    // Twice is once too often for the old ones.
    for host in 0..5 {
        world.restart(host);
    }
    world.travel(Duration::from_millis(12));
    world.server.rotate_cookie_secret(clock::now()).unwrap();
    world.server.rotate_cookie_secret(clock::now()).unwrap();
    world.travel(Duration::from_millis(100));
    let stats = world.server.stats();
    assert_eq!((stats.cookies_rejected, stats.cookies_accepted), (5, 5));
    for host in 0..5 {
        world.restart(host);
    }
    world.establish();
}

#[test]
fn cookies_rotate_by_age() {
    let mut world = World::new(EndpointConfig::new());
    let anchor = ClockAnchor::new(clock::now(), SystemTime::now());
    let short = CookieRing::random_every(Duration::from_secs(10), anchor).unwrap();
    let (_, server) = psk_contexts(&TransportConfig::default());
    world.server = Endpoint::server(EndpointConfig::new(), &server, short).unwrap();
    for number in 0..10 {
        let host = world.host(host_addr(number));
        world.connect(host);
        world.travel(Duration::from_secs(7));
    }
    world.establish();
    assert_eq!(world.server.stats().cookies_rejected, 0);
}

#[test]
fn servers_with_one_secret_take_each_others_cookies() {
    let secret = || CookieSecret::from_shared(&[42; 32]).unwrap();
    let anchor = || ClockAnchor::new(clock::now(), SystemTime::now());
    let mut world = World::new(EndpointConfig::new());
    let (_, server) = psk_contexts(&TransportConfig::default());
    let mut fleet = [(); 2].map(|()| {
        let ring = CookieRing::shared(secret(), anchor());
        Endpoint::server(EndpointConfig::new(), &server, ring).unwrap()
    });
    let host = world.host(host_addr(0));
    world.connect(host);
    let (_, hello) = take_sent(&mut world.hosts[host].endpoint).remove(0);
    let now = clock::now();
    let _ = fleet[0].handle_datagram(now, host_addr(0), &hello).unwrap();
    let (_, reply) = take_sent(&mut fleet[0]).remove(0);
    let client = &mut world.hosts[host].endpoint;
    let _ = client.handle_datagram(now, server_addr(), &reply).unwrap();
    // The balancer sends the second hello elsewhere.
    let (_, hello) = take_sent(client).remove(0);
    let _ = fleet[1].handle_datagram(now, host_addr(0), &hello).unwrap();
    assert_eq!(fleet[1].stats().accepted.begun, 1);
}

fn issue(key: &PKey<Private>) -> Context {
    let identity = certs::authority().issue(&Leaf {
        key: key.clone(),
        ..Leaf::named("localhost")
    });
    Context::server(identity).build().unwrap()
}

#[test]
fn renewed_context_serves_newcomers_and_leaves_the_rest() {
    let mut world = World::with_contexts(
        EndpointConfig::new(),
        certificate_contexts(&TransportConfig::default()),
    );
    world.hosts(1);
    world.establish();
    let renewed_key = certs::ec_key();
    world.server.set_context(&issue(&renewed_key)).unwrap();
    let late = world.host(host_addr(1));
    world.connect(late);
    world.establish();
    let shown = |world: &World, host: usize| {
        let host = &world.hosts[host];
        let connection = host.endpoint.connection(host.handle.unwrap()).unwrap();
        let info = connection.handshake_info().unwrap();
        info.peer_certificate().unwrap().public_key().unwrap()
    };
    assert!(shown(&world, 1).public_eq(&renewed_key));
    assert!(!shown(&world, 0).public_eq(&renewed_key));
    world.assert_works(0);
    world.assert_works(1);
}

#[test]
fn shutdown_says_goodbye_to_all_and_drains() {
    let mut world = connected(3);
    // One in mid-handshake, one message unread.
    let late = world.host(host_addr(3));
    world.connect(late);
    world.run(Duration::from_secs(1), |world| {
        world.server.stats().half_open == 1
    });
    world.say(0, b"unread");
    world.travel(Duration::from_millis(15));
    let handles = [0, 1, 2].map(|host| world.server_handle(host));

    world.server.shutdown(clock::now(), Duration::from_secs(5));
    assert!(!world.server.is_drained());
    assert!(matches!(
        world.server.send(handles[1], b"late"),
        Err(SendError::Closed)
    ));
    let client = world.client_context.clone();
    let out = world
        .server
        .connect(clock::now(), &client, server_addr(), None);
    assert!(matches!(out, Err(ConnectError::ShuttingDown)));
    world.drain();
    assert!(world.server.is_drained());
    for handle in handles {
        assert_eq!(world.close_reason(handle), Some(CloseReason::Local));
    }
    assert_eq!(
        read(&mut world.server, handles[0]).as_deref(),
        Some(&b"unread"[..])
    );
    world.travel(Duration::from_secs(10));
    for host in 0..3 {
        let host = &world.hosts[host];
        let told = host
            .events
            .iter()
            .any(|(_, event)| matches!(event, EndpointEvent::Closed(CloseReason::Peer)));
        assert!(told);
    }
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.half_open), (0, 0));
    assert_eq!((stats.ended.closed, stats.accepted.closed), (3, 1));
    // The late host still tries.
    assert!(stats.refused.shutting_down > 0);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn shutdown_gives_up_what_is_not_sent_in_time() {
    let mut world = connected(2);
    let handles = [0, 1].map(|host| world.server_handle(host));
    world.say(0, b"unread");
    world.travel(Duration::from_millis(15));
    for handle in handles {
        world.server.send(handle, b"never sent").unwrap();
    }
    let drain = Duration::from_secs(5);
    world.server.shutdown(clock::now(), drain);
    assert_eq!(world.server.poll_timeout(), Some(clock::now() + drain));
    later(drain);
    world.server.handle_timeout(clock::now());
    assert!(world.server.is_drained());
    assert!(world.server.poll_transmit().is_none());
    assert_eq!(read(&mut world.server, handles[0]), None);
    while world.server.poll_event().is_some() {}
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.queued_send_bytes), (0, 0));
}

#[test]
fn stale_handle_is_never_another_connection() {
    let mut world = connected(1);
    let mut old = Vec::new();
    for _ in 0..20 {
        let handle = world.server_handle(0);
        assert!(!old.contains(&handle));
        old.push(handle);
        world.server.close(handle);
        world.travel(Duration::from_secs(1));
        world.restart(0);
        world.establish();
        for &stale in &old {
            assert!(world.server.connection(stale).is_none());
            assert!(matches!(
                world.server.send(stale, b"to whom"),
                Err(SendError::Closed)
            ));
            assert_eq!(read(&mut world.server, stale), None);
            world.server.close(stale);
            world.server.forget(stale);
            world.server.refuse(stale);
            world.server.set_mtu(stale, Mtu::MIN).unwrap();
        }
        world.assert_works(0);
    }
}

#[test]
fn failed_handshake_is_told_with_its_alert_and_leaves_the_address_free() {
    let mut world = World::new(EndpointConfig::new());
    let wrong = Context::client()
        .psk(openssl_dtls::Psk::new(b"nobody", b"sixteen byte key").unwrap())
        .build()
        .unwrap();
    let right = std::mem::replace(&mut world.client_context, wrong);
    world.hosts(1);
    world.travel(Duration::from_secs(3));
    let failures = world
        .events
        .iter()
        .filter(|(_, event)| matches!(event, EndpointEvent::Failed(Error::UnknownPskIdentity(_))));
    assert_eq!(failures.count(), 1);
    let client_failed = world.hosts[0]
        .events
        .iter()
        .any(|(_, event)| matches!(event, EndpointEvent::Failed(Error::AlertReceived { .. })));
    assert!(client_failed);
    let stats = world.server.stats();
    assert_eq!((stats.accepted.failed, stats.connections), (1, 0));
    assert_eq!(world.hosts[0].endpoint.stats().opened.failed, 1);
    world.client_context = right;
    world.restart(0);
    world.establish();
    world.assert_works(0);
}

#[test]
fn refused_peer_gets_an_alert_and_its_connection_ends() {
    let mut world = connected(1);
    let handle = world.server_handle(0);
    world.server.refuse(handle);
    world.travel(Duration::from_secs(1));
    assert_eq!(world.close_reason(handle), Some(CloseReason::Local));
    let failed = world.hosts[0]
        .events
        .iter()
        .any(|(_, event)| matches!(event, EndpointEvent::Failed(Error::AlertReceived { .. })));
    assert!(failed, "{:?}", world.hosts[0].events);
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn changed_mtu_bounds_the_messages_that_fit() {
    let mut world = connected(1);
    let handle = world.server_handle(0);
    world
        .server
        .set_mtu(handle, Mtu::new(600).unwrap())
        .unwrap();
    let max = world.server.connection(handle).unwrap().data_mtu().unwrap();
    assert!(max < 600);
    world.server.send(handle, &vec![1; max]).unwrap();
    assert!(matches!(
        world.server.send(handle, &vec![1; max + 1]),
        Err(SendError::TooLarge { .. })
    ));
    let sent = take_sent(&mut world.server);
    assert!(sent[0].1.len() <= 600);
}

#[test]
fn callback_that_panics_ends_its_own_connection_only() {
    let client = |identity: &[u8]| {
        Context::client()
            .psk(openssl_dtls::Psk::new(identity, b"sixteen byte key").unwrap())
            .build()
            .unwrap()
    };
    let look_up = PskLookup::new(move |identity| {
        assert_ne!(identity, b"bomb", "as the test wants it");
        (identity == IDENTITY).then(|| PskKey::new(KEY).unwrap())
    });
    let server = Context::server(look_up).build().unwrap();
    let contexts = (client(IDENTITY), server);
    let mut world = World::with_contexts(EndpointConfig::new(), contexts);
    world.hosts(2);
    world.establish();
    let good = std::mem::replace(&mut world.client_context, client(b"bomb"));
    let bomb = world.host(host_addr(2));
    world.connect(bomb);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        world.travel(Duration::from_secs(1));
    }));
    assert!(panicked.is_err());
    // It is over at once, not when something more comes of its peer.
    world.drain();
    let stats = world.server.stats();
    assert_eq!((stats.accepted.failed, stats.half_open), (1, 0));
    let failed = world
        .events
        .iter()
        .filter(|(_, event)| matches!(event, EndpointEvent::Failed(_)));
    assert_eq!(failed.count(), 1);
    world.assert_works(0);
    world.assert_works(1);
    world.client_context = good;
    world.restart(bomb);
    world.establish();
    world.assert_works(bomb);
}

#[test]
fn peer_has_one_connection_in_either_notation_of_its_address() {
    let mut world = connected(1);
    let handle = world.server_handle(0);
    let std::net::IpAddr::V4(ip) = host_addr(0).ip() else {
        panic!("an IPv4 address");
    };
    let mapped = SocketAddr::from((ip.to_ipv6_mapped(), host_addr(0).port()));
    assert_eq!(world.server.handle_of(mapped), Some(handle));
    world.say(0, b"by another name");
    let (_, record) = take_sent(&mut world.hosts[0].endpoint).remove(0);
    let _ = world.inject(mapped, &record);
    assert_eq!(
        read(&mut world.server, handle).as_deref(),
        Some(&b"by another name"[..])
    );
}

#[test]
fn saved_session_resumes_through_an_endpoint() {
    let mut world = World::with_contexts(
        EndpointConfig::new(),
        certificate_contexts(&TransportConfig::default()),
    );
    world.hosts(1);
    world.establish();
    world.assert_works(0);
    let host = &mut world.hosts[0];
    let handle = host.handle.unwrap();
    let saved = host.endpoint.connection(handle).unwrap().saved_session();
    let saved = saved.expect("the server gives tickets");
    host.endpoint.close(handle);
    world.travel(Duration::from_secs(1));
    let (client, now) = (world.client_context.clone(), clock::now());
    let host = &mut world.hosts[0];
    let handle = host
        .endpoint
        .connect_resuming(now, &client, server_addr(), name(), &saved)
        .unwrap();
    host.handle = Some(handle);
    world.establish();
    let server = world.server.connection(world.server_handle(0)).unwrap();
    assert!(server.handshake_info().unwrap().is_resumed());
    let other_name = Some(openssl_dtls::ServerName::try_from("127.0.0.1").unwrap());
    let host = &mut world.hosts[0];
    let to: SocketAddr = "192.0.2.77:1".parse().unwrap();
    let refused = host
        .endpoint
        .connect_resuming(now, &client, to, other_name, &saved);
    assert!(matches!(
        refused,
        Err(ConnectError::Config(ConfigError::SessionMismatch { .. }))
    ));
    assert_eq!(host.endpoint.stats().connections, 1);
}
