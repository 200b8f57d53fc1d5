//! Many connections behind one socket, sans-IO.

#[cfg(test)]
mod check;
mod config;
mod entry;
mod life;
mod limits;
mod outbox;
mod routing;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod verbs;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

pub use self::config::EndpointConfig;
use self::entry::{Entry, Stage};
use self::limits::HalfOpen;
use self::outbox::{Replies, Row};
use self::stats::Sums;
pub use self::stats::{EndCounts, EndpointStats, HandshakeCounts, RefusalCounts};
pub use self::table::ConnectionHandle;
use self::table::{Table, route_address};
use self::timers::Timers;
use crate::connection::Connection;
use crate::context::Context;
use crate::cookie::CookieRing;
use crate::error::{ConfigError, ConnectError, Error};
use crate::listener::Listener;
use crate::saved_session::SavedSession;
use crate::server_name::ServerName;
use crate::types::{CloseReason, DropReason, Drops, Mtu, Path, Transmit};

/// Many connections behind one socket, sans-IO: a server, clients, or both at once.
///
/// It opens no socket and reads no clock. Every datagram of the socket goes to [`handle_datagram`](Self::handle_datagram), which
/// finds its connection by the peer's address, or puts an unknown peer through the cookie exchange of a
/// [`Listener`]. After **every** call drain [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event), and ask [`poll_timeout`](Self::poll_timeout). Any order of calls is legal.
///
/// ```
/// use std::net::SocketAddr;
/// use std::time::{Instant, SystemTime};
/// use openssl_dtls::{
///     ClockAnchor, Context, CookieRing, Endpoint, EndpointConfig, EndpointEvent, Psk, PskLookup,
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = b"a shared secret of some length";
/// let psk = || Psk::new(b"sensor-7", key);
/// let client_context = Context::client().psk(psk()?).build()?;
/// let server_context = Context::server(PskLookup::single(psk()?)).build()?;
/// let now = Instant::now();
/// let ring = CookieRing::random(ClockAnchor::new(now, SystemTime::now()))?;
/// let mut server = Endpoint::server(EndpointConfig::new(), &server_context, ring)?;
/// let mut client = Endpoint::new(EndpointConfig::new())?;
///
/// let (client_addr, server_addr): (SocketAddr, SocketAddr) =
///     ("192.0.2.1:40000".parse()?, "192.0.2.2:4433".parse()?);
/// let ours = client.connect(now, &client_context, server_addr, None)?;
/// let theirs = loop {
///     // A program has a socket in place of these two loops, and looks at `Handled` if it shares it.
///     while let Some(transmit) = client.poll_transmit() {
///         let _ = server.handle_datagram(now, client_addr, transmit.contents)?;
///     }
///     while let Some(transmit) = server.poll_transmit() {
///         let _ = client.handle_datagram(now, server_addr, transmit.contents)?;
///     }
///     if let Some((handle, EndpointEvent::Connected)) = server.poll_event() {
///         break handle;
///     }
/// };
/// server.send(theirs, b"welcome")?;
/// while let Some(transmit) = server.poll_transmit() {
///     let _ = client.handle_datagram(now, server_addr, transmit.contents)?;
/// }
/// let mut message = [0; 1500];
/// let length = client.recv(ours, &mut message)?.ok_or("no message")?;
/// assert_eq!(&message[..length], b"welcome");
/// # Ok(())
/// # }
/// ```
///
/// # Life of a connection
///
/// An accepted connection is first heard of by [`EndpointEvent::Connected`], or by the event of its failure. Each connection tells
/// one last event, [`EndpointEvent::Closed`] or [`EndpointEvent::Failed`], and is then over: its address is free,
/// [`send`](Self::send) answers [`SendError::Closed`](crate::SendError::Closed). A peer's close_notify is answered at once and
/// ends the connection both ways.
///
/// What a connection leaves behind stays for a while: alerts and close_notify to be sent, messages to be read with
/// [`recv`](Self::recv), its facts in [`connection`](Self::connection). It is freed with the next call that takes `&mut self` once
/// its last event was taken, all is sent, and all messages are read or [forgotten](Self::forget); or after
/// [`EndpointConfig::linger`], or when a new connection needs its place. From then on its handle names nothing, and never another
/// connection.
///
/// # Peers that start anew
///
/// A peer that lost its state sends a ClientHello from an address that has a connection. Once its cookie has come back, its
/// handshake runs beside the established connection, which goes, with [`CloseReason::Replaced`], only when the new one is
/// complete (RFC 6347, 4.2.8): a forged hello does nothing. Meanwhile records in the clear are the new one's, and encrypted ones
/// are offered to both; but never to an established connection whose suite is not AEAD, since one bad record may end that. Where
/// this endpoint is the client, hellos of that peer are dropped.
///
/// # Limits
///
/// Everything is bounded by [`EndpointConfig`]. Datagrams of known peers cost the same however many connections there are, and
/// timers O(log n). Nothing here allocates for a datagram once queues have grown to what is needed.
///
/// An endpoint can move between threads but is used by one at a time:
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<openssl_dtls::Endpoint>();
/// ```
pub struct Endpoint {
    config: EndpointConfig,
    /// `None`: clients only.
    listener: Option<Listener>,
    table: Table,
    timers: Timers,
    half_open: HalfOpen,
    replies: Replies,
    /// Whether a reply goes before the next connection.
    reply_turn: bool,
    /// Connections that may have something to send.
    outbox: Row,
    /// Connections that may have something to tell.
    inbox: Row,
    /// Events of connections that had to go before they were told.
    farewells: VecDeque<(ConnectionHandle, EndpointEvent)>,
    /// Slots that may be free by the next call.
    finished: Vec<u32>,
    /// Ended connections that were told of and kept for what they left, by age.
    lingering: BTreeMap<u64, u32>,
    /// The slot whose connection is being called; left behind by a panic only.
    at_work: Option<u32>,
    /// Bytes that wait to be sent and to be read, of all connections.
    send_bytes: usize,
    receive_bytes: usize,
    next_age: u64,
    /// The latest time heard of.
    latest: Option<Instant>,
    is_shutting_down: bool,
    /// Until when what waits may be sent, in a shutdown.
    drain_until: Option<Instant>,
    stats: EndpointStats,
    /// Of connections that are no more.
    past: Sums,
    not_sync: PhantomData<Cell<()>>,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// It was DTLS, or nothing; either way it is dealt with.
    Consumed,
    /// It is not DTLS by its first byte (RFC 7983), but STUN, ZRTP, a TURN channel's, RTP or RTCP, and the program's to deal with.
    /// Only if [`EndpointConfig::hand_out_foreign`] is set.
    Foreign,
}

