//! Floods at the front door: nothing grows, and an honest client is served during each and after it.

use std::net::SocketAddr;
use std::time::Duration;

use openssl_dtls::{DropReason, Endpoint, EndpointConfig};

use super::world::{World, host_addr, later, name, take_sent};
use crate::support::clock;
use crate::support::pair::server_addr;

/// An address with one of 65,535 ports.
fn source(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], port))
}

/// The hello of a new client, and the client.
fn first_hello(world: &World) -> (Endpoint, Vec<u8>) {
    let mut client = Endpoint::new(EndpointConfig::new()).unwrap();
    client
        .connect(clock::now(), &world.client_context, server_addr(), name())
        .unwrap();
    let hello = take_sent(&mut client).remove(0).1;
    (client, hello)
}

/// The hello of a new client at `addr` with the cookie it was given.
fn hello_with_cookie(world: &mut World, addr: SocketAddr) -> Vec<u8> {
    let (mut client, hello) = first_hello(world);
    let _ = world.inject(addr, &hello);
    let mut replies = take_sent(&mut world.server);
    replies.retain(|(to, _)| *to == addr);
    let _ = client.handle_datagram(clock::now(), server_addr(), &replies[0].1);
    take_sent(&mut client).remove(0).1
}

/// Where the cookie of a hello begins: behind headers, version, random and an empty session id.
const COOKIE_AT: usize = 13 + 12 + 2 + 32 + 1 + 1;

/// Sends `datagram` from every port, while an honest client connects; answers what the server sent to those ports, in bytes.
fn flood(world: &mut World, mut datagram: impl FnMut(u16) -> Vec<u8>) -> (usize, usize) {
    let honest = world.host(host_addr(world.hosts.len()));
    world.connect(honest);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for port in 1..=u16::MAX {
        let datagram = datagram(port);
        bytes_in += datagram.len();
        let _ = world.inject(source(port), &datagram);
        if port % 200 == 0 {
            world.travel(Duration::from_millis(1));
            bytes_out += world
                .strays
                .drain(..)
                .map(|(_, sent)| sent.len())
                .sum::<usize>();
        }
    }
    world.drain();
    bytes_out += world
        .strays
        .drain(..)
        .map(|(_, sent)| sent.len())
        .sum::<usize>();
    assert!(world.is_established(honest), "{:?}", world.server.stats());
    world.assert_works(honest);
    (bytes_in, bytes_out)
}

#[test]
fn hellos_from_every_port_make_no_connection_and_are_never_answered_with_more() {
    let mut world = World::new(EndpointConfig::new());
    let (_, hello) = first_hello(&world);
    let (bytes_in, bytes_out) = flood(&mut world, |_| hello.clone());
    assert!(bytes_out > 0 && bytes_out <= bytes_in);
    let stats = world.server.stats();
    assert_eq!(stats.cookies_sent, 65_535 + 1);
    assert_eq!((stats.accepted.begun, stats.connections), (1, 1));
    assert_eq!(stats.replies_dropped, 0);
}

#[test]
fn replies_that_nobody_takes_are_bounded_and_counted() {
    let mut world = World::new(EndpointConfig::new().max_replies(100));
    let (_, hello) = first_hello(&world);
    for port in 1..=1000 {
        let _ = world.inject(source(port), &hello);
    }
    let stats = world.server.stats();
    assert_eq!((stats.queued_replies, stats.replies_dropped), (100, 900));
    assert_eq!(take_sent(&mut world.server).len(), 100);
}

#[test]
fn garbage_from_every_port_is_dropped() {
    let mut world = World::new(EndpointConfig::new());
    let (_, hello) = first_hello(&world);
    let mut random = fastrand::Rng::with_seed(1);
    let (_, bytes_out) = flood(&mut world, |port| match port % 4 {
        // A hello spoiled in its headers, a short one, noise that looks like a record, noise.
        0 => {
            let mut hello = hello.clone();
            hello[random.usize(..25)] ^= 0x55;
            hello
        }
        1 => hello[..random.usize(..50)].to_vec(),
        2 => crate::support::record(random.u8(20..24), 0, 0, &[random.u8(..); 30]),
        _ => {
            let length = random.usize(..100);
            std::iter::repeat_with(|| random.u8(..))
                .take(length)
                .collect()
        }
    });
    let stats = world.server.stats();
    assert_eq!((stats.accepted.begun, stats.connections), (1, 1));
    assert!(stats.drops.total() > 50_000);
    // Some spoiled hellos are hellos all the same.
    assert!(bytes_out < 65_535 * 60 / 4);
}

