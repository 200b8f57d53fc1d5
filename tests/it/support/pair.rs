//! A client and a server with a network between them.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use openssl_dtls::{
    ClockAnchor, Connection, Context, CookieRing, Error, Event, Incoming, Listener, ServerName,
};

use super::clock;
use super::link::{Link, Settings};

/// A client, a server behind its listener, and the links between them, on this thread's clock.
pub struct Pair {
    pub client: Connection,
    pub listener: Listener,
    /// The connection that answers, which is established or the only one.
    pub server: Option<Box<Connection>>,
    /// One that began beside an established one, and has not proved itself.
    pub pending: Option<Box<Connection>>,
    pub to_server: Link,
    pub to_client: Link,
    pub client_events: Vec<Event>,
    pub server_events: Vec<Event>,
    pub client_error: Option<Error>,
    pub server_errors: Vec<Error>,
    /// Connections the listener made.
    pub accepted: usize,
}

pub fn client_addr() -> SocketAddr {
    "192.0.2.1:40000".parse().unwrap()
}

pub fn server_addr() -> SocketAddr {
    "192.0.2.2:4433".parse().unwrap()
}

pub fn listener(context: &Context) -> Listener {
    let anchor = ClockAnchor::new(clock::now(), SystemTime::now());
    Listener::new(context, CookieRing::random(anchor).unwrap()).unwrap()
}

impl Pair {
    /// Over a network that loses nothing. The client expects `localhost`.
    pub fn new((client, server): &(Context, Context)) -> Pair {
        Self::over((client, server), Settings::default(), Settings::default())
    }

    pub fn over(
        (client, server): (&Context, &Context),
        to_server: Settings,
        to_client: Settings,
    ) -> Pair {
        let name = ServerName::try_from("localhost").unwrap();
        let client = Connection::client(client, server_addr(), Some(name), clock::now()).unwrap();
        Pair {
            client,
            listener: listener(server),
            server: None,
            pending: None,
            to_server: Link::new(to_server),
            to_client: Link::new(to_client),
            client_events: Vec::new(),
            server_events: Vec::new(),
            client_error: None,
            server_errors: Vec::new(),
            accepted: 0,
        }
    }

    /// A pair with its handshake done.
    pub fn connected(contexts: &(Context, Context)) -> Pair {
        let mut pair = Pair::new(contexts);
        pair.handshake();
        pair
    }

    /// Runs until both ends are established; panics with what happened if they are not after two minutes.
    pub fn handshake(&mut self) {
        let done = self.run(Duration::from_secs(120), Pair::is_established);
        assert!(done, "{self:?}");
    }

    pub fn is_established(&self) -> bool {
        self.client.is_established() && self.server().is_some_and(|server| server.is_established())
    }

    pub fn server(&self) -> Option<&Connection> {
        self.server.as_deref()
    }

    pub fn server_mut(&mut self) -> &mut Connection {
        self.server.as_deref_mut().expect("there is a server")
    }

    /// Lets datagrams travel for `time`, timers included.
    pub fn travel(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    /// Runs until `done` or for `limit`; answers whether it was done.
    pub fn run(&mut self, limit: Duration, done: impl Fn(&Pair) -> bool) -> bool {
        let end = clock::now() + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let timers = [Some(&self.client), self.server(), self.pending.as_deref()]
                .into_iter()
                .flatten()
                .filter_map(Connection::poll_timeout);
            let arrivals = [self.to_server.next_arrival(), self.to_client.next_arrival()];
            let Some(next) = arrivals.into_iter().flatten().chain(timers).min() else {
                clock::move_to(end);
                return false;
            };
            if next > end {
                clock::move_to(end);
                return false;
            }
            clock::move_to(next);
            self.deliver();
        }
    }

    /// Delivers what has arrived, and time.
    fn deliver(&mut self) {
        let now = clock::now();
        while let Some(datagram) = self.to_server.receive(now) {
            self.server_receives(&datagram);
            self.drain();
        }
        while let Some(datagram) = self.to_client.receive(now) {
            self.client_receives(&datagram);
            self.drain();
        }
        if let Err(error) = self.client.handle_timeout(now) {
            self.client_failed(error);
        }
        if let Some(server) = &mut self.server
            && let Err(error) = server.handle_timeout(now)
        {
            self.server_failed(error);
        }
        if let Some(pending) = &mut self.pending
            && let Err(error) = pending.handle_timeout(now)
        {
            self.pending = None;
            self.server_errors.push(error);
        }
    }

