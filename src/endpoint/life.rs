//! The life of a connection in its endpoint: how it comes in, goes on and goes.

use std::time::{Duration, Instant};

use openssl::error::ErrorStack;

use super::entry::{Entry, Stage};
use super::limits::Prefix;
use super::stats::HandshakeCounts;
use super::table::ConnectionHandle;
use super::{Endpoint, EndpointEvent};
use crate::connection::Connection;
use crate::error::Error;
use crate::types::{CloseReason, Role};

/// How soon a timer runs out that should have already: a driver that is late must not spin.
pub(super) const SOON: Duration = Duration::from_millis(1);
/// Events that are kept of connections that had to go.
const MAX_FAREWELLS: usize = 1024;

impl Endpoint {
    /// Makes room for one more connection, or answers `false`. No established connection goes for it.
    pub(super) fn make_room(&mut self) -> bool {
        while self.table.len() >= self.config.max_connections {
            if let Some((_, &slot)) = self.lingering.first_key_value() {
                self.free(slot);
            } else if let Some(slot) = self.half_open.oldest() {
                self.evict(slot, CloseReason::Evicted);
            } else {
                return false;
            }
        }
        true
    }

    /// Makes room for one more accepted handshake from `prefix`, or answers `false`.
    pub(super) fn make_room_for(&mut self, prefix: Prefix) -> bool {
        if self.send_bytes >= self.config.max_send_bytes {
            // Its first flight could not be queued.
            return false;
        }
        if self.half_open.of_prefix(prefix) >= self.config.max_half_open_per_prefix
            && let Some(slot) = self.half_open.oldest_of(prefix)
        {
            self.evict(slot, CloseReason::Evicted);
        }
        if self.half_open.len() >= self.config.max_half_open
            && let Some(slot) = self.half_open.oldest()
        {
            self.evict(slot, CloseReason::Evicted);
        }
        self.make_room()
    }

    /// Takes a new connection in, without a route to it.
    pub(super) fn insert(
        &mut self,
        connection: Connection,
        address: std::net::SocketAddr,
        stage: Stage,
        now: Instant,
    ) -> (u32, ConnectionHandle) {
        let age = self.next_age;
        self.next_age += 1;
        let counts = match connection.role() {
            Role::Server => &mut self.stats.accepted,
            Role::Client => &mut self.stats.opened,
        };
        counts.begun += 1;
        let entry = Entry::new(connection, address, age, stage, now);
        let handle = self.table.insert(entry);
        if let Stage::HalfOpen(prefix) = stage {
            self.half_open.add(age, prefix, handle.slot());
        }
        (handle.slot(), handle)
    }

    /// Brings everything in line with what the connection in `slot` has become, after each call on it, which answered `outcome`.
    pub(super) fn settle(&mut self, slot: u32, now: Instant, outcome: Result<(), Error>) {
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        if let Err(error) = outcome {
            entry.failure.get_or_insert(error);
            if !entry.connection.is_closed() {
                entry.connection.abandon();
            }
        }
        let in_handshake = matches!(entry.stage, Stage::HalfOpen(_) | Stage::Connecting);
        if in_handshake && entry.connection.handshake_info().is_some() {
            self.establish(slot, now);
        }
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        if entry.connection.is_closed_by_peer() && !entry.connection.is_closed() {
            // RFC 5246, 7.2.1: close_notify is answered with close_notify.
            entry.closing = Some(CloseReason::Peer);
            entry.connection.close();
        }
        if entry.stage != Stage::Ended && entry.connection.is_closed() {
            self.end(slot, now);
        }
        self.refresh(slot);
        self.schedule(slot, now);
    }

