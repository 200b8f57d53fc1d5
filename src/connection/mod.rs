//! One DTLS connection with one peer, sans-IO.

mod access;
mod handshake;
mod hosted;
mod incoming;
mod resumption;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use openssl::error::ErrorStack;
use openssl::ssl::Ssl;

use self::handshake::{Failure, Handshake};
use crate::context::Context;
use crate::error::{ConfigError, Error, RecvError, SendError};
use crate::gate::Gate;
use crate::handshake_info::HandshakeInfo;
use crate::queue::ByteQueue;
use crate::server_name::ServerName;
use crate::stats::Stats;
use crate::sys::bio::{DatagramBio, State};
use crate::sys::ssl::{BoundSsl, MAX_MESSAGE, Outcome};
use crate::trace;
use crate::types::{AddressProof, CloseReason, DropReason, Event, Mtu, Path, Role, Transmit};
use crate::wire;

/// More than any suite adds to a message: record header, explicit nonce or IV, tag or MAC, padding.
const MAX_EXPANSION: usize = 128;
/// The most bytes of UDP payload that IPv4 takes, and so a batch of datagrams.
const MAX_BATCH: usize = 65_507;

/// One DTLS connection with one peer, sans-IO: datagrams in, datagrams out, time as an argument.
///
/// It opens no socket, reads no clock and never blocks. After **every** call drain [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event) and ask [`poll_timeout`](Self::poll_timeout): any call may change all three. Any order of
/// calls is legal, also after a failure.
///
/// An `Err` from a `handle_*` verb is the end of this connection: drain `poll_transmit` once more, since an alert for the peer may
/// wait there, and drop it. Bad, repeated and forged datagrams are no errors; they are counted in [`stats`](Self::stats).
///
/// A connection can move between threads but is used by one at a time:
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<openssl_dtls::Connection>();
/// ```
pub struct Connection {
    phase: Phase,
    role: Role,
    path: Path,
    context: Context,
    received: ByteQueue,
    events: VecDeque<Event>,
    stats: Stats,
    mtu: Mtu,
    /// Bytes of message that fit into a datagram of `mtu`; 0 until the suite is known.
    data_mtu: usize,
    /// Bytes of message that libssl puts into one record; more would end the connection.
    max_message: usize,
    /// Bytes of payload that a record of the peer has at least, once it is established.
    shortest_record: usize,
    info: Option<Box<HandshakeInfo>>,
    /// Of the ClientHello this server answers.
    client_random: Option<[u8; 32]>,
    peer_closed: bool,
    /// When the last flight was last repeated because the peer repeated its own.
    repeated_at: Option<Instant>,
    not_sync: PhantomData<Cell<()>>,
}

/// Where a connection stands. Each holds what its datagrams wait in.
enum Phase {
    Handshaking(Box<Handshake>),
    Established(BoundSsl),
    /// Over; `None` when nothing was left to send, or while one phase becomes the next.
    Closed(Option<DatagramBio>),
}

impl Connection {
    /// Opens a connection to `path.peer`; its first flight is queued already.
    ///
    /// `server_name` is checked against the peer's certificate, and a DNS name is sent as SNI.
    ///
    /// # Errors
    ///
    /// [`ConfigError::WrongRole`] for a server's context, [`ConfigError::NoServerName`] if names are checked and none is given,
    /// [`ConfigError::OpenSsl`] if libssl cannot make the connection.
    pub fn client(
        context: &Context,
        path: impl Into<Path>,
        server_name: Option<ServerName>,
        now: Instant,
    ) -> Result<Connection, ConfigError> {
        context.require_role(Role::Client)?;
        let ssl = context.new_ssl(server_name.as_ref())?;
        Self::open(context, path.into(), server_name, ssl, now)
    }

    /// Begins a client's handshake on `ssl`.
    fn open(
        context: &Context,
        path: Path,
        server_name: Option<ServerName>,
        ssl: Ssl,
        now: Instant,
    ) -> Result<Connection, ConfigError> {
        let bound = BoundSsl::new(ssl, path.peer, context.transport())?;
        let mut connection = Connection::new(context, path, Role::Client, bound, server_name, now);
        match connection.step_handshake(now, &[]) {
            Ok(()) => Ok(connection),
            Err(Error::NoSharedCipherSuite(_)) => Err(ConfigError::NoCipherSuites),
            Err(Error::Random(stack)) => Err(ConfigError::Random(stack)),
            Err(Error::Protocol(stack) | Error::NoSharedVersion(stack)) => {
                Err(ConfigError::OpenSsl(stack))
            }
            Err(_) => Err(ConfigError::OpenSsl(ErrorStack::get())),
        }
    }

