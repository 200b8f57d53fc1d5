//! From a datagram to its connection, or through the front door.

use std::time::Instant;

use super::Endpoint;
use super::entry::{Entry, Stage};
use super::limits::Prefix;
use super::table::{Route, route_address};
use crate::error::Error;
use crate::listener::{Incoming, Proof};
use crate::types::{CloseReason, DropReason, Path, Transmit};
use crate::wire;

/// First bytes of DTLS records (RFC 7983, 7).
pub(super) const DTLS: core::ops::RangeInclusive<u8> = 20..=63;

impl Endpoint {
    /// Brings a datagram to where it belongs.
    pub(super) fn route(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), Error> {
        let Some(Route { first, second }) = self.table.route(route_address(path.peer)) else {
            return self.at_front_door(now, path, datagram);
        };
        let is_news_to = |slot| {
            self.table
                .entry(slot)
                .is_some_and(|entry| entry.connection.starts_new_handshake(datagram))
        };
        match second {
            _ if !is_news_to(first) => match second {
                // A hello of the first connection is for nobody else.
                Some(second) if !is_news_to(second) => {
                    self.offer_to_both(first, second, now, datagram);
                }
                _ => self.feed(first, now, datagram),
            },
            Some(second) if !is_news_to(second) => self.feed(second, now, datagram),
            _ => return self.at_front_door(now, path, datagram),
        }
        Ok(())
    }

    /// Gives a datagram to the connection in `slot`.
    fn feed(&mut self, slot: u32, now: Instant, datagram: &[u8]) {
        let outgoing = self.config.max_send_bytes.saturating_sub(self.send_bytes);
        let incoming = self
            .config
            .max_receive_bytes
            .saturating_sub(self.receive_bytes);
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        entry.connection.limit_growth(outgoing, incoming);
        self.at_work = Some(slot);
        let outcome = entry.connection.handle_datagram(now, datagram);
        self.at_work = None;
        entry.note_use(now);
        self.settle(slot, now, outcome);
    }

    /// While a handshake runs beside an established connection: what is in the clear is the handshake's; whose keys the rest was
    /// encrypted with only trying can tell.
    fn offer_to_both(&mut self, first: u32, second: u32, now: Instant, datagram: &[u8]) {
        self.feed(second, now, datagram);
        let may_try = |entry: &Entry| {
            entry.stage == Stage::Established && !entry.connection.bad_records_are_fatal()
        };
        let mut rest = datagram;
        while let Ok((record, after)) = wire::split_record(rest) {
            rest = after;
            // Asked each time: any record can end it.
            if record.epoch > 0 && self.table.entry(first).is_some_and(may_try) {
                self.feed(first, now, record.bytes);
            }
        }
    }

    /// A peer without a connection, or one that starts anew: gives it a cookie, or makes a connection of the one it returned.
    fn at_front_door(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), Error> {
        let Some(listener) = &mut self.listener else {
            self.stats.drops.add(DropReason::UnknownPeer);
            return Ok(());
        };
        if self.is_shutting_down {
            self.stats.refused.shutting_down += 1;
            return Ok(());
        }
        let exchange = listener.exchange();
        let hello = match exchange.judge(now, path.peer, datagram)? {
            Proof::Good(hello) => hello,
            Proof::Reply(length) => {
                let reply = Transmit::single(path, exchange.reply(length));
                if !self.replies.push(&reply) {
                    self.stats.replies_dropped += 1;
                }
                return Ok(());
            }
            Proof::Dropped(_) => return Ok(()),
        };
        let config = &self.config;
        let prefix = Prefix::of(path.peer.ip(), config.ipv4_prefix, config.ipv6_prefix);
        if !self.make_room_for(prefix) {
            self.stats.refused.no_room += 1;
            return Ok(());
        }
        let Some(listener) = &mut self.listener else {
            return Ok(());
        };
        let address = route_address(path.peer);
        match listener.accept(now, path, &hello, datagram)? {
            Incoming::Connection(connection) => {
                self.make_way(address);
                let stage = Stage::HalfOpen(prefix);
                let (slot, _) = self.insert(*connection, address, stage, now);
                self.table.add_route(address, slot);
                self.settle(slot, now, Ok(()));
            }
            // It never gets the address: it is there for its alert and its event.
            Incoming::Refused { connection, error } => {
                let stage = Stage::HalfOpen(prefix);
                let (slot, _) = self.insert(*connection, address, stage, now);
                self.settle(slot, now, Err(error));
            }
            Incoming::Reply(_) | Incoming::Dropped(_) => {}
        }
        Ok(())
    }

    /// An accepted handshake at `address` gives way to a newer one; an established connection does not.
    fn make_way(&mut self, address: std::net::SocketAddr) {
        let Some(Route { first, second }) = self.table.route(address) else {
            return;
        };
        for slot in [Some(first), second].into_iter().flatten() {
            let stage = self.table.entry(slot).map(|entry| entry.stage);
            if matches!(stage, Some(Stage::HalfOpen(_))) {
                self.evict(slot, CloseReason::Replaced);
            }
        }
    }
}