    /// The handshake in `slot` is complete; what was there before at its address goes.
    fn establish(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        let (age, address) = (entry.age, entry.address);
        let stage = std::mem::replace(&mut entry.stage, Stage::Established);
        entry.heard_at = now;
        // The handshake's timers mean nothing now.
        self.timers.set(slot, None);
        match stage {
            Stage::HalfOpen(prefix) => {
                self.half_open.remove(age, prefix);
                self.stats.accepted.completed += 1;
            }
            _ => self.stats.opened.completed += 1,
        }
        if let Some(old) = self.table.promote(address, slot)
            && let Some(entry) = self.table.entry_mut(old)
        {
            entry.closing = Some(CloseReason::Replaced);
            entry.connection.abandon();
            self.settle(old, now, Ok(()));
        }
    }

    /// The connection in `slot` is over: frees its address, and counts how it ended.
    fn end(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        let stage = std::mem::replace(&mut entry.stage, Stage::Ended);
        entry.since = now;
        if entry.end_told {
            // Nobody asks for the end of what was forgotten.
            entry.failure = None;
        }
        let (age, address) = (entry.age, entry.address);
        let role = entry.connection.role();
        match stage {
            Stage::Established => {
                let ended = &mut self.stats.ended;
                let count = match (&entry.failure, entry.closing) {
                    (Some(_), _) => &mut ended.failed,
                    (None, Some(CloseReason::Peer)) => &mut ended.closed_by_peer,
                    (None, Some(CloseReason::IdleTimeout)) => &mut ended.idle,
                    (None, Some(CloseReason::Replaced)) => &mut ended.replaced,
                    (None, _) => &mut ended.closed,
                };
                *count += 1;
            }
            _ => {
                let counts = match role {
                    Role::Server => &mut self.stats.accepted,
                    Role::Client => &mut self.stats.opened,
                };
                count_handshake(counts, entry.failure.as_ref(), entry.closing);
            }
        }
        if let Stage::HalfOpen(prefix) = stage {
            self.half_open.remove(age, prefix);
        }
        self.table.remove_route(address, slot);
    }

    /// Gives an accepted handshake up at once. Its event is kept, if there is room for it.
    pub(super) fn evict(&mut self, slot: u32, reason: CloseReason) {
        let Some(handle) = self.table.handle_of(slot) else {
            return;
        };
        if let Some(entry) = self.table.entry_mut(slot) {
            let since = entry.since;
            entry.closing = Some(reason);
            entry.connection.abandon();
            self.end(slot, since);
        }
        self.free(slot);
        if self.farewells.len() < MAX_FAREWELLS {
            let event = EndpointEvent::Closed(reason);
            self.farewells.push_back((handle, event));
        } else {
            self.stats.events_dropped += 1;
        }
    }

    /// The end of the connection in `slot` was told: it stays for what it left only.
    pub(super) fn leave(&mut self, slot: u32) {
        let Some(entry) = self.table.entry(slot) else {
            return;
        };
        if entry.is_done() {
            self.finished.push(slot);
        } else if entry.stage == Stage::Ended {
            self.lingering.insert(entry.age, slot);
        }
    }

    /// Takes the connection in `slot` out, which has ended.
    pub(super) fn free(&mut self, slot: u32) {
        let Some(entry) = self.table.remove(slot) else {
            return;
        };
        self.past.add(entry.connection.stats());
        self.send_bytes = self.send_bytes.saturating_sub(entry.send_bytes);
        self.receive_bytes = self.receive_bytes.saturating_sub(entry.receive_bytes);
        self.lingering.remove(&entry.age);
        self.timers.set(slot, None);
        self.outbox.sweep(&self.table);
        self.inbox.sweep(&self.table);
    }

    /// Looks at the queues of the connection in `slot`: what they hold, and whether it has something to send or to tell.
    pub(super) fn refresh(&mut self, slot: u32) {
        let Some(handle) = self.table.handle_of(slot) else {
            return;
        };
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        let (datagrams, send_bytes) = entry.connection.queued_output();
        let (_, receive_bytes) = entry.connection.queued_input();
        self.send_bytes = (self.send_bytes + send_bytes).saturating_sub(entry.send_bytes);
        self.receive_bytes =
            (self.receive_bytes + receive_bytes).saturating_sub(entry.receive_bytes);
        entry.send_bytes = send_bytes;
        entry.receive_bytes = receive_bytes;
        if datagrams > 0 && !entry.in_outbox {
            entry.in_outbox = true;
            self.outbox.push(handle);
        }
        if entry.has_event() && !entry.in_inbox {
            entry.in_inbox = true;
            self.inbox.push(handle);
        }
        if entry.is_done() {
            self.finished.push(slot);
        }
    }

