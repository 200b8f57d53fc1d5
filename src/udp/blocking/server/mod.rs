//! A server for threads: one socket, many peers, a loop that runs a handler.

mod core;
mod handler;
mod run;

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

use self::core::Core;
pub use self::handler::{End, Handler, Peer};
use crate::connection::Connection;
use crate::context::Context;
use crate::cookie::{ClockAnchor, CookieRing, CookieSecret};
use crate::endpoint::{ConnectionHandle, Endpoint, EndpointConfig, EndpointStats};
use crate::error::{ConfigError, ConnectError, CookieError, ExportError, RebindError, SendError};
use crate::handshake_info::HandshakeInfo;
use crate::server_name::ServerName;
use crate::srtp::SrtpKeys;
use crate::stats::Stats;
use crate::types::Path;
use crate::udp::socket::{Sent, Socket, SocketConfig, UdpStats};
use crate::udp::waker::Waker;

/// How a [`Server`] is set up.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ServerConfig {
    endpoint: EndpointConfig,
    socket: SocketConfig,
    cookies: Option<CookieRing>,
}

impl ServerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits on connections and what they hold.
    pub fn endpoint(mut self, config: EndpointConfig) -> Self {
        self.endpoint = config;
        self
    }

    /// Buffers and options of the socket.
    pub fn socket(mut self, config: SocketConfig) -> Self {
        self.socket = config;
        self
    }

    /// The secrets of the cookies, to share them with other servers. Default: random ones of this server's own.
    pub fn cookies(mut self, ring: CookieRing) -> Self {
        self.cookies = Some(ring);
        self
    }

    fn ring(&self) -> Result<CookieRing, ServerError> {
        match &self.cookies {
            Some(ring) => Ok(ring.clone()),
            None => {
                let anchor = ClockAnchor::new(Instant::now(), SystemTime::now());
                Ok(CookieRing::random(anchor)?)
            }
        }
    }
}

/// Why a server could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The server could not be configured.
    #[error("the server could not be configured")]
    Config(#[from] ConfigError),
    /// There is no secret for the cookies.
    #[error("there is no secret for the cookies")]
    Cookie(#[from] CookieError),
    /// The socket could not be made or set up.
    #[error("the socket failed")]
    Io(#[from] io::Error),
}

impl From<ServerError> for io::Error {
    fn from(error: ServerError) -> io::Error {
        match error {
            ServerError::Config(error) => error.into(),
            ServerError::Io(error) => error,
            ServerError::Cookie(error) => io::Error::other(error),
        }
    }
}

/// Counts of one server, from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// What the endpoint counted.
    pub endpoint: EndpointStats,
    /// What the socket counted.
    pub udp: UdpStats,
    /// Calls of the handler that panicked. Each ended the connection it was about.
    pub handler_panics: u64,
    /// Callbacks of the context that panicked. Each ended the handshake it was called for.
    pub callback_panics: u64,
    /// Datagrams that could not be dealt with because something failed on this side; see [`Handler::trouble`].
    pub troubles: u64,
}

/// A DTLS server over one UDP socket, for threads.
///
/// One thread calls [`run`](Self::run) with a [`Handler`], which is told of connections and messages and answers through a
/// [`Peer`]. Meanwhile every other verb can be used from any thread; clones are the same server.
///
/// ```no_run
/// use openssl_dtls::{Context, Identity};
/// use openssl_dtls::udp::blocking::{Peer, Server, ServerConfig};
///
/// # fn serve(identity: Identity) -> Result<(), Box<dyn std::error::Error>> {
/// let context = Context::server(identity).build()?;
/// let server = Server::bind("[::]:4433".parse()?, &context, ServerConfig::new())?;
/// server.run(&mut |peer: &mut Peer<'_>, message: &[u8]| {
///     // A message that cannot be sent now is lost, as on the network.
///     let _ = peer.send(message);
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// A handler that panics ends the connection it was called for, and no other; a context's callback that panics ends its
/// handshake. Both are counted in [`ServerStats`], and a panic of the handler is told by [`Handler::panicked`].
///
/// When the last clone is dropped every connection is sent its close_notify.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    socket: Socket,
    waker: Waker,
    core: Mutex<Core>,
    /// Held by the thread that runs.
    runner: Mutex<()>,
    stopped: AtomicBool,
    handler_panics: AtomicU64,
    callback_panics: AtomicU64,
    troubles: AtomicU64,
}

