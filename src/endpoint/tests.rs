//! Any order of calls is legal: random verbs, with the books checked after each.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::{ClockAnchor, Psk, PskLookup, SendError};

const ENDPOINTS: usize = 6;
const VERBS: usize = 3000;

struct Node {
    endpoint: Endpoint,
    addr: SocketAddr,
    /// Every handle it ever had.
    handles: Vec<ConnectionHandle>,
    /// Those whose end was told.
    over: Vec<ConnectionHandle>,
}

struct Net {
    random: fastrand::Rng,
    now: Instant,
    contexts: (Context, Context),
    nodes: Vec<Node>,
    in_flight: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    connected: usize,
    replaced: usize,
}

/// In three networks, with a second address for each.
fn addr(number: usize) -> SocketAddr {
    let number = u8::try_from(number).unwrap();
    SocketAddr::from(([10, 0, number % 3, number], 4000))
}

fn small() -> EndpointConfig {
    EndpointConfig::new()
        .max_connections(5)
        .max_half_open(3)
        .max_half_open_per_prefix(2)
        .idle_timeout(Some(Duration::from_secs(40)))
        .client_idle_timeout(Some(Duration::from_secs(60)))
        .max_send_bytes(64 * 1024)
        .max_receive_bytes(64 * 1024)
        .max_replies(3)
        .hand_out_foreign(true)
}

impl Net {
    fn new(seed: u64) -> Net {
        let psk = || Psk::new(b"sensor", b"0123456789abcdef").unwrap();
        let client = Context::client().psk(psk()).build().unwrap();
        let server = Context::server(PskLookup::single(psk())).build().unwrap();
        let mut net = Net {
            random: fastrand::Rng::with_seed(seed),
            now: Instant::now(),
            contexts: (client, server),
            nodes: Vec::new(),
            in_flight: Vec::new(),
            connected: 0,
            replaced: 0,
        };
        for number in 0..ENDPOINTS {
            let endpoint = net.endpoint();
            net.nodes.push(Node {
                endpoint,
                addr: addr(number),
                handles: Vec::new(),
                over: Vec::new(),
            });
        }
        net
    }

    fn endpoint(&self) -> Endpoint {
        let ring = CookieRing::random(ClockAnchor::new(self.now, SystemTime::now())).unwrap();
        Endpoint::server(small(), &self.contexts.1, ring).unwrap()
    }

    fn verb(&mut self) {
        let now = self.now;
        let number = self.random.usize(..self.nodes.len());
        let other = addr(self.random.usize(..2 * ENDPOINTS));
        let random = &mut self.random;
        let node = &mut self.nodes[number];
        let endpoint = &mut node.endpoint;
        let some_handle = random.choice(&node.handles).copied();
        match (random.u8(..100), some_handle) {
            (0..5, _) => {
                let to = addr(random.usize(..ENDPOINTS));
                if let Ok(handle) = endpoint.connect(now, &self.contexts.0, to, None) {
                    assert_eq!(endpoint.handle_of(to), Some(handle));
                    node.handles.push(handle);
                }
            }
            (5..40, _) => self.deliver(),
            (40..58, _) => self.transmit(number),
            (58..68, _) => self.take_events(number),
            (68..80, Some(handle)) => {
                let message = vec![7; random.usize(1..1100)];
                let times = if random.u8(..10) == 0 { 80 } else { 1 };
                for _ in 0..times {
                    let sent = endpoint.send(handle, &message);
                    if node.over.contains(&handle) {
                        assert!(matches!(sent, Err(SendError::Closed)));
                    }
                }
            }
            (80..87, Some(handle)) => {
                let mut buffer = vec![0; random.usize(..2000)];
                let _ = endpoint.recv(handle, &mut buffer);
            }
            (87, Some(handle)) => endpoint.close(handle),
            (88, Some(handle)) => endpoint.forget(handle),
            (89, Some(handle)) => {
                let free = endpoint.handle_of(other).is_none();
                if endpoint.rebind(handle, other).is_ok() {
                    assert!(free || endpoint.handle_of(other) == Some(handle));
                }
            }
            (90, _) => endpoint.rotate_cookie_secret(now).unwrap(),
            (91, _) => endpoint.set_context(&self.contexts.1).unwrap(),
            (92, _) if random.u8(..4) == 0 => {
                endpoint.shutdown(now, Duration::from_millis(random.u64(..5000)));
            }
            (93, _) => {
                let ended = endpoint.is_shutting_down;
                if ended || random.u8(..8) == 0 {
                    let fresh = self.endpoint();
                    let node = &mut self.nodes[number];
                    node.endpoint = fresh;
                    node.handles.clear();
                    node.over.clear();
                }
            }
            (94, _) => {
                let length = random.usize(..60);
                let mut junk: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
                    .take(length)
                    .collect();
                if let Some(first) = junk.first_mut() {
                    *first %= 80;
                }
                let handled = endpoint.handle_datagram(now, other, &junk).unwrap();
                let foreign = junk.first().is_some_and(|first| !(20..64).contains(first));
                assert_eq!(handled == Handled::Foreign, foreign);
            }
            (95.., _) => {
                let step = if random.u8(..4) == 0 { 30_000 } else { 400 };
                self.now += Duration::from_millis(random.u64(..step));
                endpoint.handle_timeout(self.now);
                assert!(endpoint.poll_timeout().is_none_or(|at| at > self.now));
            }
            _ => {}
        }
        self.nodes[number].endpoint.check();
    }

