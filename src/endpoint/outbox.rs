//! What waits to be sent, in which order.

use std::collections::VecDeque;

use super::table::{ConnectionHandle, Table};
use crate::types::{Path, Transmit};
use crate::wire::MAX_HELLO_VERIFY_REQUEST_LEN;

/// Entries of the row that may be outdated before it is cleaned.
const SLACK: usize = 64;

/// Connections that wait for their turn. Each stands in it once; those that are gone are skipped, and swept out before they are
/// many.
#[derive(Default)]
pub(super) struct Row {
    handles: VecDeque<ConnectionHandle>,
}

impl Row {
    pub(super) fn push(&mut self, handle: ConnectionHandle) {
        self.handles.push_back(handle);
    }

    /// Gives the turn back to one that was popped and did not use it.
    pub(super) fn put_back(&mut self, handle: ConnectionHandle) {
        self.handles.push_front(handle);
    }

    pub(super) fn pop(&mut self) -> Option<ConnectionHandle> {
        self.handles.pop_front()
    }

    /// Sweeps if connections that are gone may be the larger half.
    pub(super) fn sweep(&mut self, table: &Table) {
        if self.handles.len() > 2 * table.len() + SLACK {
            self.handles
                .retain(|&handle| table.slot_of(handle).is_some());
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self, table: &Table) -> Vec<u32> {
        assert!(self.handles.len() <= 2 * table.len() + SLACK);
        let handles = self.handles.iter();
        handles
            .filter_map(|&handle| table.slot_of(handle))
            .collect()
    }
}

#[derive(Clone, Copy)]
struct Reply {
    path: Path,
    bytes: [u8; MAX_HELLO_VERIFY_REQUEST_LEN],
    length: usize,
}

/// HelloVerifyRequests that wait to be sent. Their memory is bounded and used again.
pub(super) struct Replies {
    queue: VecDeque<Reply>,
    limit: usize,
    /// The one that was lent last.
    lent: Option<Reply>,
}

impl Replies {
    pub(super) fn new(limit: usize) -> Replies {
        Replies {
            queue: VecDeque::new(),
            limit,
            lent: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Takes a copy of `transmit`, or answers `false` when there is no room.
    #[must_use]
    pub(super) fn push(&mut self, transmit: &Transmit<'_>) -> bool {
        let mut bytes = [0; MAX_HELLO_VERIFY_REQUEST_LEN];
        let length = transmit.contents.len();
        let Some(room) = bytes.get_mut(..length) else {
            return false;
        };
        if self.queue.len() >= self.limit {
            return false;
        }
        room.copy_from_slice(transmit.contents);
        self.queue.push_back(Reply {
            path: transmit.path,
            bytes,
            length,
        });
        true
    }

    /// Takes the first off and lends it.
    pub(super) fn pop(&mut self) -> Option<Transmit<'_>> {
        let reply = self.lent.insert(self.queue.pop_front()?);
        let contents = reply.bytes.get(..reply.length)?;
        Some(Transmit::single(reply.path, contents))
    }
}