    /// Waits for a ClientHello from `path.peer` without a cookie exchange.
    ///
    /// For servers on the open network use a [`Listener`](crate::Listener); this is for peers whose address is proved by other
    /// means, which `proof` states.
    ///
    /// # Errors
    ///
    /// [`ConfigError::WrongRole`] for a client's context, [`ConfigError::Random`] if a new ticket key is due and the random
    /// generator fails, [`ConfigError::OpenSsl`] if libssl cannot make the connection.
    pub fn server(
        context: &Context,
        path: impl Into<Path>,
        now: Instant,
        proof: AddressProof,
    ) -> Result<Connection, ConfigError> {
        context.require_role(Role::Server)?;
        context.rotate_tickets(now)?;
        let path = path.into();
        let bound = BoundSsl::new(context.new_ssl(None)?, path.peer, context.transport())?;
        let mut connection = Connection::new(context, path, Role::Server, bound, None, now);
        if proof == AddressProof::Dangerous
            && let Phase::Handshaking(handshake) = &mut connection.phase
        {
            handshake.ssl.state_mut().allowance = Some(0);
        }
        Ok(connection)
    }

    /// Goes on with `bound`, which has taken the ClientHello of `datagram`'s first record through `DTLSv1_listen`.
    pub(crate) fn accepted(
        context: &Context,
        path: Path,
        bound: BoundSsl,
        now: Instant,
        hello: &wire::ClientHello<'_>,
        datagram: &[u8],
    ) -> (Connection, Result<(), Error>) {
        let mut connection = Connection::new(context, path, Role::Server, bound, None, now);
        let _entered = trace::enter_connection(Role::Server, path.peer);
        connection.client_random = Some(*hello.random);
        if let Phase::Handshaking(handshake) = &mut connection.phase {
            handshake.gate.hello_taken(hello);
            // RFC 6347, 4.2.1. From 3.2 on libssl begins with 1 whatever the hello had: the client takes that for a repetition of
            // the HelloVerifyRequest when an earlier hello was lost.
            handshake.ssl.state_mut().first_sequence = Some(hello.record.sequence);
        }
        connection.count_received(datagram.len());
        connection.stats.records_received += 1;
        let rest = datagram.get(hello.record.bytes.len()..).unwrap_or_default();
        let outcome = connection
            .step_handshake(now, &[])
            .and_then(|()| connection.handle_records(now, rest));
        (connection, outcome)
    }

    fn new(
        context: &Context,
        path: Path,
        role: Role,
        bound: BoundSsl,
        server_name: Option<ServerName>,
        now: Instant,
    ) -> Connection {
        let transport = context.transport();
        let gate = Gate::new(role, context.max_certificate_list());
        let handshake = Handshake::new(bound, gate, transport, server_name, now);
        Connection {
            phase: Phase::Handshaking(Box::new(handshake)),
            role,
            path,
            context: context.clone(),
            received: ByteQueue::new(transport.receive_queue),
            events: VecDeque::new(),
            stats: Stats::default(),
            mtu: transport.mtu,
            data_mtu: 0,
            max_message: MAX_MESSAGE,
            shortest_record: 0,
            info: None,
            client_random: None,
            peer_closed: false,
            repeated_at: None,
            not_sync: PhantomData,
        }
    }

