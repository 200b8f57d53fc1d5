//! A server and many hosts, each an endpoint, with a network between them.

#![allow(
    unreachable_pub,
    reason = "shared by the modules beside it, as the support module is"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, CloseReason, ConnectionHandle, Context, CookieRing, Endpoint, EndpointConfig,
    EndpointEvent, Handled, ServerName, TransportConfig,
};

use crate::support::pair::server_addr;
use crate::support::{Link, Settings, clock, psk_contexts};

/// A machine with one socket.
pub struct Host {
    pub addr: SocketAddr,
    pub endpoint: Endpoint,
    pub handle: Option<ConnectionHandle>,
    pub events: Vec<(ConnectionHandle, EndpointEvent)>,
    pub up: Link,
    pub down: Link,
}

/// A server, its hosts, and the links between them, on this thread's clock.
pub struct World {
    pub client_context: Context,
    pub server: Endpoint,
    pub events: Vec<(ConnectionHandle, EndpointEvent)>,
    pub hosts: Vec<Host>,
    by_addr: HashMap<SocketAddr, usize>,
    /// What the server sent to addresses where nobody lives.
    pub strays: Vec<(SocketAddr, Vec<u8>)>,
}

/// What certificate contexts check.
pub fn name() -> Option<ServerName> {
    Some(ServerName::try_from("localhost").unwrap())
}

pub fn ring() -> CookieRing {
    let anchor = ClockAnchor::new(clock::now(), SystemTime::now());
    CookieRing::random(anchor).unwrap()
}

/// The address of host `number`, each in a network of its own.
pub fn host_addr(number: usize) -> SocketAddr {
    let number = u16::try_from(number).unwrap();
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([10, high, low, 1], 40_000))
}

impl World {
    pub fn new(config: EndpointConfig) -> World {
        Self::with_contexts(config, psk_contexts(&TransportConfig::default()))
    }

    pub fn with_contexts(config: EndpointConfig, (client, server): (Context, Context)) -> World {
        World {
            server: Endpoint::server(config, &server, ring()).unwrap(),
            client_context: client,
            events: Vec::new(),
            hosts: Vec::new(),
            by_addr: HashMap::new(),
            strays: Vec::new(),
        }
    }

    /// Adds a host over a network that loses nothing.
    pub fn host(&mut self, addr: SocketAddr) -> usize {
        self.host_over(addr, &Settings::default())
    }

    pub fn host_over(&mut self, addr: SocketAddr, settings: &Settings) -> usize {
        let number = self.hosts.len();
        let link = |odd| {
            let seed = settings.seed * 1_000_003 + 2 * number as u64 + odd;
            Link::new(Settings {
                seed,
                ..settings.clone()
            })
        };
        self.hosts.push(Host {
            addr,
            endpoint: Endpoint::new(EndpointConfig::new()).unwrap(),
            handle: None,
            events: Vec::new(),
            up: link(0),
            down: link(1),
        });
        self.by_addr.insert(addr, number);
        number
    }

    /// Adds a host for each number below `count`, and connects it.
    pub fn hosts(&mut self, count: usize) {
        for number in 0..count {
            let host = self.host(host_addr(number));
            self.connect(host);
        }
    }

    pub fn connect(&mut self, host: usize) -> ConnectionHandle {
        let host = &mut self.hosts[host];
        let handle = host
            .endpoint
            .connect(clock::now(), &self.client_context, server_addr(), name())
            .unwrap();
        host.handle = Some(handle);
        handle
    }

    /// The host loses all its state and connects again from the same address.
    pub fn restart(&mut self, host: usize) -> ConnectionHandle {
        self.hosts[host].endpoint = Endpoint::new(EndpointConfig::new()).unwrap();
        self.hosts[host].events.clear();
        self.connect(host)
    }

    /// The host's address changes. Datagrams that are under way to it get there all the same.
    pub fn move_host(&mut self, host: usize, addr: SocketAddr) {
        let old = std::mem::replace(&mut self.hosts[host].addr, addr);
        if self.by_addr.get(&old) == Some(&host) {
            self.by_addr.remove(&old);
        }
        self.by_addr.insert(addr, host);
    }

    /// Runs until every host's connection is established at both ends; panics after three minutes.
    pub fn establish(&mut self) {
        let done = self.run(Duration::from_secs(180), |world| {
            (0..world.hosts.len()).all(|host| world.is_established(host))
        });
        assert!(done, "{:?}", self.server.stats());
    }

