//! A UDP socket for many peers: its set-up, batches in and out, and what the system says about lost datagrams.

mod batch;
mod config;
mod stats;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quinn_udp::{BATCH_SIZE, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

pub(crate) use self::batch::Batch;
use self::batch::LARGEST_READ;
pub use self::config::SocketConfig;
pub use self::stats::UdpStats;
use self::stats::{Counters, add};
use super::waker::Waker;
use crate::sys::socket::{self, Ready};
use crate::types::Path;

/// The most bytes of one call to the system: what fits behind the headers of IPv6 and UDP.
const LARGEST_WRITE: usize = 65_535 - 48;
/// How often a call is tried again that failed with the ICMP message of an earlier datagram.
const TRIES: usize = 4;
/// How many ICMP messages are read at once, and remembered until somebody asks for their peers.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ICMP_BATCH: usize = 256;

/// What became of a batch of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Sent {
    /// Nothing is left to do: the system took all, or refused what it did not take, which is counted.
    All,
    /// What begins at this byte is to be sent again when the socket can be written.
    Blocked { at: usize },
    /// As `Blocked`, but the system has no word for when it has room again.
    Starved { at: usize },
}

/// A socket without a peer of its own, which does not block.
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    v6: bool,
    /// Bound to one address, which the system then sends from.
    one_address: bool,
    counters: Counters,
    icmp_peers: Mutex<Vec<SocketAddr>>,
}