    /// Takes one datagram from the peer: the whole UDP payload, and nothing else.
    ///
    /// # Errors
    ///
    /// The end of the connection, by a message that is authentic or, in a handshake, could be. Never because of a datagram that
    /// is merely wrong: that is dropped and counted.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Error> {
        let _entered = trace::enter_connection(self.role, self.path.peer);
        self.count_received(datagram.len());
        if datagram.is_empty() {
            self.stats.drops.add(DropReason::EmptyDatagram);
            return Ok(());
        }
        self.handle_records(now, datagram)
    }

    /// Tells the connection that time went by. Early and needless calls do nothing.
    ///
    /// # Errors
    ///
    /// [`Error::HandshakeTimeout`] when the handshake's time is over, and [`Error::AlertReceived`] or
    /// [`Error::ClosedInHandshake`] when the peer refused and nothing has contradicted it for one retransmission interval, nor
    /// within the first interval after the flight was sent once more.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let _entered = trace::enter_connection(self.role, self.path.peer);
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return Ok(());
        };
        let repeats =
            handshake.retransmit_at.is_some_and(|at| at <= now) && handshake.has_expired(now);
        match handshake.verdict(now, repeats) {
            Some(error) => {
                self.tell_held_alert(&error);
                Err(self.fail(error))
            }
            None if handshake.is_cookie_wanted(now) => self.restart(now, Failure::AskedAgain),
            None if repeats => self.repeat_flight(now),
            None => Ok(()),
        }
    }

    /// The next datagram to send, lent from the queue; it leaves the queue with this call.
    ///
    /// May change after every other call.
    #[must_use = "a datagram that is not sent is lost"]
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.poll_transmit_batch(1)
    }

    /// As [`poll_transmit`](Self::poll_transmit), but lends up to `max_datagrams` at once if those that wait are of one size.
    ///
    /// For sockets that take several datagrams in one call and cut them apart (GSO, `UDP_SEGMENT`): they lie one behind the
    /// other, all [`Transmit::segment_size`] bytes long but the last, which may be shorter. Together they have at most 65,507
    /// bytes, the most one call takes. A datagram larger than the [`mtu`](Self::mtu) comes alone.
    #[must_use = "datagrams that are not sent are lost"]
    pub fn poll_transmit_batch(&mut self, max_datagrams: usize) -> Option<Transmit<'_>> {
        let state = match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.ssl.state_mut(),
            Phase::Established(bound) => bound.state_mut(),
            Phase::Closed(bio) => bio.as_mut()?.state_mut(),
        };
        let segment = state.output.front()?.len();
        let is_alone = segment > self.mtu.bytes() || state.allowance.is_some();
        if state.allowance.is_some_and(|left| left < segment) {
            return None;
        }
        let max = if is_alone { 1 } else { max_datagrams };
        let (contents, count) = state.output.pop_batch(max, MAX_BATCH)?;
        if let Some(left) = &mut state.allowance {
            *left = left.saturating_sub(contents.len());
        }
        self.stats.datagrams_sent += count as u64;
        self.stats.bytes_sent += contents.len() as u64;
        Some(Transmit {
            path: self.path,
            contents,
            segment_size: (count > 1).then_some(segment),
        })
    }

    /// The next event.
    ///
    /// May change after [`handle_datagram`](Self::handle_datagram), [`handle_timeout`](Self::handle_timeout) and
    /// [`close`](Self::close).
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next, if nothing else happens before.
    ///
    /// May change after [`handle_datagram`](Self::handle_datagram), [`handle_timeout`](Self::handle_timeout) and
    /// [`close`](Self::close). `None` once the handshake is over.
    #[must_use = "the handshake makes no progress without its timer"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshaking(handshake) => Some(handshake.next_timeout()),
            _ => None,
        }
    }

    /// Sends `message` as one record in one datagram.
    ///
    /// Corresponds to `SSL_write_ex`.
    ///
    /// # Errors
    ///
    /// [`SendError::NotEstablished`] before the handshake is complete, [`SendError::Closed`] after [`close`](Self::close) or a
    /// failure, [`SendError::Empty`] for an empty message, [`SendError::TooLarge`] for one that does not fit into a datagram,
    /// [`SendError::Full`] while too many datagrams wait in [`poll_transmit`](Self::poll_transmit), and [`SendError::Failed`] if
    /// libssl gives up, which ends the connection.
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        let bound = match &mut self.phase {
            Phase::Handshaking(_) => return Err(SendError::NotEstablished),
            Phase::Established(bound) => bound,
            Phase::Closed(_) => return Err(SendError::Closed),
        };
        if message.is_empty() {
            return Err(SendError::Empty);
        }
        let oversize = self.context.transport().allow_oversize;
        let max = if oversize {
            self.max_message
        } else {
            self.data_mtu.min(self.max_message)
        };
        if message.len() > max {
            return Err(SendError::TooLarge { max });
        }
        if !bound.state().output.has_room(message.len() + MAX_EXPANSION) {
            return Err(SendError::Full);
        }
        match bound.write(message) {
            Outcome::Done => {
                self.stats.messages_sent += 1;
                self.stats.message_bytes_sent += message.len() as u64;
                Ok(())
            }
            Outcome::Failed(stack) => {
                self.end();
                Err(SendError::Failed(stack))
            }
            // The BIO takes every datagram and nothing is negotiated any more, so there is nothing to wait for; libssl writes
            // after the peer's close_notify as before.
            Outcome::Waits | Outcome::CloseNotify => Err(SendError::Closed),
        }
    }

    /// Takes the next message into `buffer` and answers its length; `None` while there is none.
    ///
    /// # Errors
    ///
    /// [`RecvError::TooSmall`] if the message is longer than `buffer`; it is kept.
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, RecvError> {
        let Some(needed) = self.received.front().map(<[u8]>::len) else {
            return Ok(None);
        };
        let Some(room) = buffer.get_mut(..needed) else {
            return Err(RecvError::TooSmall { needed });
        };
        if let Some(message) = self.received.pop() {
            room.copy_from_slice(message);
        }
        Ok(Some(needed))
    }

    /// Ends the connection from this side: queues one close_notify if it was established, and waits for nothing.
    ///
    /// Datagrams queued before still wait in [`poll_transmit`](Self::poll_transmit), received messages in [`recv`](Self::recv).
    /// Whether close_notify was sent is in [`Stats::close_notify_sent`]. Corresponds to `SSL_shutdown`, called once.
    pub fn close(&mut self) {
        let _entered = trace::enter_connection(self.role, self.path.peer);
        match &mut self.phase {
            Phase::Closed(_) => return,
            // A handshake that is given up has nothing to say; the peer's own deadline ends its side.
            Phase::Handshaking(handshake) => handshake.ssl.state_mut().output.truncate(0),
            Phase::Established(bound) => {
                let queued = bound.state().output.len();
                let shut_down = matches!(bound.shutdown(), Outcome::Done);
                self.stats.close_notify_sent = shut_down && bound.state().output.len() > queued;
            }
        }
        self.end();
        trace::event!(DEBUG, close_notify = self.stats.close_notify_sent, "closed");
        self.events.push_back(Event::Closed(CloseReason::Local));
    }

    /// Gives libssl's record buffers back until the connection is used again: call it when a connection falls idle.
    ///
    /// Saves about 33 KB; the next call that needs them allocates them again. Corresponds to `SSL_free_buffers`.
    pub fn release_buffers(&mut self) {
        if let Phase::Established(bound) = &mut self.phase {
            bound.release_buffers();
            bound.state_mut().output.shrink();
        }
        self.received.shrink();
        self.events.shrink_to_fit();
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where the peer is.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Goes on with a peer whose address has changed, or that answers from another local address.
    ///
    /// The caller has proved that it is the same peer: what waits in [`poll_transmit`](Self::poll_transmit) goes there as well.
    pub(crate) fn set_path(&mut self, path: Path) {
        self.path = path;
        if let Some(state) = self.state_mut() {
            state.set_peer(path.peer);
        }
    }

    /// Whether the handshake is complete and the connection not closed here.
    pub fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(_))
    }

    /// Whether the connection is over on this side: closed here, or failed.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// Whether the peer sent close_notify: it will send no more, but still receives.
    pub fn is_closed_by_peer(&self) -> bool {
        self.peer_closed
    }

    /// What the handshake agreed on; `None` until it is complete.
    pub fn handshake_info(&self) -> Option<&HandshakeInfo> {
        self.info.as_deref()
    }

    /// The largest datagram sent now. Lost flights lower it; see [`Event::MtuChanged`].
    pub fn mtu(&self) -> Mtu {
        self.mtu
    }

    /// Changes the largest datagram from now on; datagrams that wait already keep their size.
    ///
    /// # Errors
    ///
    /// [`ConfigError::MtuOutOfRange`] if libssl cannot work with so little.
    pub fn set_mtu(&mut self, mtu: Mtu) -> Result<(), ConfigError> {
        let out_of_range = |_| ConfigError::MtuOutOfRange { given: mtu.bytes() };
        match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.ssl.set_mtu(mtu).map_err(out_of_range)?,
            Phase::Established(bound) => {
                self.data_mtu = bound.data_mtu(mtu).map_err(out_of_range)?;
            }
            Phase::Closed(_) => {}
        }
        self.mtu = mtu;
        Ok(())
    }

    /// Ends an established connection whose peer turned out to be the wrong one: queues a fatal alert instead of close_notify, so
    /// that the peer does not take this for an orderly end.
    ///
    /// For programs that judge the peer after the handshake; see [`Dangerous::no_verification`](crate::Dangerous::no_verification).
    /// Which alert it is libssl decides. Before the handshake is complete, and after the end, this is [`close`](Self::close).
    pub fn refuse(&mut self) {
        let Phase::Established(bound) = &mut self.phase else {
            return self.close();
        };
        bound.refuse();
        self.end();
        self.events.push_back(Event::Closed(CloseReason::Local));
    }

    /// The largest message that fits into one datagram, in bytes; `None` until the handshake is complete.
    ///
    /// Corresponds to `DTLS_get_data_mtu`.
    pub fn data_mtu(&self) -> Option<usize> {
        let largest = self.data_mtu.min(self.max_message);
        self.info.as_ref().map(|_| largest)
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether `datagram` begins with a ClientHello that is not the one this server answers: a peer that started anew.
    ///
    /// Such a datagram is for the [`Listener`](crate::Listener); this connection stays until the new one has proved itself
    /// (RFC 6347, 4.2.8). Always `false` on a client, and on a server that waits for its first hello.
    pub fn starts_new_handshake(&self, datagram: &[u8]) -> bool {
        self.role == Role::Server
            && wire::first_client_hello(datagram).is_ok_and(|hello| {
                self.client_random
                    .is_some_and(|random| random != *hello.random)
            })
    }

    /// Whether an alert of the handshake waits to be believed.
    #[cfg(feature = "udp")]
    pub(crate) fn holds_alert(&self) -> bool {
        matches!(&self.phase, Phase::Handshaking(handshake) if handshake.holds_alert())
    }

    /// What the datagram BIO holds; `None` when it is gone.
    fn state_mut(&mut self) -> Option<&mut State> {
        match &mut self.phase {
            Phase::Handshaking(handshake) => Some(handshake.ssl.state_mut()),
            Phase::Established(bound) => Some(bound.state_mut()),
            Phase::Closed(bio) => bio.as_mut().map(DatagramBio::state_mut),
        }
    }

    /// Moves the BIO's own counts into the statistics.
    fn collect_counts(&mut self) {
        let state = match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.ssl.state_mut(),
            Phase::Established(bound) => bound.state_mut(),
            Phase::Closed(_) => return,
        };
        self.stats.drops.add_many(
            DropReason::SendQueueFull,
            std::mem::take(&mut state.lost_full),
        );
        let expired = std::mem::take(&mut state.timer.expired);
        if expired > 0 {
            trace::event!(DEBUG, "a flight is sent again");
        }
        self.stats.retransmissions += expired;
    }

    /// Ends the connection with `error`, or with what an earlier try of the handshake ended with.
    fn fail(&mut self, error: Error) -> Error {
        let error = match &mut self.phase {
            Phase::Handshaking(handshake) => handshake.error_to_tell(error),
            _ => error,
        };
        trace::event!(DEBUG, %error, "failed");
        self.end();
        error
    }

    /// Frees the `SSL` and keeps what waits to be sent.
    fn end(&mut self) {
        self.collect_counts();
        self.phase = match self.take_phase() {
            Phase::Handshaking(handshake) => Phase::Closed(Some(handshake.ssl.into_bio())),
            Phase::Established(bound) => Phase::Closed(Some(bound.into_bio())),
            closed @ Phase::Closed(_) => closed,
        };
    }

    /// Takes the phase out, to make the next one of it.
    fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Closed(None))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Handshaking(_) => "handshaking",
            Phase::Established(_) => "established",
            Phase::Closed(_) => "closed",
        };
        f.debug_struct("Connection")
            .field("phase", &phase)
            .field("role", &self.role)
            .field("path", &self.path)
            .field("mtu", &self.mtu)
            .field("info", &self.info)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
