//! Each limit, what happens at it, and that it is counted.

use std::net::SocketAddr;
use std::time::Duration;

use openssl_dtls::{
    CloseReason, ConnectError, DropReason, EndpointConfig, EndpointEvent, Error, SendError,
    TransportConfig,
};

use super::world::{World, host_addr, name, read};
use crate::support::pair::server_addr;
use crate::support::{clock, psk_contexts};

impl World {
    /// Adds a host that returns its cookie and is silent from then on.
    fn silent_host(&mut self, addr: SocketAddr) -> usize {
        let begun = self.server.stats().accepted.begun;
        let host = self.host(addr);
        self.connect(host);
        self.run(Duration::from_secs(5), |world| {
            let stats = world.server.stats();
            stats.accepted.begun + stats.refused.no_room > begun
        });
        self.hosts[host].up.settings.loss = 1.0;
        // What it sent before is lost as well.
        self.travel(Duration::from_millis(20));
        host
    }

    fn count_events(&self, wanted: impl Fn(&EndpointEvent) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(_, event)| wanted(event))
            .count()
    }
}

fn evicted(event: &EndpointEvent) -> bool {
    matches!(event, EndpointEvent::Closed(CloseReason::Evicted))
}

#[test]
fn established_connections_never_go_for_a_newcomer() {
    let mut world = World::new(EndpointConfig::new().max_connections(3));
    world.hosts(3);
    world.establish();
    let late = world.host(host_addr(3));
    world.connect(late);
    world.travel(Duration::from_secs(2));
    assert!(!world.is_established(late));
    for host in 0..3 {
        world.assert_works(host);
    }
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.accepted.begun), (3, 3));
    assert!(stats.refused.no_room > 0);
    // It cannot connect out either.
    let client = world.client_context.clone();
    let to = "192.0.2.99:4433".parse::<SocketAddr>().unwrap();
    let refused = world.server.connect(clock::now(), &client, to, name());
    assert!(matches!(refused, Err(ConnectError::NoRoom)));
    // One goes, and the newcomer's next try succeeds.
    let gone = world.server_handle(0);
    world.server.close(gone);
    world.run(Duration::from_secs(30), |world| world.is_established(late));
    world.assert_works(late);
}

#[test]
fn newcomer_takes_the_place_of_the_oldest_handshake_when_there_is_no_other() {
    let mut world = World::new(EndpointConfig::new().max_connections(3));
    world.hosts(1);
    world.establish();
    for number in 1..3 {
        world.silent_host(host_addr(number));
    }
    assert_eq!(world.server.stats().half_open, 2);
    let oldest = world.server_handle(1);
    let late = world.host(host_addr(3));
    world.connect(late);
    assert!(world.run(Duration::from_secs(5), |world| world.is_established(late)));
    assert_eq!(world.close_reason(oldest), Some(CloseReason::Evicted));
    assert_eq!(world.count_events(evicted), 1);
    let stats = world.server.stats();
    assert_eq!((stats.accepted.evicted, stats.refused.no_room), (1, 0));
    world.assert_works(0);
}

#[test]
fn newcomer_takes_the_place_of_an_ended_connection_first() {
    let mut world = World::new(EndpointConfig::new().max_connections(2));
    world.hosts(2);
    world.establish();
    let ended = world.server_handle(0);
    world.say(0, b"never read");
    world.travel(Duration::from_millis(50));
    world.server.close(ended);
    world.travel(Duration::from_millis(50));
    assert!(world.server.connection(ended).is_some());
    let late = world.host(host_addr(3));
    world.connect(late);
    assert!(world.run(Duration::from_secs(5), |world| world.is_established(late)));
    assert!(world.server.connection(ended).is_none());
    assert_eq!(read(&mut world.server, ended), None);
    assert_eq!(world.server.stats().connections, 2);
}

#[test]
fn too_many_handshakes_drop_the_oldest() {
    let mut world = World::new(EndpointConfig::new().max_half_open(4));
    for number in 0..10 {
        world.silent_host(host_addr(number));
    }
    let stats = world.server.stats();
    assert_eq!((stats.half_open, stats.connections), (4, 4));
    assert_eq!(stats.accepted.evicted, 6);
    assert_eq!(world.count_events(evicted), 6);
    for number in 0..6 {
        assert_eq!(world.server.handle_of(host_addr(number)), None);
    }
    // An honest one gets through.
    let honest = world.host(host_addr(20));
    world.connect(honest);
    assert!(world.run(Duration::from_secs(5), |world| world.is_established(honest)));
}

