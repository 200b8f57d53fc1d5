//! What the threads of a server share under one lock: the endpoint, and what the system had no room for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::endpoint::{ConnectionHandle, Endpoint};
use crate::types::Path;
use crate::udp::socket::{Sent, Socket};

/// How long to wait when the system has no buffers and no word for when it has some again.
const STARVED: Duration = Duration::from_millis(1);
/// The most datagrams to take from a connection at once: what one call of the system can take.
const MOST_SEGMENTS: usize = 64;

pub(super) struct Core {
    pub(super) endpoint: Endpoint,
    /// Taken from the endpoint, but the system had no room.
    unsent: Unsent,
    icmp_errors: HashMap<ConnectionHandle, u64>,
    /// Somebody asked for `Handler::woken`.
    pub(super) wake_handler: bool,
    /// Until when a shutdown may take.
    drain_until: Option<Instant>,
    is_shutting_down: bool,
}

/// Datagrams to one peer, of one size, that wait for room in the system. Its memory is used again.
#[derive(Default)]
struct Unsent {
    path: Option<Path>,
    contents: Vec<u8>,
    segment: Option<usize>,
}

/// What is left after sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// More than was to be sent at once.
    More,
    /// Until the socket can be written.
    UntilWritable,
    /// Until some time has passed.
    For(Duration),
}

impl Core {
    pub(super) fn new(endpoint: Endpoint) -> Core {
        Core {
            endpoint,
            unsent: Unsent::default(),
            icmp_errors: HashMap::new(),
            wake_handler: false,
            drain_until: None,
            is_shutting_down: false,
        }
    }

    /// Sends what waits, in at most `calls` calls of the system.
    pub(super) fn flush(&mut self, socket: &Socket, calls: usize) -> Left {
        if let Some(path) = self.unsent.path {
            let sent = socket.send(path, &self.unsent.contents, self.unsent.segment);
            if let Some(left) = left(sent) {
                if let Sent::Blocked { at } | Sent::Starved { at } = sent {
                    self.unsent.contents.drain(..at);
                }
                return left;
            }
            self.unsent.path = None;
            self.unsent.contents.clear();
        }
        let segments = socket.max_segments().min(MOST_SEGMENTS);
        for _ in 0..calls {
            let Some(transmit) = self.endpoint.poll_transmit_batch(segments) else {
                return Left::Nothing;
            };
            let sent = socket.send(transmit.path, transmit.contents, transmit.segment_size);
            if let Some(left) = left(sent) {
                if let Sent::Blocked { at } | Sent::Starved { at } = sent {
                    let rest = transmit.contents.get(at..).unwrap_or_default();
                    self.unsent.contents.extend_from_slice(rest);
                    self.unsent.path = Some(transmit.path);
                    self.unsent.segment = transmit.segment_size;
                }
                return left;
            }
        }
        Left::More
    }

    pub(super) fn shutdown(&mut self, now: Instant, drain: Duration) {
        self.endpoint.shutdown(now, drain);
        self.is_shutting_down = true;
        self.drain_until = now.checked_add(drain);
    }

    /// Whether a shutdown is complete, or has taken as long as it may.
    pub(super) fn is_drained(&self, now: Instant) -> bool {
        let over = self.drain_until.is_some_and(|until| until <= now);
        let sent = self.unsent.path.is_none() && self.endpoint.is_drained();
        self.is_shutting_down && (over || sent)
    }

    /// When to look at the clock again, at the latest.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.endpoint.poll_timeout(), self.drain_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Counts ICMP messages about peers that have a connection.
    pub(super) fn count_icmp(&mut self, peers: Vec<SocketAddr>) {
        for peer in peers {
            if let Some(handle) = self.endpoint.handle_of(peer) {
                *self.icmp_errors.entry(handle).or_default() += 1;
            }
        }
    }

    pub(super) fn icmp_errors(&self, handle: ConnectionHandle) -> u64 {
        self.icmp_errors.get(&handle).copied().unwrap_or_default()
    }

    /// The connection is over.
    pub(super) fn forget_icmp(&mut self, handle: ConnectionHandle) {
        if !self.icmp_errors.is_empty() {
            self.icmp_errors.remove(&handle);
        }
    }
}

fn left(sent: Sent) -> Option<Left> {
    match sent {
        Sent::All => None,
        Sent::Blocked { .. } => Some(Left::UntilWritable),
        Sent::Starved { .. } => Some(Left::For(STARVED)),
    }
}
