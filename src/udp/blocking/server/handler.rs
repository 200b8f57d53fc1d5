//! What a server tells its program, and how the program answers.

use std::any::Any;
use std::cell::Cell;
use std::fmt;

use super::Server;
use crate::endpoint::ConnectionHandle;
use crate::error::{Error, ExportError, SendError};
use crate::handshake_info::HandshakeInfo;
use crate::srtp::SrtpKeys;
use crate::types::{CloseReason, Mtu, Path};

/// What a server does with its peers. Called by the one thread that is in [`Server::run`], so it may keep what it likes in itself;
/// while it works nothing else happens on the server.
///
/// Only [`message`](Self::message) must be there, and a closure can be it: `|peer: &mut Peer<'_>, message: &[u8]| { ... }`.
#[expect(unused_variables, reason = "the names are for the documentation")]
pub trait Handler {
    /// A peer completed its handshake.
    fn connected(&mut self, peer: &mut Peer<'_>) {}

    /// A peer sent a message.
    fn message(&mut self, peer: &mut Peer<'_>, message: &[u8]);

    /// The largest datagram to a peer changed, after lost flights.
    fn mtu_changed(&mut self, peer: &mut Peer<'_>, mtu: Mtu) {}

    /// An established connection is over. Told once for each that was [`connected`](Self::connected); all its messages were handed
    /// out before, unless it was closed in the handler.
    fn closed(&mut self, handle: ConnectionHandle, end: End<'_>) {}

    /// A handshake was given up.
    fn handshake_failed(&mut self, handle: ConnectionHandle, end: End<'_>) {}

    /// A datagram came that is not DTLS by its first byte. Only if
    /// [`EndpointConfig::hand_out_foreign`](crate::EndpointConfig::hand_out_foreign) is set. Answer with [`Server::send_plain`].
    fn foreign(&mut self, server: &Server, path: Path, datagram: &[u8]) {}

    /// Somebody called [`Server::wake`].
    fn woken(&mut self, server: &Server) {}

    /// A call of this handler panicked, with this payload. The connection it was about is closed; that is told as ever.
    fn panicked(&mut self, handle: Option<ConnectionHandle>, panic: &(dyn Any + Send)) {}

    /// A datagram could not be dealt with because something failed on this side: the random generator, say. The server goes on.
    fn trouble(&mut self, error: &Error) {}
}

impl<F: FnMut(&mut Peer<'_>, &[u8])> Handler for F {
    fn message(&mut self, peer: &mut Peer<'_>, message: &[u8]) {
        self(peer, message);
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum End<'a> {
    /// In an orderly way.
    Closed(CloseReason),
    /// By an error.
    Failed(&'a Error),
}

/// A peer whose turn it is in a [`Handler`].
pub struct Peer<'a> {
    server: &'a Server,
    handle: ConnectionHandle,
    closed: Cell<bool>,
}

impl<'a> Peer<'a> {
    pub(super) fn new(server: &'a Server, handle: ConnectionHandle) -> Peer<'a> {
        Peer {
            server,
            handle,
            closed: Cell::new(false),
        }
    }

    /// Whether the handler closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The peer's name at its server, for [`Server::send`] and others.
    pub fn handle(&self) -> ConnectionHandle {
        self.handle
    }

    /// Where the peer is. `None` if its connection is gone already.
    pub fn path(&self) -> Option<Path> {
        self.server.path(self.handle)
    }

    /// The server.
    pub fn server(&self) -> &'a Server {
        self.server
    }

    /// Sends `message` as one record in one datagram, when this turn of the loop is over.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`](crate::Connection::send).
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        if self.closed.get() {
            return Err(SendError::Closed);
        }
        self.server.send_from_loop(self.handle, message)
    }

    /// Closes the connection once the handler has returned: what it sent goes out, then a close_notify, and no message of this
    /// peer is handed out any more.
    pub fn close(&mut self) {
        self.closed.set(true);
    }

    /// What the handshake agreed on.
    pub fn handshake_info(&self) -> Option<HandshakeInfo> {
        self.server.handshake_info(self.handle)
    }

    /// Fills `out` with keying material; see [`Server::export_keying_material`].
    ///
    /// # Errors
    ///
    /// Those of [`Connection::export_keying_material`](crate::Connection::export_keying_material).
    pub fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &str,
        context: Option<&[u8]>,
    ) -> Result<(), ExportError> {
        self.server
            .export_keying_material(self.handle, out, label, context)
    }

    /// The SRTP keys, split by direction; see [`Server::srtp_keys`].
    ///
    /// # Errors
    ///
    /// Those of [`Connection::srtp_keys`](crate::Connection::srtp_keys).
    pub fn srtp_keys(&self) -> Result<SrtpKeys, ExportError> {
        self.server.srtp_keys(self.handle)
    }

    /// The largest message that fits into one datagram, in bytes.
    pub fn data_mtu(&self) -> Option<usize> {
        self.server.data_mtu(self.handle)
    }
}

impl fmt::Debug for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("handle", &self.handle)
            .field("closed", &self.closed.get())
            .finish_non_exhaustive()
    }
}