    pub fn is_established(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        let client = host
            .handle
            .and_then(|handle| host.endpoint.connection(handle));
        let server = self.server.handle_of(host.addr);
        let server = server.and_then(|handle| self.server.connection(handle));
        client.is_some_and(|connection| connection.is_established())
            && server.is_some_and(|connection| connection.is_established())
    }

    /// The server's handle of the host's connection.
    pub fn server_handle(&self, host: usize) -> ConnectionHandle {
        self.server.handle_of(self.hosts[host].addr).unwrap()
    }

    pub fn travel(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    /// Runs until `done` or for `limit`; answers whether it was done.
    pub fn run(&mut self, limit: Duration, done: impl Fn(&World) -> bool) -> bool {
        let end = clock::now() + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let next = self
                .hosts
                .iter()
                .flat_map(|host| {
                    [
                        host.endpoint.poll_timeout(),
                        host.up.next_arrival(),
                        host.down.next_arrival(),
                    ]
                })
                .chain([self.server.poll_timeout()])
                .flatten()
                .min();
            match next {
                Some(next) if next <= end => clock::move_to(next),
                _ => {
                    clock::move_to(end);
                    return false;
                }
            }
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        let now = clock::now();
        for number in 0..self.hosts.len() {
            let host = &mut self.hosts[number];
            let from = host.addr;
            while let Some(datagram) = host.down.receive(now) {
                let handled = host.endpoint.handle_datagram(now, server_addr(), &datagram);
                assert_eq!(handled.unwrap(), Handled::Consumed);
            }
            host.endpoint.handle_timeout(now);
            while let Some(datagram) = self.hosts[number].up.receive(now) {
                let handled = self.server.handle_datagram(now, from, &datagram);
                assert_eq!(handled.unwrap(), Handled::Consumed);
                self.drain_server();
            }
        }
        self.server.handle_timeout(now);
    }

    /// Sends and collects all that waits.
    pub fn drain(&mut self) {
        let now = clock::now();
        self.drain_server();
        for host in &mut self.hosts {
            while let Some(transmit) = host.endpoint.poll_transmit() {
                assert_eq!(transmit.path.peer, server_addr());
                host.up.send(now, transmit.contents);
            }
            host.events
                .extend(std::iter::from_fn(|| host.endpoint.poll_event()));
        }
    }

    fn drain_server(&mut self) {
        let now = clock::now();
        while let Some(transmit) = self.server.poll_transmit() {
            match self.by_addr.get(&transmit.path.peer) {
                Some(&host) => self.hosts[host].down.send(now, transmit.contents),
                None => self
                    .strays
                    .push((transmit.path.peer, transmit.contents.to_vec())),
            }
        }
        self.events
            .extend(std::iter::from_fn(|| self.server.poll_event()));
    }

    /// Gives the server a datagram from `from`, as if the network had brought it.
    pub fn inject(&mut self, from: SocketAddr, datagram: &[u8]) -> Handled {
        let handled = self.server.handle_datagram(clock::now(), from, datagram);
        handled.unwrap()
    }

    pub fn say(&mut self, host: usize, message: &[u8]) {
        let host = &mut self.hosts[host];
        host.endpoint.send(host.handle.unwrap(), message).unwrap();
    }

    /// Shows that messages pass both ways between the server and a host.
    pub fn assert_works(&mut self, host: usize) {
        let handle = self.server_handle(host);
        self.say(host, b"ping");
        self.server.send(handle, b"pong").unwrap();
        self.travel(Duration::from_millis(500));
        assert_eq!(
            read(&mut self.server, handle).as_deref(),
            Some(&b"ping"[..])
        );
        let host = &mut self.hosts[host];
        let answer = read(&mut host.endpoint, host.handle.unwrap());
        assert_eq!(answer.as_deref(), Some(&b"pong"[..]));
    }

    /// How the server's connection ended, if it was told.
    pub fn close_reason(&self, handle: ConnectionHandle) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            (of, EndpointEvent::Closed(reason)) if *of == handle => Some(*reason),
            _ => None,
        })
    }
}

/// The next message of a connection, if there is one.
pub fn read(endpoint: &mut Endpoint, handle: ConnectionHandle) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 16_384];
    let length = endpoint.recv(handle, &mut buffer).unwrap()?;
    buffer.truncate(length);
    Some(buffer)
}

/// Everything an endpoint has to send to `to`, one datagram each.
pub fn take_sent(endpoint: &mut Endpoint) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut sent = Vec::new();
    while let Some(transmit) = endpoint.poll_transmit() {
        sent.push((transmit.path.peer, transmit.contents.to_vec()));
    }
    sent
}

/// A moment later than every one before.
pub fn later(time: Duration) -> Instant {
    clock::move_to(clock::now() + time);
    clock::now()
}