/// Something an endpoint has to tell about one of its connections.
#[derive(Debug)]
#[non_exhaustive]
pub enum EndpointEvent {
    /// The handshake is complete.
    Connected,
    /// At least one message can be taken with [`Endpoint::recv`].
    Readable,
    /// The largest datagram of this connection changed, after lost flights.
    MtuChanged(Mtu),
    /// The connection is over in an orderly way.
    Closed(CloseReason),
    /// The connection failed.
    Failed(Error),
}

impl Endpoint {
    /// An endpoint for clients: it drops datagrams of peers it did not connect to, until a server is
    /// [set](Self::set_server).
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for a limit outside its range.
    pub fn new(config: EndpointConfig) -> Result<Endpoint, ConfigError> {
        config.check()?;
        Ok(Endpoint {
            replies: Replies::new(config.max_replies),
            config,
            listener: None,
            table: Table::default(),
            timers: Timers::default(),
            half_open: HalfOpen::default(),
            reply_turn: true,
            outbox: Row::default(),
            inbox: Row::default(),
            farewells: VecDeque::new(),
            finished: Vec::new(),
            lingering: BTreeMap::new(),
            at_work: None,
            send_bytes: 0,
            receive_bytes: 0,
            next_age: 0,
            latest: None,
            is_shutting_down: false,
            drain_until: None,
            stats: EndpointStats {
                drops: Drops::with_memory(),
                ..EndpointStats::default()
            },
            past: Sums::default(),
            not_sync: PhantomData,
        })
    }

