//! What datagrams are sent through, and which addresses can be sent to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::error::Error;

/// What an operation sends datagrams through; borrowed for the call.
///
/// Implemented for `&UdpSocket`, for closures, and for an `Option` of either, whose `None` is Qt's null pointer.
pub trait Socket {
    /// Sends one datagram, all or nothing: to the socket's own peer if it is connected, else to `peer`.
    ///
    /// # Errors
    ///
    /// What the system says. The datagram is then lost, as it could have been on its way.
    fn send_datagram(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()>;

    /// The peer this socket is connected to, if it is.
    fn connected_peer(&self) -> Option<SocketAddr> {
        None
    }

    /// Whether there is no socket.
    fn is_null(&self) -> bool {
        false
    }
}

impl Socket for &UdpSocket {
    fn send_datagram(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        let sent = if self.peer_addr().is_ok() {
            self.send(datagram)
        } else {
            self.send_to(datagram, peer)
        };
        sent.map(drop)
    }

    fn connected_peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }
}

impl<F: FnMut(&[u8], SocketAddr) -> io::Result<()>> Socket for F {
    fn send_datagram(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        self(datagram, peer)
    }
}

impl<S: Socket> Socket for Option<S> {
    fn send_datagram(&mut self, datagram: &[u8], peer: SocketAddr) -> io::Result<()> {
        match self {
            Some(socket) => socket.send_datagram(datagram, peer),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn connected_peer(&self) -> Option<SocketAddr> {
        self.as_ref()?.connected_peer()
    }

    fn is_null(&self) -> bool {
        self.as_ref().is_none_or(Socket::is_null)
    }
}

pub(super) fn check_socket(socket: &impl Socket) -> Result<(), Error> {
    if socket.is_null() {
        return Err(Error::input("there is no socket"));
    }
    Ok(())
}

/// Refuses addresses that no single peer can have.
pub(super) fn check_peer(peer: SocketAddr) -> Result<(), Error> {
    let ip = peer.ip().to_canonical();
    if ip.is_unspecified() || peer.port() == 0 {
        return Err(Error::input("the peer has no address"));
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Error::input("DTLS has no broadcast and no multicast"));
    }
    Ok(())
}