    /// Sets the timer of `slot`. One that should have run out already runs out soon.
    pub(super) fn schedule(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.table.entry(slot) else {
            return;
        };
        let due = entry.due(&self.config).map(|due| due.max(now + SOON));
        // An established connection's deadlines move with every message: they are looked at again when the first has passed.
        if entry.stage == Stage::Established
            && let (Some(set), Some(due)) = (self.timers.get(slot), due)
            && set <= due
        {
            return;
        }
        self.timers.set(slot, due);
    }

    /// A deadline of `slot` has passed, or was moved since it was set.
    pub(super) fn time_out(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.table.entry_mut(slot) else {
            return;
        };
        let mut outcome = Ok(());
        if entry.connection.poll_timeout().is_some_and(|at| at <= now) {
            let (outgoing, incoming) = (
                self.config.max_send_bytes.saturating_sub(self.send_bytes),
                self.config
                    .max_receive_bytes
                    .saturating_sub(self.receive_bytes),
            );
            entry.connection.limit_growth(outgoing, incoming);
            self.at_work = Some(slot);
            outcome = entry.connection.handle_timeout(now);
            self.at_work = None;
        }
        match entry.stage {
            Stage::HalfOpen(_)
                if outcome.is_ok()
                    && entry.since + self.config.handshake_timeout <= now
                    && entry.connection.handshake_info().is_none() =>
            {
                outcome = Err(Error::HandshakeTimeout);
            }
            Stage::Established => {
                let config = &self.config;
                if entry.idle_at(config).is_some_and(|at| at <= now) {
                    entry.closing = Some(CloseReason::IdleTimeout);
                    entry.connection.close();
                } else if entry.release_at(config).is_some_and(|at| at <= now) {
                    entry.released = true;
                    entry.connection.release_buffers();
                }
            }
            Stage::Ended if entry.since + self.config.linger <= now => {
                entry.gone = true;
                entry.connection.discard_queues();
            }
            _ => {}
        }
        self.settle(slot, now, outcome);
    }

    /// The time to drain is over: nothing more is sent or read.
    pub(super) fn give_up(&mut self) {
        self.replies.clear();
        let slots: Vec<u32> = self.table.iter().map(|(handle, _)| handle.slot()).collect();
        for slot in slots {
            if let Some(entry) = self.table.entry_mut(slot) {
                entry.gone = true;
                entry.connection.discard_queues();
            }
            self.timers.set(slot, None);
            self.refresh(slot);
        }
    }

    /// A callback of the program panicked in the middle of a call on the connection in `slot`: it is not to be trusted any more.
    pub(super) fn abandon_after_panic(&mut self, slot: u32) {
        let now = match (self.latest, self.table.entry(slot)) {
            (Some(now), _) => now,
            (None, Some(entry)) => entry.since,
            (None, None) => return,
        };
        self.settle(slot, now, Err(Error::Protocol(ErrorStack::get())));
    }
}

fn count_handshake(
    counts: &mut HandshakeCounts,
    failure: Option<&Error>,
    closing: Option<CloseReason>,
) {
    let count = match (failure, closing) {
        (Some(Error::HandshakeTimeout), _) => &mut counts.timed_out,
        (Some(_), _) => &mut counts.failed,
        (None, Some(CloseReason::Evicted)) => &mut counts.evicted,
        (None, Some(CloseReason::Replaced)) => &mut counts.replaced,
        (None, _) => &mut counts.closed,
    };
    *count += 1;
}