#[test]
fn hellos_with_wrong_cookies_make_no_connection() {
    let mut world = World::new(EndpointConfig::new());
    let good = hello_with_cookie(&mut world, source(1));
    let mut random = fastrand::Rng::with_seed(2);
    let (bytes_in, bytes_out) = flood(&mut world, |port| {
        let mut hello = good.clone();
        // From any port but the first even the good one is wrong.
        if port == 1 || port % 2 == 0 {
            hello[COOKIE_AT + random.usize(..20)] ^= 1 << random.u8(..8);
        }
        hello
    });
    assert!(bytes_out <= bytes_in);
    let stats = world.server.stats();
    assert_eq!(stats.cookies_rejected, 65_535);
    assert_eq!(stats.drops.count(DropReason::BadCookie), 65_535);
    assert_eq!((stats.accepted.begun, stats.connections), (1, 1));
}

#[test]
fn expired_cookie_is_answered_with_a_new_one() {
    let mut world = World::new(EndpointConfig::new());
    let hello = hello_with_cookie(&mut world, source(1));
    later(Duration::from_secs(180));
    let _ = world.inject(source(1), &hello);
    let stats = world.server.stats();
    assert_eq!((stats.cookies_rejected, stats.connections), (1, 0));
    assert_eq!((stats.cookies_sent, stats.queued_replies), (2, 1));
}

#[test]
fn replayed_cookie_costs_one_handshake_at_most() {
    let mut world = World::new(EndpointConfig::new());
    let hello = hello_with_cookie(&mut world, source(1));
    for _ in 0..1000 {
        let _ = world.inject(source(1), &hello);
    }
    let stats = world.server.stats();
    assert_eq!((stats.accepted.begun, stats.half_open), (1, 1));
    // After that handshake is over the cookie may still be good, and costs another one; never two at once.
    later(Duration::from_secs(60));
    world.server.handle_timeout(clock::now());
    for _ in 0..1000 {
        let _ = world.inject(source(1), &hello);
    }
    assert!(world.server.stats().half_open <= 1);
    assert!(world.server.stats().accepted.begun <= 2);
}

#[test]
fn silent_clients_that_returned_their_cookies_do_not_lock_others_out() {
    let config = EndpointConfig::new()
        .max_half_open(200)
        .max_half_open_per_prefix(50);
    let mut world = World::new(config);
    for number in 0..1000_u16 {
        // From many networks, and many from one.
        let [high, low] = (if number % 2 == 0 { number } else { 0 }).to_be_bytes();
        let addr = SocketAddr::from(([100, high, low, 1], 1000 + number));
        let hello = hello_with_cookie(&mut world, addr);
        let _ = world.inject(addr, &hello);
        if number % 250 == 249 {
            let honest = world.host(host_addr(world.hosts.len()));
            world.connect(honest);
            assert!(world.run(Duration::from_secs(1), |world| world.is_established(honest)));
            world.assert_works(honest);
        }
    }
    world.strays.clear();
    let stats = world.server.stats();
    assert!(stats.half_open <= 200, "{stats:?}");
    assert_eq!(stats.accepted.begun, 1004);
    assert_eq!(stats.accepted.completed, 4);
    // In time they are all gone.
    world.travel(Duration::from_secs(61));
    let stats = world.server.stats();
    assert_eq!((stats.half_open, stats.connections), (0, 4));
    assert_eq!(
        stats.accepted.begun,
        stats.accepted.completed + stats.accepted.evicted + stats.accepted.timed_out
    );
}

#[test]
fn a_flood_at_one_connection_does_not_keep_others_from_sending() {
    let mut world = World::new(EndpointConfig::new());
    world.hosts(3);
    world.establish();
    let handles = [0, 1, 2].map(|host| world.server_handle(host));
    for _ in 0..50 {
        world.server.send(handles[0], b"talkative").unwrap();
    }
    for handle in [handles[1], handles[2]] {
        world.server.send(handle, b"quiet").unwrap();
    }
    let (_, hello) = first_hello(&world);
    for port in 1..=50 {
        let _ = world.inject(source(port), &hello);
    }
    // Replies and connections take turns, and so do connections.
    let first: Vec<_> = take_sent(&mut world.server)
        .into_iter()
        .map(|(to, _)| to)
        .take(8)
        .collect();
    for host in 0..3 {
        assert!(first.contains(&host_addr(host)), "{first:?}");
    }
    assert!(first.iter().filter(|to| to.ip() == source(1).ip()).count() >= 3);
}

#[test]
fn events_of_evicted_handshakes_are_bounded_and_counted() {
    let config = EndpointConfig::new().max_half_open(1);
    let mut world = World::new(config);
    for port in 1..=1200 {
        let hello = hello_with_cookie(&mut world, source(port));
        let _ = world.inject(source(port), &hello);
    }
    let stats = world.server.stats();
    assert_eq!((stats.half_open, stats.connections), (1, 1));
    assert_eq!(stats.accepted.evicted, 1199);
    let mut told = 0;
    while world.server.poll_event().is_some() {
        told += 1;
    }
    assert_eq!(told + stats.events_dropped, 1199);
    assert!(stats.events_dropped > 0);
}
