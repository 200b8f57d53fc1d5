//! What a program does with its connections, and with its endpoint.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::entry::Stage;
use super::table::{ConnectionHandle, route_address};
use crate::connection::Connection;
use crate::context::Context;
use crate::cookie::{CookieRing, CookieSecret};
use crate::error::{ConfigError, CookieError, Error, RebindError, RecvError, SendError};
use crate::listener::Listener;
use crate::types::{Mtu, Path};

impl Endpoint {
    /// Sends `message` as one record in one datagram.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`]: [`SendError::Closed`] also for a connection that ended, and [`SendError::Full`] also while too
    /// many bytes of all connections together wait in [`poll_transmit`](Self::poll_transmit).
    pub fn send(&mut self, handle: ConnectionHandle, message: &[u8]) -> Result<(), SendError> {
        self.begin(None);
        let outgoing = self.config.max_send_bytes.saturating_sub(self.send_bytes);
        let incoming = self
            .config
            .max_receive_bytes
            .saturating_sub(self.receive_bytes);
        let Some(slot) = self.table.slot_of(handle) else {
            return Err(SendError::Closed);
        };
        let Some(entry) = self.table.entry_mut(slot) else {
            return Err(SendError::Closed);
        };
        entry.connection.limit_growth(outgoing, incoming);
        let now = self.latest.unwrap_or(entry.since);
        let sent = entry.connection.send(message);
        match &sent {
            Ok(()) => {
                entry.note_use(now);
                self.settle(slot, now, Ok(()));
            }
            Err(SendError::Failed(stack)) => {
                let error = Error::Protocol(stack.clone());
                self.settle(slot, now, Err(error));
            }
            Err(_) => {}
        }
        sent
    }