    /// An endpoint that accepts peers on `context`, with cookies of `ring`, and opens connections as well.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`] for a limit outside its range, [`ConfigError::WrongRole`] for a client's context.
    pub fn server(
        config: EndpointConfig,
        context: &Context,
        ring: CookieRing,
    ) -> Result<Endpoint, ConfigError> {
        let mut endpoint = Self::new(config)?;
        endpoint.set_server(context, ring)?;
        Ok(endpoint)
    }

    /// Opens a connection to `path.peer`; its first flight is queued already.
    ///
    /// `server_name` is checked against the peer's certificate, and a DNS name is sent as SNI.
    ///
    /// # Errors
    ///
    /// [`ConnectError::AddressInUse`] if that peer has a connection here, [`ConnectError::NoRoom`] if there are as many
    /// established connections and handshakes of clients as may be, [`ConnectError::ShuttingDown`], and [`ConnectError::Config`]
    /// for what [`Connection::client`] refuses.
    pub fn connect(
        &mut self,
        now: Instant,
        context: &Context,
        path: impl Into<Path>,
        server_name: Option<ServerName>,
    ) -> Result<ConnectionHandle, ConnectError> {
        let path = path.into();
        self.open(now, path, || {
            Connection::client(context, path, server_name, now)
        })
    }