impl Server {
    /// A server at `address`. An IPv6 address without a host, `[::]:4433`, serves IPv4 as well, where the system has sockets that
    /// do; see [`SocketConfig::only_v6`].
    ///
    /// # Errors
    ///
    /// [`ServerError::Io`] if the socket cannot be bound, [`ServerError::Config`] for a client's context or a limit out of its
    /// range, [`ServerError::Cookie`] if the random generator fails.
    pub fn bind(
        address: SocketAddr,
        context: &Context,
        config: ServerConfig,
    ) -> Result<Server, ServerError> {
        let socket = Socket::bind(address, &config.socket)?;
        Self::with(socket, context, config)
    }

    /// A server over an existing socket, which becomes non-blocking.
    ///
    /// Its buffers and options are set as `config` says, but for those that only a new socket can have.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn over(
        socket: UdpSocket,
        context: &Context,
        config: ServerConfig,
    ) -> Result<Server, ServerError> {
        let socket = Socket::over(socket, &config.socket)?;
        Self::with(socket, context, config)
    }

    /// Servers at one address for as many threads, each with a socket of its own (`SO_REUSEPORT`). They share the secrets of their
    /// cookies and nothing else: each is [run](Self::run) by its thread, and names its own connections.
    ///
    /// A peer's datagrams always come to the same one of them. That is the kernel's doing: Linux picks the socket by a hash of
    /// both addresses and ports, and keeps to it as long as the set of sockets stays the same. So do not drop one of them, nor bind
    /// another socket to the address, while the others have connections. Any program of the same user can do the latter.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`ServerError::Io`] with [`io::ErrorKind::Unsupported`] for more than one worker on a system other
    /// than Linux, and with [`io::ErrorKind::InvalidInput`] for none.
    pub fn bind_workers(
        address: SocketAddr,
        workers: usize,
        context: &Context,
        mut config: ServerConfig,
    ) -> Result<Vec<Server>, ServerError> {
        match workers {
            0 => return Err(io::Error::from(io::ErrorKind::InvalidInput).into()),
            1 => return Ok(vec![Self::bind(address, context, config)?]),
            _ if !cfg!(any(target_os = "linux", target_os = "android")) => {
                return Err(io::Error::from(io::ErrorKind::Unsupported).into());
            }
            _ => {}
        }
        config.cookies = Some(config.ring()?);
        config.socket = config.socket.reuse_port(true);
        let mut servers = Vec::with_capacity(workers);
        // All are bound before one of them reads, so that no peer's datagrams move to another socket in its handshake.
        let mut at = address;
        for _ in 0..workers {
            let server = Self::bind(at, context, config.clone())?;
            // The system may have chosen the port.
            at.set_port(server.local_addr()?.port());
            servers.push(server);
        }
        Ok(servers)
    }

    fn with(
        socket: Socket,
        context: &Context,
        config: ServerConfig,
    ) -> Result<Server, ServerError> {
        let ring = config.ring()?;
        let endpoint = Endpoint::server(config.endpoint, context, ring)?;
        Ok(Server {
            shared: Arc::new(Shared {
                socket,
                waker: Waker::new()?,
                core: Mutex::new(Core::new(endpoint)),
                runner: Mutex::new(()),
                stopped: AtomicBool::new(false),
                handler_panics: AtomicU64::new(0),
                callback_panics: AtomicU64::new(0),
                troubles: AtomicU64::new(0),
            }),
        })
    }

    /// Serves, on this thread, until [`stop`](Self::stop), or until a [`shutdown`](Self::shutdown) is complete.
    ///
    /// Nothing is received or retransmitted while no thread runs.
    ///
    /// # Errors
    ///
    /// What the system says if the socket cannot be waited for or read any more, and [`io::ErrorKind::ResourceBusy`] if another
    /// thread runs this server.
    pub fn run(&self, handler: &mut impl Handler) -> io::Result<()> {
        run::run(self, handler)
    }

    /// Makes [`run`](Self::run) return soon, now and in future. Connections stay as they are.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.waker.wake();
    }

    /// Refuses new peers, sends every connection its close_notify, and makes [`run`](Self::run) return when all that waits is
    /// sent, after `drain` at the latest.
    pub fn shutdown(&self, drain: Duration) {
        self.core().shutdown(Instant::now(), drain);
        self.shared.waker.wake();
    }

    /// Makes the running thread call [`Handler::woken`] soon. Several calls before it does are one.
    pub fn wake(&self) {
        self.core().wake_handler = true;
        self.shared.waker.wake();
    }

    /// Sends `message` to a peer as one record in one datagram. Waits for nothing.
    ///
    /// In a handler use [`Peer::send`], which leaves the sending to the end of the loop's turn.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`]. [`SendError::Full`] if the connection's queue is full and the system has no room for more either.
    pub fn send(&self, handle: ConnectionHandle, message: &[u8]) -> Result<(), SendError> {
        let sent = {
            let mut core = self.core();
            let mut sent = core.endpoint.send(handle, message);
            if matches!(sent, Err(SendError::Full)) {
                // This thread lends a hand instead of waiting for the one that runs.
                core.flush(&self.shared.socket, usize::MAX);
                sent = core.endpoint.send(handle, message);
            }
            sent
        };
        self.shared.waker.wake();
        sent
    }

    /// Closes a connection: its close_notify is sent, once.
    pub fn close(&self, handle: ConnectionHandle) {
        self.core().endpoint.close(handle);
        self.shared.waker.wake();
    }

    /// Opens a connection from this server's socket. [`Handler::connected`] tells when it is established,
    /// [`Handler::handshake_failed`] if it is not.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::connect`].
    pub fn connect(
        &self,
        context: &Context,
        path: impl Into<Path>,
        server_name: Option<ServerName>,
    ) -> Result<ConnectionHandle, ConnectError> {
        let now = Instant::now();
        let handle = self
            .core()
            .endpoint
            .connect(now, context, path, server_name)?;
        self.shared.waker.wake();
        Ok(handle)
    }

    /// Moves a connection to another address of its peer; see [`Endpoint::rebind`].
    ///
    /// # Errors
    ///
    /// As [`Endpoint::rebind`].
    pub fn rebind(
        &self,
        handle: ConnectionHandle,
        new_path: impl Into<Path>,
    ) -> Result<(), RebindError> {
        self.core().endpoint.rebind(handle, new_path)
    }

    /// Sends a datagram that is not DTLS through the server's socket: STUN, say.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if the system has no room for it now.
    pub fn send_plain(&self, path: impl Into<Path>, datagram: &[u8]) -> io::Result<()> {
        match self.shared.socket.send(path.into(), datagram, None) {
            Sent::All => Ok(()),
            Sent::Blocked { .. } | Sent::Starved { .. } => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Accepts peers on `context` from now on: a renewed certificate, say. Connections that exist keep the one they have.
    ///
    /// # Errors
    ///
    /// [`ConfigError::WrongRole`] for a client's context.
    pub fn set_context(&self, context: &Context) -> Result<(), ConfigError> {
        self.core().endpoint.set_context(context)
    }

    /// Makes cookies with a new random secret from now on. Those made before stay good until they expire.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails; the old secret stays in use.
    pub fn rotate_cookie_secret(&self) -> Result<(), CookieError> {
        self.core().endpoint.rotate_cookie_secret(Instant::now())
    }

    /// Makes cookies with `secret` from now on, for servers that share it.
    pub fn set_cookie_secret(&self, secret: CookieSecret) {
        if let Some(ring) = self.core().endpoint.cookie_ring() {
            ring.rotate(secret, Instant::now());
        }
    }

    /// Where a peer is. `None` once its connection is gone.
    pub fn path(&self, handle: ConnectionHandle) -> Option<Path> {
        self.look_at(handle, Connection::path)
    }

    /// What a connection's handshake agreed on. `None` before it is complete, and once the connection is gone.
    pub fn handshake_info(&self, handle: ConnectionHandle) -> Option<HandshakeInfo> {
        self.look_at(handle, |connection| connection.handshake_info().cloned())?
    }

    /// Fills `out` with keying material of a connection; see [`Connection::export_keying_material`].
    ///
    /// # Errors
    ///
    /// Those of [`Connection::export_keying_material`]; [`ExportError::NotEstablished`] for a handle without a connection.
    pub fn export_keying_material(
        &self,
        handle: ConnectionHandle,
        out: &mut [u8],
        label: &str,
        context: Option<&[u8]>,
    ) -> Result<(), ExportError> {
        self.look_at(handle, |connection| {
            connection.export_keying_material(out, label, context)
        })
        .unwrap_or(Err(ExportError::NotEstablished))
    }

    /// The SRTP keys of a connection, split by direction; see [`Connection::srtp_keys`].
    ///
    /// # Errors
    ///
    /// Those of [`Connection::srtp_keys`]; [`ExportError::NotEstablished`] for a handle without a connection.
    pub fn srtp_keys(&self, handle: ConnectionHandle) -> Result<SrtpKeys, ExportError> {
        self.look_at(handle, Connection::srtp_keys)
            .unwrap_or(Err(ExportError::NotEstablished))
    }

    /// The largest message that fits into one datagram to a peer, in bytes.
    pub fn data_mtu(&self, handle: ConnectionHandle) -> Option<usize> {
        self.look_at(handle, Connection::data_mtu)?
    }

    /// What one connection counted. `None` once it is gone.
    pub fn connection_stats(&self, handle: ConnectionHandle) -> Option<Stats> {
        self.look_at(handle, |connection| connection.stats().clone())
    }

    /// How many ICMP messages the system reported about a connection's datagrams. None of them ends a connection, since anybody can
    /// forge them. Always 0 on systems other than Linux, which do not say whom a message is about.
    pub fn icmp_errors(&self, handle: ConnectionHandle) -> u64 {
        self.core().icmp_errors(handle)
    }

    /// The established connections.
    pub fn connections(&self) -> Vec<ConnectionHandle> {
        let core = self.core();
        let connections = core.endpoint.connections();
        connections
            .filter(|(_, connection)| connection.is_established())
            .map(|(handle, _)| handle)
            .collect()
    }

    /// What was counted. Its cost grows with the number of connections.
    pub fn stats(&self) -> ServerStats {
        let shared = &self.shared;
        ServerStats {
            endpoint: self.core().endpoint.stats(),
            udp: shared.socket.stats(),
            handler_panics: shared.handler_panics.load(Ordering::Relaxed),
            callback_panics: shared.callback_panics.load(Ordering::Relaxed),
            troubles: shared.troubles.load(Ordering::Relaxed),
        }
    }

    /// The local address.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.socket.local_addr()
    }

    fn look_at<R>(
        &self,
        handle: ConnectionHandle,
        look: impl FnOnce(&Connection) -> R,
    ) -> Option<R> {
        self.core().endpoint.connection(handle).map(look)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.shared.core()
    }
}

impl Shared {
    /// The endpoint is left usable by a panic of another thread in it: it gives up the connection that was at work.
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let core = self.core.get_mut().unwrap_or_else(PoisonError::into_inner);
        core.shutdown(Instant::now(), Duration::ZERO);
        // Best effort: nobody waits for room any more.
        core.flush(&self.socket, usize::MAX);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("socket", &self.shared.socket)
            .field("endpoint", &self.core().endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Server {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.shared.socket.io().as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Server {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.shared.socket.io().as_socket()
    }
}