#[test]
fn one_network_can_only_push_out_its_own_handshakes() {
    let config = || EndpointConfig::new().max_half_open_per_prefix(2);
    for (config, own, same, other) in [
        (config(), "10.0.0.1:1", "10.0.0.9:1", "10.0.1.1:1"),
        (
            config().source_prefixes(32, 56),
            "10.0.0.1:1",
            "10.0.0.1:9",
            "10.0.0.2:1",
        ),
        (
            config(),
            "[2001:db8:0:1::1]:1",
            "[2001:db8:0:2::1]:1",
            "[2001:db8:0:100::1]:1",
        ),
        (
            config().source_prefixes(24, 64),
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "[2001:db8:0:1::1]:1",
        ),
    ] {
        let mut world = World::new(config);
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        world.silent_host(addr(other));
        world.silent_host(addr(own));
        for port in 100..105 {
            let mut addr = addr(same);
            addr.set_port(port);
            world.silent_host(addr);
        }
        let stats = world.server.stats();
        assert_eq!(stats.half_open, 3, "{own}");
        assert_eq!(stats.accepted.evicted, 4, "{own}");
        assert!(world.server.handle_of(addr(other)).is_some(), "{own}");
        assert!(world.server.handle_of(addr(own)).is_none(), "{own}");
    }
}

#[test]
fn handshake_that_stalls_ends_in_time_and_frees_its_address() {
    let timeout = Duration::from_secs(7);
    let mut world = World::new(EndpointConfig::new().handshake_timeout(timeout));
    let silent = world.silent_host(host_addr(0));
    let handle = world.server_handle(silent);
    world.travel(timeout);
    let failed = world.events.iter().any(|(of, event)| {
        *of == handle && matches!(event, EndpointEvent::Failed(Error::HandshakeTimeout))
    });
    assert!(failed);
    let stats = world.server.stats();
    assert_eq!((stats.accepted.timed_out, stats.half_open), (1, 0));
    assert_eq!(stats.connections, 0);
    assert_eq!(world.server.handle_of(host_addr(0)), None);
    assert_eq!(world.server.poll_timeout(), None);
    world.hosts[silent].up.settings.loss = 0.0;
    world.restart(silent);
    world.establish();
}

#[test]
fn idle_connection_is_closed_and_a_used_one_is_not() {
    let idle = Duration::from_secs(60);
    let config = EndpointConfig::new().idle_timeout(Some(idle));
    let mut world = World::new(config);
    world.hosts(2);
    world.establish();
    let (quiet, used) = (world.server_handle(0), world.server_handle(1));
    for _ in 0..4 {
        world.travel(Duration::from_secs(25));
        world.say(1, b"still here");
        // What the server says does not keep a peer alive that may be gone.
        if world.server.connection(quiet).is_some() {
            let _ = world.server.send(quiet, b"hello?");
        }
    }
    assert_eq!(world.close_reason(quiet), Some(CloseReason::IdleTimeout));
    assert_eq!(world.close_reason(used), None);
    assert_eq!(world.server.stats().ended.idle, 1);
    // The peer was told.
    let client = world.hosts[0].handle.unwrap();
    let told = world.hosts[0].events.iter().any(|(of, event)| {
        *of == client && matches!(event, EndpointEvent::Closed(CloseReason::Peer))
    });
    assert!(told);
    world.travel(Duration::from_secs(1));
    while read(&mut world.server, used).is_some() {}
    world.assert_works(1);
}

#[test]
fn forged_datagrams_do_not_keep_a_connection_alive() {
    let config = EndpointConfig::new().idle_timeout(Some(Duration::from_secs(60)));
    let mut world = World::new(config);
    world.hosts(1);
    world.establish();
    let handle = world.server_handle(0);
    for number in 0..7 {
        world.travel(Duration::from_secs(10));
        let junk = crate::support::record(23, 1, 1000 + number, &[9; 80]);
        let _ = world.inject(host_addr(0), &junk);
    }
    assert_eq!(world.close_reason(handle), Some(CloseReason::IdleTimeout));
}

#[test]
fn clients_have_no_idle_timeout_unless_told() {
    let mut world = World::new(EndpointConfig::new().idle_timeout(None));
    world.hosts(2);
    let config = EndpointConfig::new().client_idle_timeout(Some(Duration::from_secs(30)));
    world.hosts[1].endpoint = openssl_dtls::Endpoint::new(config).unwrap();
    world.connect(1);
    world.establish();
    let closing = world.server_handle(1);
    world.travel(Duration::from_secs(3600));
    world.assert_works(0);
    assert_eq!(world.close_reason(closing), Some(CloseReason::Peer));
    assert_eq!(world.hosts[1].endpoint.stats().ended.idle, 1);
}

