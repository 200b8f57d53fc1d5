//! What an endpoint counts.

use crate::listener::ListenerStats;
use crate::stats::Stats;
use crate::types::{DropReason, Drops};

/// Counts of one endpoint, from its beginning, and what it holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Datagrams given to [`Endpoint::handle_datagram`](crate::Endpoint::handle_datagram).
    pub datagrams_received: u64,
    /// Their bytes of UDP payload.
    pub bytes_received: u64,
    /// Datagrams taken from [`Endpoint::poll_transmit`](crate::Endpoint::poll_transmit).
    pub datagrams_sent: u64,
    /// Their bytes of UDP payload.
    pub bytes_sent: u64,
    /// Datagrams that are not DTLS by their first byte, handed out or dropped.
    pub foreign_datagrams: u64,
    /// HelloVerifyRequests made, each with a fresh cookie.
    pub cookies_sent: u64,
    /// ClientHellos whose cookie was good.
    pub cookies_accepted: u64,
    /// ClientHellos whose cookie was wrong or too old; each is answered with a new one.
    pub cookies_rejected: u64,
    /// HelloVerifyRequests that were not sent because too many waited.
    pub replies_dropped: u64,
    /// Handshakes of peers that were accepted.
    pub accepted: HandshakeCounts,
    /// Handshakes of connections that this endpoint opened.
    pub opened: HandshakeCounts,
    /// Peers with a good cookie that were refused.
    pub refused: RefusalCounts,
    /// Established connections that ended.
    pub ended: EndCounts,
    /// Messages received, of all connections.
    pub messages_received: u64,
    /// Bytes of these messages.
    pub message_bytes_received: u64,
    /// Messages sent, of all connections.
    pub messages_sent: u64,
    /// Bytes of these messages.
    pub message_bytes_sent: u64,
    /// Flights sent again, of all connections.
    pub retransmissions: u64,
    /// What was dropped, by reason: by the endpoint, by its front door and by all connections there ever were.
    pub drops: Drops,
    /// Events of handshakes that were given up, which the program did not take in time and will not see.
    pub events_dropped: u64,
    /// Connections now: in their handshake, established, or ended and not yet forgotten.
    pub connections: usize,
    /// Established connections now.
    pub established: usize,
    /// Accepted handshakes under way now.
    pub half_open: usize,
    /// HelloVerifyRequests that wait to be sent now.
    pub queued_replies: usize,
    /// Bytes of connections' datagrams that wait to be sent now.
    pub queued_send_bytes: usize,
    /// Bytes of messages that wait to be read now.
    pub queued_receive_bytes: usize,
}

/// What handshakes came to. Those under way are the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeCounts {
    /// Begun.
    pub begun: u64,
    /// Completed.
    pub completed: u64,
    /// Failed for any reason but time.
    pub failed: u64,
    /// Not completed in time.
    pub timed_out: u64,
    /// Given up for a newer one because there were too many.
    pub evicted: u64,
    /// Given up because the peer began another.
    pub replaced: u64,
    /// Given up by the program: closed, or shut down with the endpoint.
    pub closed: u64,
}

/// Why peers with a good cookie were refused. They are not answered, and may come again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusalCounts {
    /// As many connections as may be, and none to give up.
    pub no_room: u64,
    /// The endpoint is shutting down.
    pub shutting_down: u64,
}

/// How established connections ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndCounts {
    /// The program closed them, or shut the endpoint down.
    pub closed: u64,
    /// The peer sent close_notify.
    pub closed_by_peer: u64,
    /// Nothing came from the peer for too long.
    pub idle: u64,
    /// The peer started anew and completed another handshake.
    pub replaced: u64,
    /// Failed.
    pub failed: u64,
}

impl ListenerStats {
    /// Adds what a front door counted.
    pub(super) fn add_to(&self, stats: &mut EndpointStats) {
        stats.cookies_sent += self.cookies_sent;
        stats.cookies_accepted += self.cookies_accepted;
        stats.cookies_rejected += self.drops.count(DropReason::BadCookie);
        stats.drops.add_all(&self.drops);
    }
}

/// Sums over connections.
#[derive(Default)]
pub(super) struct Sums {
    messages_received: u64,
    message_bytes_received: u64,
    messages_sent: u64,
    message_bytes_sent: u64,
    retransmissions: u64,
    drops: Drops,
}

impl Sums {
    pub(super) fn add(&mut self, stats: &Stats) {
        self.messages_received += stats.messages_received;
        self.message_bytes_received += stats.message_bytes_received;
        self.messages_sent += stats.messages_sent;
        self.message_bytes_sent += stats.message_bytes_sent;
        self.retransmissions += stats.retransmissions;
        self.drops.add_all(&stats.drops);
    }

    pub(super) fn add_to(&self, stats: &mut EndpointStats) {
        stats.messages_received += self.messages_received;
        stats.message_bytes_received += self.message_bytes_received;
        stats.messages_sent += self.messages_sent;
        stats.message_bytes_sent += self.message_bytes_sent;
        stats.retransmissions += self.retransmissions;
        stats.drops.add_all(&self.drops);
    }
}