    /// Brings one of the datagrams under way to its node: any, whole or spoiled, once or again.
    fn deliver(&mut self) {
        let random = &mut self.random;
        if self.in_flight.is_empty() {
            return;
        }
        // Mostly in order, or nothing would ever be established.
        let late = random.u8(..6) == 0;
        let index = if late {
            random.usize(..self.in_flight.len())
        } else {
            0
        };
        let (from, to, mut datagram) = self.in_flight[index].clone();
        match random.u8(..40) {
            0 => datagram.truncate(random.usize(..datagram.len())),
            1 => {
                let at = random.usize(..datagram.len());
                datagram[at] ^= 1 << random.u8(..8);
            }
            2 => {}
            _ => drop(self.in_flight.remove(index)),
        }
        if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == to) {
            let handled = node.endpoint.handle_datagram(self.now, from, &datagram);
            let _ = handled.unwrap();
            node.endpoint.check();
        }
    }

    fn transmit(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        for _ in 0..self.random.usize(1..8) {
            let Some(transmit) = node.endpoint.poll_transmit_batch(self.random.usize(1..5)) else {
                break;
            };
            for datagram in transmit.datagrams() {
                let to = transmit.path.peer;
                self.in_flight.push((node.addr, to, datagram.to_vec()));
            }
        }
        while self.in_flight.len() > 60 {
            let lost = self.random.usize(..self.in_flight.len());
            self.in_flight.remove(lost);
        }
    }

    fn take_events(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        for _ in 0..self.random.usize(1..6) {
            let Some((handle, event)) = node.endpoint.poll_event() else {
                break;
            };
            assert!(!node.over.contains(&handle), "{event:?} after the end");
            match event {
                EndpointEvent::Connected => {
                    self.connected += 1;
                    if !node.handles.contains(&handle) {
                        node.handles.push(handle);
                    }
                }
                EndpointEvent::Closed(reason) => {
                    self.replaced += usize::from(reason == CloseReason::Replaced);
                    node.over.push(handle);
                }
                EndpointEvent::Failed(_) => node.over.push(handle),
                EndpointEvent::Readable | EndpointEvent::MtuChanged(_) => {}
            }
        }
    }
}

#[test]
fn any_order_of_calls_keeps_the_books() {
    let (mut connected, mut replaced) = (0, 0);
    for seed in 0..16 {
        let mut net = Net::new(seed);
        for _ in 0..VERBS {
            net.verb();
        }
        connected += net.connected;
        replaced += net.replaced;
        // At the end everything can be taken down to nothing.
        for number in 0..ENDPOINTS {
            let node = &mut net.nodes[number];
            node.endpoint.shutdown(net.now, Duration::from_secs(1));
            while node.endpoint.poll_transmit().is_some() {}
            assert!(node.endpoint.is_drained(), "seed {seed}");
            node.endpoint
                .handle_timeout(net.now + Duration::from_secs(2));
            while node.endpoint.poll_event().is_some() {}
            assert_eq!(node.endpoint.poll_timeout(), None);
            let stats = node.endpoint.stats();
            assert_eq!(stats.connections, 0, "seed {seed}");
            assert_eq!(stats.queued_send_bytes + stats.queued_receive_bytes, 0);
            node.endpoint.check();
        }
    }
    // The run was worth something.
    assert!(connected > 200, "{connected}");
    assert!(replaced > 5, "{replaced}");
}

#[test]
fn what_is_gone_leaves_nothing_in_the_rows() {
    let mut net = Net::new(0);
    let now = net.now;
    let endpoint = &mut net.nodes[0].endpoint;
    for port in 1..2000 {
        // Nobody takes its datagrams or its events.
        let to = SocketAddr::from(([10, 0, 0, 9], port));
        let handle = endpoint.connect(now, &net.contexts.0, to, None).unwrap();
        endpoint.close(handle);
        endpoint.forget(handle);
        endpoint.check();
    }
    assert!(endpoint.connections().count() <= 1);
}

#[test]
fn timers_of_established_connections_are_looked_at_when_the_first_has_passed() {
    let mut net = Net::new(0);
    let (a, b) = (addr(0), addr(1));
    let handle = net.nodes[0]
        .endpoint
        .connect(net.now, &net.contexts.0, b, None)
        .unwrap();
    for _ in 0..4 {
        for (from, to) in [(0, 1), (1, 0)] {
            while let Some(transmit) = net.nodes[from].endpoint.poll_transmit() {
                let datagram = transmit.contents.to_vec();
                let endpoint = &mut net.nodes[to].endpoint;
                let handled = endpoint.handle_datagram(net.now, [a, b][from], &datagram);
                assert_eq!(handled.unwrap(), Handled::Consumed);
            }
        }
    }
    let begun = net.now;
    let mut wakes = 0;
    for _ in 0..100 {
        net.now += Duration::from_millis(100);
        net.nodes[0].endpoint.send(handle, b"tick").unwrap();
        let transmit = net.nodes[0].endpoint.poll_transmit().unwrap();
        let datagram = transmit.contents.to_vec();
        let endpoint = &mut net.nodes[1].endpoint;
        let handled = endpoint.handle_datagram(net.now, a, &datagram);
        assert_eq!(handled.unwrap(), Handled::Consumed);
        if endpoint.poll_timeout().is_some_and(|at| at <= net.now) {
            endpoint.handle_timeout(net.now);
            wakes += 1;
        }
        endpoint.check();
    }
    assert!((1..=3).contains(&wakes), "{wakes}");
    let endpoint = &net.nodes[1].endpoint;
    assert!(endpoint.poll_timeout().is_some_and(|at| at > begun));
}