    /// Takes the next message into `buffer` and answers its length; `None` while there is none, and for a connection that is gone.
    ///
    /// # Errors
    ///
    /// [`RecvError::TooSmall`] if the message is longer than `buffer`; it is kept.
    pub fn recv(
        &mut self,
        handle: ConnectionHandle,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, RecvError> {
        self.begin(None);
        let Some(slot) = self.table.slot_of(handle) else {
            return Ok(None);
        };
        let Some(entry) = self.table.entry_mut(slot) else {
            return Ok(None);
        };
        let taken = entry.connection.recv(buffer);
        self.refresh(slot);
        taken
    }

    /// Closes a connection: queues one close_notify if it was established, and waits for nothing.
    ///
    /// Told by [`EndpointEvent::Closed`](crate::EndpointEvent::Closed) like every end. Nothing happens to a connection that is
    /// over.
    pub fn close(&mut self, handle: ConnectionHandle) {
        self.begin(None);
        if let Some(slot) = self.table.slot_of(handle) {
            self.close_slot(slot);
        }
    }

    /// Ends an established connection whose peer turned out to be the wrong one, with a fatal alert in place of close_notify.
    ///
    /// See [`Connection::refuse`].
    pub fn refuse(&mut self, handle: ConnectionHandle) {
        self.begin(None);
        let Some(slot) = self.table.slot_of(handle) else {
            return;
        };
        if let Some(entry) = self.table.entry_mut(slot)
            && entry.stage != Stage::Ended
        {
            entry.connection.refuse();
            let now = self.latest.unwrap_or(entry.since);
            self.settle(slot, now, Ok(()));
        }
    }

    /// Changes the largest datagram of a connection from now on. Nothing happens to one that is over.
    ///
    /// # Errors
    ///
    /// [`ConfigError::MtuOutOfRange`] if libssl cannot work with so little.
    pub fn set_mtu(&mut self, handle: ConnectionHandle, mtu: Mtu) -> Result<(), ConfigError> {
        self.begin(None);
        match self.table.slot_of(handle) {
            Some(slot) => match self.table.entry_mut(slot) {
                Some(entry) => entry.connection.set_mtu(mtu),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Drops the messages of an ended connection that were not read, and its last event if that was not taken. Nothing happens to
    /// one that goes on.
    pub fn forget(&mut self, handle: ConnectionHandle) {
        self.begin(None);
        let Some(slot) = self.table.slot_of(handle) else {
            return;
        };
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        if entry.stage == Stage::Ended {
            entry.connection.discard_input();
            entry.end_told = true;
            entry.failure = None;
            self.refresh(slot);
            self.leave(slot);
        }
    }

    /// A connection, to look at. `None` once it is [gone](Endpoint#life-of-a-connection).
    pub fn connection(&self, handle: ConnectionHandle) -> Option<&Connection> {
        let slot = self.table.slot_of(handle)?;
        self.table.entry(slot).map(|entry| &entry.connection)
    }

    /// The connection that lives at an address: in its handshake or established.
    pub fn handle_of(&self, peer: SocketAddr) -> Option<ConnectionHandle> {
        let route = self.table.route(route_address(peer))?;
        self.table.handle_of(route.first)
    }

    /// Every connection, those that ended and are not gone yet included.
    pub fn connections(&self) -> impl Iterator<Item = (ConnectionHandle, &Connection)> {
        self.table
            .iter()
            .map(|(handle, entry)| (handle, &entry.connection))
    }

    /// Moves an established connection to another address of its peer.
    ///
    /// For programs that learn the new address by means that an attacker cannot forge: ICE, a token in a message. No datagram
    /// moves a connection. What waits to be sent goes to the new address.
    ///
    /// # Errors
    ///
    /// [`RebindError::AddressInUse`] where another connection lives, [`RebindError::NotEstablished`] in a handshake,
    /// [`RebindError::Closed`] for a connection that is over.
    pub fn rebind(
        &mut self,
        handle: ConnectionHandle,
        new_path: impl Into<Path>,
    ) -> Result<(), RebindError> {
        let path = new_path.into();
        self.begin(None);
        let slot = self.table.slot_of(handle).ok_or(RebindError::Closed)?;
        let address = route_address(path.peer);
        let taken = self.table.route(address).map(|route| route.first);
        let entry = self.table.entry_mut(slot).ok_or(RebindError::Closed)?;
        match entry.stage {
            Stage::Established => {}
            Stage::Ended => return Err(RebindError::Closed),
            Stage::HalfOpen(_) | Stage::Connecting => return Err(RebindError::NotEstablished),
        }
        if taken.is_some_and(|taken| taken != slot) {
            return Err(RebindError::AddressInUse);
        }
        entry.connection.set_path(path);
        let old_address = std::mem::replace(&mut entry.address, address);
        if old_address != address {
            self.table.remove_route(old_address, slot);
            self.table.add_route(address, slot);
        }
        Ok(())
    }

    /// Accepts peers from now on, on `context` and with cookies of `ring`, also if it did so before in another way.
    ///
    /// # Errors
    ///
    /// [`ConfigError::WrongRole`] for a client's context.
    pub fn set_server(&mut self, context: &Context, ring: CookieRing) -> Result<(), ConfigError> {
        let listener = Listener::new(context, ring)?;
        if let Some(old) = self.listener.replace(listener) {
            old.stats().add_to(&mut self.stats);
        }
        Ok(())
    }

    /// Accepts peers on `context` from now on: a renewed certificate, say. Connections that exist keep the one they have.
    ///
    /// # Errors
    ///
    /// [`ConfigError::WrongRole`] for a client's context, [`ConfigError::NoServer`] if no peers are accepted.
    pub fn set_context(&mut self, context: &Context) -> Result<(), ConfigError> {
        let listener = self.listener.as_mut().ok_or(ConfigError::NoServer)?;
        listener.set_context(context)
    }

    /// The secrets of the cookies, to rotate them with shared ones; `None` if no peers are accepted.
    pub fn cookie_ring(&self) -> Option<&CookieRing> {
        self.listener.as_ref().map(Listener::cookie_ring)
    }

    /// Makes cookies with a new random secret from now on. Those made before stay good until they expire.
    ///
    /// Done by itself every hour, or as the [`CookieRing`] says. Nothing happens if no peers are accepted.
    ///
    /// # Errors
    ///
    /// [`CookieError::Random`] if the generator fails; the old secret stays in use.
    pub fn rotate_cookie_secret(&mut self, now: Instant) -> Result<(), CookieError> {
        self.begin(Some(now));
        if let Some(listener) = &self.listener {
            listener.cookie_ring().rotate(CookieSecret::random()?, now);
        }
        Ok(())
    }

    /// Ends the endpoint's work: refuses new peers, closes every connection, and lets what waits be sent for `drain` at most.
    ///
    /// Each established connection gets one close_notify; handshakes are given up. Their events are told as ever, and messages
    /// can be read until `drain` is over. A second call changes the deadline only.
    pub fn shutdown(&mut self, now: Instant, drain: Duration) {
        self.begin(Some(now));
        // A deadline beyond the end of time is none.
        self.drain_until = now.checked_add(drain);
        if self.is_shutting_down {
            return;
        }
        self.is_shutting_down = true;
        let slots: Vec<u32> = self.table.iter().map(|(handle, _)| handle.slot()).collect();
        for slot in slots {
            self.close_slot(slot);
        }
    }

    /// Whether the endpoint was [shut down](Self::shutdown) and nothing waits to be sent any more.
    pub fn is_drained(&self) -> bool {
        self.is_shutting_down && self.send_bytes == 0 && self.replies.len() == 0
    }

    fn close_slot(&mut self, slot: u32) {
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        if entry.stage != Stage::Ended {
            entry.connection.close();
            let now = self.latest.unwrap_or(entry.since);
            self.settle(slot, now, Ok(()));
        }
    }
}
