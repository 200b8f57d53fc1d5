//! What connections and endpoints count, as structs that may grow.

use super::options::Options;
use crate::endpoint::EndpointStats;
use crate::stats::Stats;

/// What a connection counted.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_stats {
    /// `sizeof(odtls_stats)`, set by the caller.
    pub size: usize,
    /// Datagrams given to it.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams taken from it.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Their bytes.
    pub message_bytes_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Their bytes.
    pub message_bytes_sent: u64,
    /// Flights sent again.
    pub retransmissions: u64,
    /// Handshakes started again.
    pub handshake_restarts: u64,
    /// Records, datagrams and messages dropped, for any reason.
    pub drops: u64,
}

// SAFETY: `repr(C)`, starts with a `usize`, numbers only.
unsafe impl Options for odtls_stats {
    const DEFAULT: Self = odtls_stats {
        size: 0,
        datagrams_received: 0,
        bytes_received: 0,
        datagrams_sent: 0,
        bytes_sent: 0,
        messages_received: 0,
        message_bytes_received: 0,
        messages_sent: 0,
        message_bytes_sent: 0,
        retransmissions: 0,
        handshake_restarts: 0,
        drops: 0,
    };
}

impl From<&Stats> for odtls_stats {
    fn from(stats: &Stats) -> odtls_stats {
        odtls_stats {
            size: size_of::<odtls_stats>(),
            datagrams_received: stats.datagrams_received,
            bytes_received: stats.bytes_received,
            datagrams_sent: stats.datagrams_sent,
            bytes_sent: stats.bytes_sent,
            messages_received: stats.messages_received,
            message_bytes_received: stats.message_bytes_received,
            messages_sent: stats.messages_sent,
            message_bytes_sent: stats.message_bytes_sent,
            retransmissions: stats.retransmissions,
            handshake_restarts: stats.handshake_restarts,
            drops: stats.drops.total(),
        }
    }
}

/// What an endpoint counted, and how it stands.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_endpoint_stats {
    /// `sizeof(odtls_endpoint_stats)`, set by the caller.
    pub size: usize,
    /// Datagrams given to it.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams taken from it.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams that are not DTLS.
    pub foreign_datagrams: u64,
    /// HelloVerifyRequests made.
    pub cookies_sent: u64,
    /// Hellos with a good cookie.
    pub cookies_accepted: u64,
    /// Hellos with a wrong one.
    pub cookies_rejected: u64,
    /// Accepted handshakes begun.
    pub handshakes_accepted: u64,
    /// Accepted handshakes completed.
    pub handshakes_completed: u64,
    /// Accepted handshakes that failed, timed out or made room.
    pub handshakes_failed: u64,
    /// Newcomers refused by a limit.
    pub refused: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Flights sent again.
    pub retransmissions: u64,
    /// Records, datagrams and messages dropped, for any reason.
    pub drops: u64,
    /// Connections there are, ended ones included.
    pub connections: u64,
    /// Established ones.
    pub established: u64,
    /// Accepted handshakes under way.
    pub half_open: u64,
    /// Bytes that wait to be taken.
    pub queued_send_bytes: u64,
    /// Bytes that wait to be received.
    pub queued_receive_bytes: u64,
}

// SAFETY: `repr(C)`, starts with a `usize`, numbers only.
unsafe impl Options for odtls_endpoint_stats {
    const DEFAULT: Self = odtls_endpoint_stats {
        size: 0,
        datagrams_received: 0,
        bytes_received: 0,
        datagrams_sent: 0,
        bytes_sent: 0,
        foreign_datagrams: 0,
        cookies_sent: 0,
        cookies_accepted: 0,
        cookies_rejected: 0,
        handshakes_accepted: 0,
        handshakes_completed: 0,
        handshakes_failed: 0,
        refused: 0,
        messages_received: 0,
        messages_sent: 0,
        retransmissions: 0,
        drops: 0,
        connections: 0,
        established: 0,
        half_open: 0,
        queued_send_bytes: 0,
        queued_receive_bytes: 0,
    };
}

impl From<&EndpointStats> for odtls_endpoint_stats {
    fn from(stats: &EndpointStats) -> odtls_endpoint_stats {
        let accepted = &stats.accepted;
        odtls_endpoint_stats {
            size: size_of::<odtls_endpoint_stats>(),
            datagrams_received: stats.datagrams_received,
            bytes_received: stats.bytes_received,
            datagrams_sent: stats.datagrams_sent,
            bytes_sent: stats.bytes_sent,
            foreign_datagrams: stats.foreign_datagrams,
            cookies_sent: stats.cookies_sent,
            cookies_accepted: stats.cookies_accepted,
            cookies_rejected: stats.cookies_rejected,
            handshakes_accepted: accepted.begun,
            handshakes_completed: accepted.completed,
            handshakes_failed: accepted.failed + accepted.timed_out + accepted.evicted,
            refused: stats.refused.no_room + stats.refused.shutting_down,
            messages_received: stats.messages_received,
            messages_sent: stats.messages_sent,
            retransmissions: stats.retransmissions,
            drops: stats.drops.total(),
            connections: stats.connections as u64,
            established: stats.established as u64,
            half_open: stats.half_open as u64,
            queued_send_bytes: stats.queued_send_bytes as u64,
            queued_receive_bytes: stats.queued_receive_bytes as u64,
        }
    }
}
