//! What a connection counts.

use crate::types::Drops;

/// Counts of one connection, from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams given to [`Connection::handle_datagram`](crate::Connection::handle_datagram).
    pub datagrams_received: u64,
    /// Their bytes of UDP payload.
    pub bytes_received: u64,
    /// Datagrams taken from [`Connection::poll_transmit`](crate::Connection::poll_transmit).
    pub datagrams_sent: u64,
    /// Their bytes of UDP payload.
    pub bytes_sent: u64,
    /// Records that passed the gate and were given to libssl.
    pub records_received: u64,
    /// Messages received and queued for [`Connection::recv`](crate::Connection::recv).
    pub messages_received: u64,
    /// Bytes of these messages.
    pub message_bytes_received: u64,
    /// Messages sent, each one record.
    pub messages_sent: u64,
    /// Bytes of these messages.
    pub message_bytes_sent: u64,
    /// Flights sent again because the retransmission timer ran out.
    pub retransmissions: u64,
    /// Handshakes started again after a failure that anybody could have forged.
    pub handshake_restarts: u64,
    /// Whether close_notify was sent.
    pub close_notify_sent: bool,
    /// What was dropped, by reason.
    pub drops: Drops,
}