    pub fn client_receives(&mut self, datagram: &[u8]) {
        if let Err(error) = self.client.handle_datagram(clock::now(), datagram) {
            self.client_failed(error);
        }
    }

    /// Routes as a server with one socket does.
    pub fn server_receives(&mut self, datagram: &[u8]) {
        let now = clock::now();
        if let Some(pending) = &mut self.pending {
            if let Err(error) = pending.handle_datagram(now, datagram) {
                self.server_errors.push(error);
                self.pending = None;
            } else if pending.is_established() {
                self.server = self.pending.take();
            }
            return;
        }
        match &mut self.server {
            Some(server) if !server.starts_new_handshake(datagram) => {
                if let Err(error) = server.handle_datagram(now, datagram) {
                    self.server_failed(error);
                }
            }
            _ => match self
                .listener
                .handle_datagram(now, client_addr(), datagram)
                .unwrap()
            {
                Incoming::Reply(reply) => self.to_client.send(now, reply.contents),
                Incoming::Connection(connection) => {
                    self.accepted += 1;
                    if self.server().is_some_and(Connection::is_established) {
                        self.pending = Some(connection);
                    } else {
                        self.server = Some(connection);
                    }
                }
                Incoming::Refused {
                    mut connection,
                    error,
                } => {
                    while let Some(transmit) = connection.poll_transmit() {
                        self.to_client.send(now, transmit.contents);
                    }
                    self.server_errors.push(error);
                }
                _ => {}
            },
        }
    }

    /// Sends and collects all that waits in the connections.
    pub fn drain(&mut self) {
        let now = clock::now();
        while let Some(transmit) = self.client.poll_transmit() {
            self.to_server.send(now, transmit.contents);
        }
        self.client_events
            .extend(std::iter::from_fn(|| self.client.poll_event()));
        for server in [&mut self.server, &mut self.pending].into_iter().flatten() {
            while let Some(transmit) = server.poll_transmit() {
                self.to_client.send(now, transmit.contents);
            }
            self.server_events
                .extend(std::iter::from_fn(|| server.poll_event()));
        }
    }

    fn client_failed(&mut self, error: Error) {
        self.drain();
        self.client_error.get_or_insert(error);
    }

    /// A handshake that failed leaves the address free.
    fn server_failed(&mut self, error: Error) {
        self.drain();
        self.server_errors.push(error);
        self.server = None;
    }

    /// Sends `message` from the client and answers what the server got.
    pub fn client_says(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        self.client.send(message).unwrap();
        self.travel(Duration::from_millis(50));
        receive(self.server_mut())
    }

    /// Sends `message` from the server and answers what the client got.
    pub fn server_says(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        self.server_mut().send(message).unwrap();
        self.travel(Duration::from_millis(50));
        receive(&mut self.client)
    }

    /// Shows that messages pass both ways.
    pub fn assert_works(&mut self) {
        assert_eq!(
            self.client_says(b"ping").as_deref(),
            Some(&b"ping"[..]),
            "{self:?}"
        );
        assert_eq!(
            self.server_says(b"pong").as_deref(),
            Some(&b"pong"[..]),
            "{self:?}"
        );
    }
}

/// The next message, if there is one.
pub fn receive(connection: &mut Connection) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 16_384];
    let length = connection.recv(&mut buffer).unwrap()?;
    buffer.truncate(length);
    Some(buffer)
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("client", &self.client)
            .field("server", &self.server)
            .field("pending", &self.pending)
            .field("client_error", &self.client_error)
            .field("server_errors", &self.server_errors)
            .field("listener", &self.listener)
            .field(
                "to_server",
                &(&self.to_server.settings, self.to_server.lost),
            )
            .field(
                "to_client",
                &(&self.to_client.settings, self.to_client.lost),
            )
            .finish_non_exhaustive()
    }
}
