//! A client for threads.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::connection::Connection;
use crate::context::Context;
use crate::error::{ConfigError, Error, ExportError, RecvError, SendError};
use crate::handshake_info::HandshakeInfo;
use crate::saved_session::SavedSession;
use crate::server_name::ServerName;
use crate::srtp::SrtpKeys;
use crate::stats::Stats;
use crate::udp::socket::is_icmp;

/// Room for the largest UDP datagram, in bytes.
const LARGEST_DATAGRAM: usize = 65_535;
/// How long a waiting thread sleeps at most before it looks whether another one closed the connection.
const LONGEST_SLEEP: Duration = Duration::from_millis(200);
/// The shortest sleep: a read timeout of zero would mean "for ever".
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// A DTLS client over a UDP socket of its own, for threads.
///
/// It is `Sync`: one thread can [`send`](Self::send) while another waits in [`recv`](Self::recv). It sends no message twice and
/// waits for none to arrive: DTLS messages get lost as UDP datagrams do. Dropping it closes the connection.
///
/// ```no_run
/// use openssl_dtls::udp::blocking::Client;
/// use openssl_dtls::{Context, ServerName};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let context = Context::client().trust_system().build()?;
/// let name = ServerName::try_from("gateway.example.org")?;
/// let client = Client::connect(&context, ("gateway.example.org", 4433), Some(name))?;
/// client.send(b"21.5 degrees")?;
/// let mut answer = [0; 1500];
/// if let Some(length) = client.recv(&mut answer)? {
///     println!("{:?}", &answer[..length]);
/// }
/// client.close()?;
/// # Ok(())
/// # }
/// ```
pub struct Client {
    socket: UdpSocket,
    peer: SocketAddr,
    /// Whether the socket is connected, so that the system filters by address and reports ICMP errors.
    connected: bool,
    connection: Mutex<Connection>,
    /// Held by the one thread that waits on the socket.
    reader: Mutex<Vec<u8>>,
    read_timeout: Mutex<Option<Duration>>,
    icmp_errors: AtomicU64,
    strays: AtomicU64,
}

