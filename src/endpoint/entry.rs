//! One connection of an endpoint, and what the endpoint keeps about it.

use std::net::SocketAddr;
use std::time::Instant;

use super::EndpointEvent;
use super::config::EndpointConfig;
use super::limits::Prefix;
use crate::connection::Connection;
use crate::error::Error;
use crate::types::{CloseReason, Event, Role};

/// How far a connection is, in the endpoint's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// An accepted handshake.
    HalfOpen(Prefix),
    /// A handshake of our own client.
    Connecting,
    Established,
    /// Over; what it left may still be sent, told and read.
    Ended,
}

pub(super) struct Entry {
    pub(super) connection: Connection,
    /// Its peer's address, as routes know it.
    pub(super) address: SocketAddr,
    /// Which one it is of all this endpoint ever had.
    pub(super) age: u64,
    pub(super) stage: Stage,
    /// When it began, or ended.
    pub(super) since: Instant,
    /// When a message of the peer last came.
    pub(super) heard_at: Instant,
    /// Messages of the peer so far.
    pub(super) heard: u64,
    /// When libssl last had something to do.
    pub(super) used_at: Instant,
    /// Whether its buffers were given back and not used since.
    pub(super) released: bool,
    /// Bytes of its queues, as they count in the endpoint's sums.
    pub(super) send_bytes: usize,
    pub(super) receive_bytes: usize,
    /// Whether it stands in the row of those that have something to send.
    pub(super) in_outbox: bool,
    /// Whether it stands in the row of those that have something to tell.
    pub(super) in_inbox: bool,
    /// Why this endpoint closed it, unless the program did.
    pub(super) closing: Option<CloseReason>,
    pub(super) failure: Option<Error>,
    /// Whether its end was told, or nobody wants to know.
    pub(super) end_told: bool,
    /// Whether the time to take what it left is over.
    pub(super) gone: bool,
}

impl Entry {
    pub(super) fn new(
        connection: Connection,
        address: SocketAddr,
        age: u64,
        stage: Stage,
        now: Instant,
    ) -> Box<Entry> {
        Box::new(Entry {
            connection,
            address,
            age,
            stage,
            since: now,
            heard_at: now,
            heard: 0,
            used_at: now,
            released: false,
            send_bytes: 0,
            receive_bytes: 0,
            in_outbox: false,
            in_inbox: false,
            closing: None,
            failure: None,
            end_told: false,
            gone: false,
        })
    }

    /// Notes that libssl had something to do, and whether the peer was heard.
    pub(super) fn note_use(&mut self, now: Instant) {
        self.used_at = now;
        self.released = false;
        let heard = self.connection.authentic_messages();
        if heard != self.heard {
            self.heard = heard;
            self.heard_at = now;
        }
    }

    pub(super) fn has_event(&self) -> bool {
        self.connection.has_event()
            || self.failure.is_some()
            || (self.stage == Stage::Ended && !self.end_told)
    }

    /// The next event. The end of the connection is told once, and nothing after it.
    pub(super) fn next_event(&mut self) -> Option<EndpointEvent> {
        while let Some(event) = self.connection.poll_event() {
            if self.end_told {
                continue;
            }
            return Some(match event {
                Event::Connected => EndpointEvent::Connected,
                Event::Readable => EndpointEvent::Readable,
                Event::MtuChanged(mtu) => EndpointEvent::MtuChanged(mtu),
                Event::Closed(reason) => {
                    self.end_told = true;
                    EndpointEvent::Closed(self.closing.unwrap_or(reason))
                }
            });
        }
        let failure = self.failure.take();
        if self.end_told || self.stage != Stage::Ended {
            return None;
        }
        self.end_told = true;
        Some(match failure {
            Some(error) => EndpointEvent::Failed(error),
            None => EndpointEvent::Closed(self.closing.unwrap_or(CloseReason::Local)),
        })
    }

    /// Whether nothing is left of it that anybody wants.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Ended
            && self.end_told
            && self.connection.queued_output() == (0, 0)
            && !self.connection.queued_input().0
    }

    /// When it will have been idle for too long.
    pub(super) fn idle_at(&self, config: &EndpointConfig) -> Option<Instant> {
        let timeout = match self.connection.role() {
            Role::Server => config.idle_timeout,
            Role::Client => config.client_idle_timeout,
        };
        Some(self.heard_at + timeout?)
    }

    /// When its buffers are to be given back.
    pub(super) fn release_at(&self, config: &EndpointConfig) -> Option<Instant> {
        if self.released {
            return None;
        }
        Some(self.used_at + config.release_after?)
    }

    /// When there is something to do about it, if nothing else happens.
    pub(super) fn due(&self, config: &EndpointConfig) -> Option<Instant> {
        let (one, other) = match self.stage {
            Stage::HalfOpen(_) => (
                self.connection.poll_timeout(),
                Some(self.since + config.handshake_timeout),
            ),
            Stage::Connecting => (self.connection.poll_timeout(), None),
            Stage::Established => {
                let quiet = [self.idle_at(config), self.release_at(config)];
                (
                    self.connection.poll_timeout(),
                    quiet.into_iter().flatten().min(),
                )
            }
            Stage::Ended if self.gone => (None, None),
            Stage::Ended => (Some(self.since + config.linger), None),
        };
        [one, other].into_iter().flatten().min()
    }
}