#[test]
fn bytes_that_wait_to_be_sent_are_bounded_in_all() {
    const MAX: usize = 64 * 1024;
    let mut world = World::new(EndpointConfig::new().max_send_bytes(MAX));
    world.hosts(3);
    world.establish();
    let handles = [0, 1, 2].map(|host| world.server_handle(host));
    let mut taken = 0;
    let mut full = [false; 3];
    for round in 0..300 {
        let turn = round % 3;
        match world.server.send(handles[turn], &[7; 1000]) {
            Ok(()) => taken += 1,
            Err(SendError::Full) => full[turn] = true,
            Err(error) => panic!("{error}"),
        }
        assert!(world.server.stats().queued_send_bytes <= MAX);
    }
    assert_eq!(full, [true; 3]);
    assert!((50..=64).contains(&taken), "{taken}");
    // Newcomers wait as well: their flights would not fit.
    let late = world.host(host_addr(9));
    world.connect(late);
    for (from, hello) in super::world::take_sent(&mut world.hosts[late].endpoint) {
        assert_eq!(from, server_addr());
        let _ = world.inject(host_addr(9), &hello);
    }
    // Once they are sent there is room again.
    world.drain();
    assert_eq!(world.server.stats().queued_send_bytes, 0);
    for handle in handles {
        world.server.send(handle, &[7; 1000]).unwrap();
    }
    world.establish();
}

#[test]
fn peer_that_is_never_read_costs_no_more_than_its_share() {
    const MAX: usize = 64 * 1024;
    let transport = TransportConfig::default().receive_queue(24 * 1024);
    let config = EndpointConfig::new().max_receive_bytes(MAX);
    let mut world = World::with_contexts(config, psk_contexts(&transport));
    world.hosts(4);
    world.establish();
    let handles = [0, 1, 2, 3].map(|host| world.server_handle(host));
    for _ in 0..100 {
        for host in 0..4 {
            world.say(host, &[host as u8; 1000]);
        }
        world.travel(Duration::from_millis(20));
        assert!(world.server.stats().queued_receive_bytes <= MAX);
    }
    // Each has its own limit, and all together have theirs.
    let stats = world.server.stats();
    assert!(stats.queued_receive_bytes > MAX - 1000);
    let dropped = stats.drops.count(DropReason::ReceiveQueueFull);
    assert_eq!(stats.messages_received + dropped, 400);
    let mut counts = [0; 4];
    for (host, handle) in handles.into_iter().enumerate() {
        while let Some(message) = read(&mut world.server, handle) {
            assert_eq!(message, [host as u8; 1000]);
            counts[host] += 1;
        }
        assert!(counts[host] <= 24, "{counts:?}");
    }
    assert_eq!(counts.iter().sum::<u64>(), stats.messages_received);
    assert_eq!(world.server.stats().queued_receive_bytes, 0);
    for host in 0..4 {
        world.assert_works(host);
    }
}

#[test]
fn what_an_ended_connection_left_is_gone_after_a_while() {
    let config = EndpointConfig::new().linger(Duration::from_secs(10));
    let mut world = World::new(config);
    world.hosts(2);
    world.establish();
    let handles = [world.server_handle(0), world.server_handle(1)];
    for host in 0..2 {
        world.say(host, b"unread");
        world.say(host, b"too");
    }
    world.travel(Duration::from_millis(50));
    for handle in handles {
        world.server.close(handle);
    }
    world.travel(Duration::from_secs(9));
    assert_eq!(
        read(&mut world.server, handles[0]).as_deref(),
        Some(&b"unread"[..])
    );
    // One is forgotten by word, the other by time.
    world.server.forget(handles[1]);
    assert_eq!(read(&mut world.server, handles[1]), None);
    assert!(world.server.connection(handles[1]).is_none());
    world.travel(Duration::from_secs(2));
    assert_eq!(read(&mut world.server, handles[0]), None);
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.queued_receive_bytes), (0, 0));
}

#[test]
fn connections_whose_end_nobody_takes_are_bounded_too() {
    let mut world = World::new(EndpointConfig::new().max_connections(3));
    world.hosts(3);
    world.establish();
    // From here on the program takes no events.
    for host in 0..3 {
        let handle = world.server_handle(host);
        world.server.close(handle);
    }
    while world.server.poll_transmit().is_some() {}
    let client = world.client_context.clone();
    let refused = world
        .server
        .connect(clock::now(), &client, server_addr(), name());
    assert!(matches!(refused, Err(ConnectError::NoRoom)));
    let mut told = 0;
    while let Some((_, event)) = world.server.poll_event() {
        told += usize::from(matches!(event, EndpointEvent::Closed(CloseReason::Local)));
    }
    assert_eq!(told, 3);
    world
        .server
        .connect(clock::now(), &client, server_addr(), name())
        .unwrap();
    assert_eq!(world.server.stats().connections, 1);
}
