//! What a datagram of an established association held.

use std::fmt;

use crate::types::DropReason;

/// What became of a datagram that was given to [`Dtls::decrypt_datagram`](super::Dtls::decrypt_datagram).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramOutcome {
    /// It held messages, or some were waiting.
    Data,
    /// It repeated the end of the handshake, which was answered: this side's last datagrams had been lost.
    HandshakeAnswered,
    /// It was dropped before it was decrypted, or after.
    Dropped(DropReason),
    /// It was dropped because it is repeated, forged, damaged, or for another association.
    NotAuthentic,
}

/// The messages of a datagram, oldest first, and what became of it.
///
/// Iterates over the messages. A datagram that is no good is no error: anybody can send one.
#[must_use = "messages that are not taken are lost"]
pub struct Decrypted {
    pub(super) messages: Vec<Vec<u8>>,
    pub(super) outcome: DatagramOutcome,
}

impl Decrypted {
    /// The messages, oldest first: those that waited, and then one for each record of the datagram.
    pub fn messages(&self) -> &[Vec<u8>] {
        &self.messages
    }

    /// The messages, oldest first.
    pub fn into_messages(self) -> Vec<Vec<u8>> {
        self.messages
    }

    /// Whether there is no message. A message of no bytes is one.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What became of the datagram.
    pub fn outcome(&self) -> DatagramOutcome {
        self.outcome
    }
}

impl IntoIterator for Decrypted {
    type Item = Vec<u8>;
    type IntoIter = std::vec::IntoIter<Vec<u8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages.into_iter()
    }
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypted")
            .field("messages", &self.messages.len())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