impl Socket {
    /// A new socket, bound to `address`.
    pub(crate) fn bind(address: SocketAddr, config: &SocketConfig) -> io::Result<Socket> {
        let socket = RawSocket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            let set = socket.set_only_v6(config.only_v6);
            // A system without dual-stack sockets has one kind, which is what it says on reading.
            if set.is_err() && (config.only_v6 || socket.only_v6().is_err()) {
                set?;
            }
        }
        if config.reuse_port {
            reuse_port(&socket)?;
        }
        socket.bind(&address.into())?;
        Socket::over(socket.into(), config)
    }

    /// Takes a bound socket over, and makes it non-blocking.
    pub(crate) fn over(io: UdpSocket, config: &SocketConfig) -> io::Result<Socket> {
        let local = io.local_addr()?;
        let v6 = local.is_ipv6();
        let raw = socket2::SockRef::from(&io);
        raw.set_recv_buffer_size(config.receive_buffer)?;
        raw.set_send_buffer_size(config.send_buffer)?;
        socket::prepare(&io)?;
        let one_address = !local.ip().is_unspecified();
        let state = set_up(&io, v6, config.allow_fragments)?;
        socket::tell_less(&io, v6, one_address);
        Ok(Socket {
            state,
            v6,
            one_address,
            io,
            counters: Counters::default(),
            icmp_peers: Mutex::new(Vec::new()),
        })
    }

    /// The address it is bound to.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// The socket itself, to lend its descriptor.
    pub(crate) fn io(&self) -> &UdpSocket {
        &self.io
    }

    pub(crate) fn stats(&self) -> UdpStats {
        self.counters.snapshot()
    }

    /// Room for the datagrams of one [`receive`](Self::receive).
    pub(crate) fn batch(&self) -> Batch {
        Batch::new()
    }

    /// How many datagrams of one size the system sends in one call.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Waits until there is something to read, room to write (if `writable` asks), `waker` rings, or `timeout` is over.
    pub(crate) fn wait(
        &self,
        waker: &Waker,
        writable: bool,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let ready = socket::wait(&self.io, waker.ear(), writable, timeout)?;
        if ready.failed {
            self.drain_icmp();
        }
        Ok(ready)
    }

    /// Fills `batch` with what has arrived; it is empty if nothing has.
    ///
    /// # Errors
    ///
    /// What the system says, unless it is about a single peer.
    pub(crate) fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.count = 0;
        for _ in 0..TRIES {
            let mut chunks = batch.buffer.chunks_exact_mut(LARGEST_READ);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let received =
                self.state
                    .recv(UdpSockRef::from(&self.io), &mut slices, &mut batch.metas);
            match received {
                Ok(count) => {
                    batch.count = count;
                    self.count_received(batch);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_icmp(&error) => self.note_icmp(&error),
                Err(error) => {
                    add(&self.counters.receive_errors, 1);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sends `contents` to `path`: one datagram, or with `segment` as many as there are runs of so many bytes, of which the last
    /// may be shorter.
    pub(crate) fn send(&self, path: Path, contents: &[u8], segment: Option<usize>) -> Sent {
        let segment = segment.unwrap_or(contents.len()).max(1);
        let mut at = 0;
        let mut singly = false;
        while let Some(rest) = contents.get(at..).filter(|rest| !rest.is_empty()) {
            let most = if singly { 1 } else { self.max_segments() };
            let room = segment * most.min(LARGEST_WRITE / segment).max(1);
            let part = rest.get(..room).unwrap_or(rest);
            let datagrams = part.len().div_ceil(segment);
            match self.send_part(path, part, segment) {
                Ok(()) => {
                    add(&self.counters.datagrams_sent, datagrams);
                    add(&self.counters.bytes_sent, part.len());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    add(&self.counters.blocked, 1);
                    return Sent::Blocked { at };
                }
                Err(error) if is_out_of_buffers(&error) => {
                    add(&self.counters.blocked, 1);
                    return Sent::Starved { at };
                }
                // Neither the system nor the driver says beforehand that it cannot split this.
                Err(_) if datagrams > 1 => {
                    singly = true;
                    continue;
                }
                Err(_) => add(&self.counters.send_errors, 1),
            }
            at += part.len();
        }
        Sent::All
    }

    /// One call of the system, repeated while it fails because of an earlier datagram.
    fn send_part(&self, path: Path, part: &[u8], segment: usize) -> io::Result<()> {
        let mut transmit = quinn_udp::Transmit {
            destination: self.to_system(path.peer),
            ecn: None,
            contents: part,
            segment_size: (part.len() > segment).then_some(segment),
            src_ip: self.source(path),
        };
        let mut tries = 0;
        loop {
            add(&self.counters.send_calls, 1);
            let sent = self.state.try_send(UdpSockRef::from(&self.io), &transmit);
            let Err(error) = sent else {
                return Ok(());
            };
            tries += 1;
            let bad_source = matches!(
                error.kind(),
                ErrorKind::NetworkUnreachable
                    | ErrorKind::AddrNotAvailable
                    | ErrorKind::InvalidInput
            );
            if tries >= TRIES {
                return Err(error);
            } else if bad_source && transmit.src_ip.is_some() {
                // The peer wrote to a broadcast address, or the address is gone.
                transmit.src_ip = None;
            } else if is_icmp(&error) {
                self.note_icmp(&error);
            } else {
                return Err(error);
            }
        }
    }

    /// The peers of the ICMP messages since the last call.
    pub(crate) fn take_icmp_peers(&self) -> Vec<SocketAddr> {
        let mut peers = self
            .icmp_peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *peers)
    }

    fn count_received(&self, batch: &Batch) {
        add(&self.counters.receive_calls, 1);
        let (mut datagrams, mut bytes) = (0, 0);
        for meta in batch.metas.iter().take(batch.count) {
            datagrams += meta.len.div_ceil(meta.stride.max(1)).max(1);
            bytes += meta.len;
        }
        add(&self.counters.datagrams_received, datagrams);
        add(&self.counters.bytes_received, bytes);
    }

    /// A call failed, perhaps because of an ICMP message: finds out about whom, where the system tells.
    fn note_icmp(&self, error: &io::Error) {
        let may_be_route = matches!(
            error.kind(),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
        );
        // Without a route the call fails as well.
        if self.drain_icmp() == 0 && !may_be_route {
            add(&self.counters.icmp_errors, 1);
        }
    }

    /// Reads the socket's queue of errors, and answers how many there were.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn drain_icmp(&self) -> usize {
        let raw = socket2::SockRef::from(&self.io);
        let mut nothing = [std::mem::MaybeUninit::uninit(); 1];
        let mut count = 0;
        while count < ICMP_BATCH {
            // The sender of such an "arrival" is whom the datagram was sent to that the message is about.
            match raw.recv_from_with_flags(&mut nothing, libc::MSG_ERRQUEUE) {
                Ok((_, about)) => {
                    count += 1;
                    let mut peers = self
                        .icmp_peers
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    if let Some(peer) = about.as_socket().filter(|_| peers.len() < ICMP_BATCH) {
                        peers.push(self::batch::canonical(peer));
                    }
                }
                Err(_) => break,
            }
        }
        add(&self.counters.icmp_errors, count);
        count
    }

    /// Other systems have no such queue.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn drain_icmp(&self) -> usize {
        0
    }

    /// `peer` as this socket's system calls name it.
    fn to_system(&self, peer: SocketAddr) -> SocketAddr {
        match peer {
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            peer => peer,
        }
    }

    /// The address to send from; `None` leaves it to the system.
    fn source(&self, path: Path) -> Option<IpAddr> {
        if self.one_address {
            return None;
        }
        match path.local? {
            IpAddr::V4(v4) if self.v6 => Some(v4.to_ipv6_mapped().into()),
            local => Some(local),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("io", &self.io)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Asks the system for all that batches need, and for its errors.
fn set_up(io: &UdpSocket, v6: bool, fragments: bool) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(io))?;
    if fragments {
        socket::allow_fragments(io, v6)?;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    state.enable_transport_errors(UdpSockRef::from(io))?;
    Ok(state)
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
fn reuse_port(socket: &RawSocket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos")))))]
fn reuse_port(_socket: &RawSocket) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Whether the system reports an ICMP message, which may be about an earlier datagram and another peer: port unreachable (on Windows as a reset), or a firewall's
/// refusal.
pub(super) fn is_icmp(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

#[cfg(unix)]
fn is_out_of_buffers(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(windows)]
fn is_out_of_buffers(error: &io::Error) -> bool {
    /// `winerror.h`
    const WSAENOBUFS: i32 = 10055;
    error.raw_os_error() == Some(WSAENOBUFS)
}