    /// As [`connect`](Self::connect), offering to resume `session`; see [`Connection::client_resuming`].
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect), with [`ConfigError::SessionMismatch`] for a session that does not fit.
    pub fn connect_resuming(
        &mut self,
        now: Instant,
        context: &Context,
        path: impl Into<Path>,
        server_name: Option<ServerName>,
        session: &SavedSession,
    ) -> Result<ConnectionHandle, ConnectError> {
        let path = path.into();
        self.open(now, path, || {
            Connection::client_resuming(context, path, server_name, session, now)
        })
    }

    /// Takes one datagram, the whole UDP payload, and where it came from.
    ///
    /// # Errors
    ///
    /// [`Error::Cookie`], [`Error::Setup`] or [`Error::Protocol`] if the cookie exchange or a new connection fails for a reason
    /// of this side's own, such as a random generator that fails. That datagram is lost; the endpoint goes on. A connection that
    /// fails is an event, never an error.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        path: impl Into<Path>,
        datagram: &[u8],
    ) -> Result<Handled, Error> {
        let path = path.into();
        self.begin(Some(now));
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        match datagram.first() {
            None => self.stats.drops.add(DropReason::EmptyDatagram),
            Some(first) if !routing::DTLS.contains(first) => {
                self.stats.foreign_datagrams += 1;
                if self.config.hand_out_foreign {
                    return Ok(Handled::Foreign);
                }
                self.stats.drops.add(DropReason::BadContentType);
            }
            Some(_) => self.route(now, path, datagram)?,
        }
        Ok(Handled::Consumed)
    }

    /// The next datagram to send, lent from its queue; it leaves the queue with this call. Connections take turns.
    ///
    /// May change after every other call.
    #[must_use = "a datagram that is not sent is lost"]
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.poll_transmit_batch(1)
    }

    /// As [`poll_transmit`](Self::poll_transmit), but lends up to `max_datagrams` of one connection at once if those that wait
    /// are of one size; see [`Connection::poll_transmit_batch`].
    #[must_use = "datagrams that are not sent are lost"]
    pub fn poll_transmit_batch(&mut self, max_datagrams: usize) -> Option<Transmit<'_>> {
        self.begin(None);
        let sender = self.next_sender();
        if self.replies.len() > 0 && (self.reply_turn || sender.is_none()) {
            self.reply_turn = false;
            if let Some(handle) = sender {
                self.outbox.put_back(handle);
            }
            let transmit = self.replies.pop()?;
            self.stats.datagrams_sent += 1;
            self.stats.bytes_sent += transmit.contents.len() as u64;
            return Some(transmit);
        }
        self.reply_turn = true;
        let handle = sender?;
        self.outbox.push(handle);
        let entry = self.table.entry_mut(handle.slot())?;
        let transmit = entry.connection.poll_transmit_batch(max_datagrams)?;
        let bytes = transmit.contents.len();
        entry.send_bytes = entry.send_bytes.saturating_sub(bytes);
        self.send_bytes = self.send_bytes.saturating_sub(bytes);
        self.stats.datagrams_sent += transmit.datagrams().count() as u64;
        self.stats.bytes_sent += bytes as u64;
        Some(transmit)
    }

    /// The next event, and whose it is. Events of one connection come in order; connections take turns.
    ///
    /// May change after every other call.
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<(ConnectionHandle, EndpointEvent)> {
        self.begin(None);
        if let Some(farewell) = self.farewells.pop_front() {
            return Some(farewell);
        }
        while let Some(handle) = self.inbox.pop() {
            let Some(slot) = self.table.slot_of(handle) else {
                continue;
            };
            let Some(entry) = self.table.entry_mut(slot) else {
                continue;
            };
            entry.in_inbox = false;
            let event = entry.next_event();
            if entry.has_event() {
                entry.in_inbox = true;
                self.inbox.push(handle);
            }
            if entry.end_told {
                self.leave(slot);
            }
            if let Some(event) = event {
                return Some((handle, event));
            }
        }
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, if nothing else happens before.
    ///
    /// May change after every other call. May be early, never late.
    #[must_use = "handshakes make no progress without their timers"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.timers.next(), self.drain_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells the endpoint that time went by. Early and needless calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(Some(now));
        if self.drain_until.is_some_and(|until| until <= now) {
            self.drain_until = None;
            self.give_up();
        }
        // Whatever is set anew lies ahead of `now`, so this ends.
        while let Some(slot) = self.timers.pop_due(now) {
            self.time_out(slot, now);
        }
    }

    /// What was counted. Sums over all connections, so its cost grows with their number.
    pub fn stats(&self) -> EndpointStats {
        let mut stats = self.stats.clone();
        if let Some(listener) = &self.listener {
            listener.stats().add_to(&mut stats);
        }
        let mut sums = Sums::default();
        for (_, entry) in self.table.iter() {
            sums.add(entry.connection.stats());
            stats.established += usize::from(entry.stage == Stage::Established);
        }
        sums.add_to(&mut stats);
        self.past.add_to(&mut stats);
        stats.connections = self.table.len();
        stats.half_open = self.half_open.len();
        stats.queued_replies = self.replies.len();
        stats.queued_send_bytes = self.send_bytes;
        stats.queued_receive_bytes = self.receive_bytes;
        stats
    }

    /// Takes in the client that `make` makes, if there is room for it.
    fn open(
        &mut self,
        now: Instant,
        path: Path,
        make: impl FnOnce() -> Result<Connection, ConfigError>,
    ) -> Result<ConnectionHandle, ConnectError> {
        self.begin(Some(now));
        let address = route_address(path.peer);
        if self.is_shutting_down {
            return Err(ConnectError::ShuttingDown);
        }
        if self.table.route(address).is_some() {
            return Err(ConnectError::AddressInUse);
        }
        if !self.make_room() {
            return Err(ConnectError::NoRoom);
        }
        let (slot, handle) = self.insert(make()?, address, Stage::Connecting, now);
        self.table.add_route(address, slot);
        self.settle(slot, now, Ok(()));
        Ok(handle)
    }

    /// What every call that may change something begins with.
    fn begin(&mut self, now: Option<Instant>) {
        self.latest = self.latest.max(now);
        if let Some(slot) = self.at_work.take() {
            self.abandon_after_panic(slot);
        }
        while let Some(slot) = self.finished.pop() {
            if self.table.entry(slot).is_some_and(Entry::is_done) {
                self.free(slot);
            }
        }
    }

    /// The connection whose turn it is to send.
    fn next_sender(&mut self) -> Option<ConnectionHandle> {
        while let Some(handle) = self.outbox.pop() {
            let Some(slot) = self.table.slot_of(handle) else {
                continue;
            };
            let Some(entry) = self.table.entry_mut(slot) else {
                continue;
            };
            if entry.connection.queued_output() != (0, 0) {
                return Some(handle);
            }
            entry.in_outbox = false;
            if entry.is_done() {
                self.finished.push(slot);
            }
        }
        None
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("config", &self.config)
            .field("server", &self.listener)
            .field("connections", &self.table.len())
            .field("half_open", &self.half_open.len())
            .field("shutting_down", &self.is_shutting_down)
            .finish_non_exhaustive()
    }
}