/// Why a client's call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The connection could not be configured.
    #[error("the connection could not be configured")]
    Config(#[from] ConfigError),
    /// No address was found for the host.
    #[error("no address was found for the host")]
    NoAddress,
    /// The connection is over.
    #[error("the connection failed")]
    Connection(#[from] Error),
    /// The message was not sent.
    #[error("the message was not sent")]
    Send(#[from] SendError),
    /// The message was not received.
    #[error("the message was not received")]
    Recv(#[from] RecvError),
    /// No message came within the read timeout.
    #[error("no message came in time")]
    TimedOut,
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[from] io::Error),
}

impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> io::Error {
        match error {
            ClientError::Config(error) => error.into(),
            ClientError::Connection(error) => error.into(),
            ClientError::Send(error) => error.into(),
            ClientError::Recv(error) => error.into(),
            ClientError::Io(error) => error,
            ClientError::NoAddress => io::Error::new(ErrorKind::AddrNotAvailable, error),
            ClientError::TimedOut => io::Error::new(ErrorKind::TimedOut, error),
        }
    }
}

impl Client {
    /// Connects to the first of `addresses` that completes a handshake, each tried in turn and each for as long as
    /// [`TransportConfig::handshake_timeout`](crate::TransportConfig::handshake_timeout) says.
    ///
    /// `addresses` are a host and a port, `("example.org", 4433)` or `"example.org:4433"`. `server_name` is checked against the
    /// peer's certificate; see [`Connection::client`].
    ///
    /// # Errors
    ///
    /// [`ClientError::Config`] before anything is sent, [`ClientError::Io`] if the host cannot be resolved or the socket cannot be
    /// made, [`ClientError::NoAddress`], and otherwise what the last address ended with: [`Error::Unreachable`] if nothing
    /// listens there, [`Error::HandshakeTimeout`] if nothing answers.
    pub fn connect(
        context: &Context,
        addresses: impl ToSocketAddrs,
        server_name: Option<ServerName>,
    ) -> Result<Client, ClientError> {
        Self::connect_each(addresses, &|peer| {
            Connection::client(context, peer, server_name.clone(), Instant::now())
        })
    }

    /// As [`connect`](Self::connect), offering to resume `session`; see [`Connection::client_resuming`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and [`ConfigError::SessionMismatch`] in [`ClientError::Config`].
    pub fn connect_resuming(
        context: &Context,
        addresses: impl ToSocketAddrs,
        server_name: Option<ServerName>,
        session: &SavedSession,
    ) -> Result<Client, ClientError> {
        Self::connect_each(addresses, &|peer| {
            let (name, now) = (server_name.clone(), Instant::now());
            Connection::client_resuming(context, peer, name, session, now)
        })
    }

    /// Tries each address with a connection that `open` makes.
    fn connect_each(
        addresses: impl ToSocketAddrs,
        open: &dyn Fn(SocketAddr) -> Result<Connection, ConfigError>,
    ) -> Result<Client, ClientError> {
        let mut last = ClientError::NoAddress;
        for peer in addresses.to_socket_addrs()? {
            let attempt = connected_socket(peer)
                .map_err(ClientError::from)
                .and_then(|socket| Self::start(open(peer)?, socket, peer, true));
            match attempt {
                Ok(client) => return Ok(client),
                // The configuration is no better for the next address.
                Err(error @ ClientError::Config(_)) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to `peer` over an existing socket, which is put into blocking mode and has its read timeout changed.
    ///
    /// If the socket is not connected, datagrams from elsewhere are dropped and counted in [`SocketStats::strays`]; and not every
    /// system reports there that nothing listens at the peer's port, which then ends in [`Error::HandshakeTimeout`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect); [`ErrorKind::InvalidInput`] in [`ClientError::Io`] if the socket is connected to another
    /// peer.
    pub fn over(
        context: &Context,
        socket: UdpSocket,
        peer: SocketAddr,
        server_name: Option<ServerName>,
    ) -> Result<Client, ClientError> {
        let connected_to = socket.peer_addr().ok();
        if connected_to.is_some_and(|other| !is_same(other, peer)) {
            let message = "the socket is connected to another peer";
            return Err(io::Error::new(ErrorKind::InvalidInput, message).into());
        }
        socket.set_nonblocking(false)?;
        let connected = connected_to.is_some();
        let connection = Connection::client(context, peer, server_name, Instant::now())?;
        Self::start(connection, socket, peer, connected)
    }

    fn start(
        connection: Connection,
        socket: UdpSocket,
        peer: SocketAddr,
        connected: bool,
    ) -> Result<Client, ClientError> {
        let client = Client {
            socket,
            peer,
            connected,
            connection: Mutex::new(connection),
            reader: Mutex::new(vec![0; LARGEST_DATAGRAM]),
            read_timeout: Mutex::new(None),
            icmp_errors: AtomicU64::new(0),
            strays: AtomicU64::new(0),
        };
        {
            let mut reader = lock(&client.reader);
            client.flush(&mut lock(&client.connection))?;
            while !lock(&client.connection).is_established() {
                if let Err(error) = client.wait(&mut reader, None) {
                    client.look_again(error, &mut reader)?;
                }
            }
        }
        Ok(client)
    }

    /// Sends `message` as one datagram.
    ///
    /// # Errors
    ///
    /// [`ClientError::Send`] as [`Connection::send`] says, [`ClientError::Io`] if the socket does not take the datagram, within the
    /// write timeout if there is one; the connection goes on.
    pub fn send(&self, message: &[u8]) -> Result<(), ClientError> {
        let mut connection = lock(&self.connection);
        let outcome = connection.send(message);
        self.flush(&mut connection)?;
        Ok(outcome?)
    }

    /// Waits for the next message and answers its length; `None` once the connection is over, closed by either side, and every
    /// message before that was taken.
    ///
    /// One thread waits at a time; others wait for it to return, beyond their read timeout.
    ///
    /// # Errors
    ///
    /// [`ClientError::TimedOut`] after the read timeout, [`ClientError::Recv`] if `buffer` is too small, which keeps the message,
    /// [`ClientError::Connection`] if the connection failed, [`ClientError::Io`] if the socket did.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Option<usize>, ClientError> {
        // A timeout too long for the clock is as good as none.
        let timeout = *lock(&self.read_timeout);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut reader = lock(&self.reader);
        let mut waited = false;
        loop {
            {
                let mut connection = lock(&self.connection);
                if let Some(length) = connection.recv(buffer)? {
                    return Ok(Some(length));
                }
                if connection.is_closed() || connection.is_closed_by_peer() {
                    return Ok(None);
                }
            }
            // However short the timeout, what the socket has already is taken.
            if waited && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(ClientError::TimedOut);
            }
            self.wait(&mut reader, deadline)?;
            waited = true;
        }
    }

    /// Sends close_notify, once, and waits for nothing. A thread that waits in [`recv`](Self::recv) returns within 200 ms.
    ///
    /// # Errors
    ///
    /// [`ClientError::Io`] if the socket does not take the datagram; the connection is closed all the same.
    pub fn close(&self) -> Result<(), ClientError> {
        let mut connection = lock(&self.connection);
        connection.close();
        self.flush(&mut connection)
    }

    /// How long [`recv`](Self::recv) waits; `None`, the default, is for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) {
        *lock(&self.read_timeout) = timeout;
    }

    /// How long [`send`](Self::send) waits for room in the socket; `None`, the default, is for ever.
    ///
    /// # Errors
    ///
    /// What the system says, and [`ErrorKind::InvalidInput`] for a timeout of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// What the handshake agreed on.
    pub fn handshake_info(&self) -> Option<HandshakeInfo> {
        lock(&self.connection).handshake_info().cloned()
    }

    /// What it takes to resume this connection later; see [`Connection::saved_session`].
    pub fn saved_session(&self) -> Option<SavedSession> {
        lock(&self.connection).saved_session()
    }

    /// Fills `out` with keying material; see [`Connection::export_keying_material`].
    ///
    /// # Errors
    ///
    /// Those of [`Connection::export_keying_material`].
    pub fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &str,
        context: Option<&[u8]>,
    ) -> Result<(), ExportError> {
        lock(&self.connection).export_keying_material(out, label, context)
    }

    /// The SRTP keys, split by direction; see [`Connection::srtp_keys`].
    ///
    /// # Errors
    ///
    /// Those of [`Connection::srtp_keys`].
    pub fn srtp_keys(&self) -> Result<SrtpKeys, ExportError> {
        lock(&self.connection).srtp_keys()
    }

    /// The largest message that fits into one datagram, in bytes.
    pub fn data_mtu(&self) -> Option<usize> {
        lock(&self.connection).data_mtu()
    }

    /// What the connection counted.
    pub fn stats(&self) -> Stats {
        lock(&self.connection).stats().clone()
    }

    /// What was seen on the socket beside the connection.
    pub fn socket_stats(&self) -> SocketStats {
        SocketStats {
            icmp_errors: self.icmp_errors.load(Ordering::Relaxed),
            strays: self.strays.load(Ordering::Relaxed),
        }
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The local address.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for one datagram or for the connection's timer, at most until `deadline` or [`LONGEST_SLEEP`].
    fn wait(&self, reader: &mut [u8], deadline: Option<Instant>) -> Result<(), ClientError> {
        let now = Instant::now();
        let timer = lock(&self.connection).poll_timeout();
        let wake = [timer, deadline]
            .into_iter()
            .flatten()
            .fold(now + LONGEST_SLEEP, Instant::min);
        let sleep = wake.saturating_duration_since(now).max(SHORTEST_SLEEP);
        let received = self.receive(reader, sleep)?;
        let mut connection = lock(&self.connection);
        let now = Instant::now();
        let mut outcome = Ok(());
        if let Some(datagram) = received.and_then(|length| reader.get(..length)) {
            outcome = connection.handle_datagram(now, datagram);
        }
        if outcome.is_ok() && connection.poll_timeout().is_some_and(|at| at <= now) {
            outcome = connection.handle_timeout(now);
        }
        // What they say is asked of the connection where it matters.
        while connection.poll_event().is_some() {}
        // An alert for the peer goes out also when the connection failed, which is the error to tell.
        let flushed = self.flush(&mut connection);
        outcome?;
        flushed
    }

    /// Takes what arrived before the peer was unreachable, which systems tell later: if it refused with an alert before it went
    /// away, that is what to tell.
    fn look_again(&self, error: ClientError, reader: &mut [u8]) -> Result<(), ClientError> {
        if !matches!(error, ClientError::Connection(Error::Unreachable(_))) {
            return Err(error);
        }
        // Nothing is sent meanwhile, so there are no more ICMP messages than the one that is told again here.
        while let Some(length) = self.receive(reader, SHORTEST_SLEEP)? {
            let datagram = reader.get(..length).unwrap_or_default();
            lock(&self.connection).handle_datagram(Instant::now(), datagram)?;
        }
        let connection = lock(&self.connection);
        if connection.holds_alert() || connection.is_established() {
            return Ok(());
        }
        Err(error)
    }

    /// One datagram of the peer, within `sleep`.
    fn receive(&self, buffer: &mut [u8], sleep: Duration) -> Result<Option<usize>, ClientError> {
        self.socket.set_read_timeout(Some(sleep))?;
        let error = if self.connected {
            match self.socket.recv(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) => error,
            }
        } else {
            match self.socket.recv_from(buffer) {
                Ok((length, from)) if is_same(from, self.peer) => return Ok(Some(length)),
                Ok(_) => {
                    self.strays.fetch_add(1, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(error) => error,
            }
        };
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(None),
            _ if is_icmp(&error) => self
                .unreachable(error, &lock(&self.connection))
                .map(|()| None),
            _ => Err(error.into()),
        }
    }

    /// Sends what waits in the connection.
    fn flush(&self, connection: &mut Connection) -> Result<(), ClientError> {
        let mut failure = None;
        while let Some(transmit) = connection.poll_transmit() {
            let mut sent = self.transmit(transmit.contents);
            // The error was an ICMP message's for an earlier datagram, and this one was not sent.
            if sent.as_ref().is_err_and(is_icmp) {
                self.icmp_errors.fetch_add(1, Ordering::Relaxed);
                sent = self.transmit(transmit.contents);
            }
            if let Err(error) = sent {
                failure.get_or_insert(error);
            }
        }
        match failure {
            Some(error) if is_icmp(&error) => self.unreachable(error, connection),
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn transmit(&self, datagram: &[u8]) -> io::Result<()> {
        if self.connected {
            self.socket.send(datagram)?;
        } else {
            self.socket.send_to(datagram, self.peer)?;
        }
        Ok(())
    }

    /// ICMP says that nothing listens at the peer's port. Anybody can forge that, so it ends an attempt to connect and nothing else.
    fn unreachable(&self, error: io::Error, connection: &Connection) -> Result<(), ClientError> {
        self.icmp_errors.fetch_add(1, Ordering::Relaxed);
        // A peer that refused with an alert and is gone is not one that was never there.
        if connection.handshake_info().is_some()
            || connection.is_closed()
            || connection.holds_alert()
        {
            return Ok(());
        }
        Err(Error::Unreachable(error).into())
    }
}

/// Counts of a client's socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketStats {
    /// ICMP errors the system reported.
    pub icmp_errors: u64,
    /// Datagrams from other addresses, which were dropped.
    pub strays: u64,
}

impl Drop for Client {
    fn drop(&mut self) {
        // Best effort: there is nobody left to tell.
        self.close().unwrap_or_default();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("peer", &self.peer)
            .field("connection", &self.connection)
            .field("socket_stats", &self.socket_stats())
            .finish_non_exhaustive()
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Client {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Client {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

/// A UDP socket on any local port, connected to `peer`.
fn connected_socket(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&peer.into())?;
    Ok(socket.into())
}

/// Whether two addresses are the same peer's: an IPv4 address can come mapped into IPv6.
fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    (a.ip().to_canonical(), a.port()) == (b.ip().to_canonical(), b.port())
}

/// A panic of another thread leaves the connection as libssl left it, which is safe to go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
