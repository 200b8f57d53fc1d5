//! A queue of byte strings that keeps their borders, in one contiguous buffer.

use std::collections::VecDeque;

/// Outgoing datagrams, or received messages: first in, first out, bounded by their bytes.
///
/// Entries lie one behind the other, so that equal ones can go to the kernel in one call, and a queue that is emptied and filled
/// again allocates nothing.
pub(crate) struct ByteQueue {
    buffer: Vec<u8>,
    /// Where the first entry begins; what lies before was popped.
    head: usize,
    lengths: VecDeque<usize>,
    limit: usize,
}

impl ByteQueue {
    /// An empty queue for at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        ByteQueue {
            buffer: Vec::new(),
            head: 0,
            lengths: VecDeque::new(),
            limit,
        }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Bytes that wait in all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len() - self.head
    }

    /// Takes entries up to `limit` bytes from now on. What waits already stays, also if it is more.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether an entry of `length` bytes would be taken.
    pub(crate) fn has_room(&self, length: usize) -> bool {
        self.bytes() + length <= self.limit
    }

    /// Appends an entry, or refuses it with `false` when there is no room.
    #[must_use]
    pub(crate) fn push(&mut self, entry: &[u8]) -> bool {
        if !self.has_room(entry.len()) {
            return false;
        }
        self.make_contiguous_room();
        self.buffer.extend_from_slice(entry);
        self.lengths.push_back(entry.len());
        true
    }

    /// Lends `room` bytes behind the last entry to be written in place; [`Writer::commit`] makes an entry of them.
    pub(crate) fn writer(&mut self) -> Writer<'_> {
        self.make_contiguous_room();
        let start = self.buffer.len();
        Writer { queue: self, start }
    }

    /// The first entry.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.lengths
            .front()
            .map(|&length| &self.buffer[self.head..self.head + length])
    }

    /// Takes the first entry off and lends it until the queue is used again.
    pub(crate) fn pop(&mut self) -> Option<&[u8]> {
        let length = self.lengths.pop_front()?;
        let start = self.head;
        self.head += length;
        Some(&self.buffer[start..self.head])
    }

    /// Takes as many entries off as can go out together, at most `max_entries` and `max_bytes` but always one: all as long as the
    /// first, except the last, which may be shorter. Lends them and tells how many they are.
    pub(crate) fn pop_batch(
        &mut self,
        max_entries: usize,
        max_bytes: usize,
    ) -> Option<(&[u8], usize)> {
        let segment = self.lengths.pop_front()?;
        let start = self.head;
        self.head += segment;
        let mut count = 1;
        while count < max_entries
            && let Some(&length) = self.lengths.front()
            && (1..=segment).contains(&length)
            && self.head - start + length <= max_bytes
        {
            self.lengths.pop_front();
            self.head += length;
            count += 1;
            if length < segment {
                break;
            }
        }
        Some((&self.buffer[start..self.head], count))
    }

    /// The entries from number `from` on.
    pub(crate) fn iter_from(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        let newest = self.lengths.range(from.min(self.lengths.len())..);
        let mut at = self.buffer.len() - newest.clone().sum::<usize>();
        newest.map(move |&length| {
            let entry = &self.buffer[at..at + length];
            at += length;
            entry
        })
    }

    /// The last entry, to be changed in place.
    pub(crate) fn back_mut(&mut self) -> Option<&mut [u8]> {
        let length = *self.lengths.back()?;
        let start = self.buffer.len() - length;
        Some(&mut self.buffer[start..])
    }

    /// Makes one of neighbours among the entries from number `from` on, as far as they have at most `max` bytes together.
    pub(crate) fn join_from(&mut self, from: usize, max: usize) {
        let mut last = from;
        for next in from + 1..self.lengths.len() {
            let length = self.lengths[next];
            if self.lengths[last] + length <= max {
                self.lengths[last] += length;
            } else {
                last += 1;
                self.lengths[last] = length;
            }
        }
        self.lengths.truncate(last + 1);
    }

    /// Splits those entries from number `from` on that have more than `max` bytes, between the parts that `first_part` tells the
    /// length of. A part that is longer by itself stays whole.
    pub(crate) fn split_from(
        &mut self,
        from: usize,
        max: usize,
        first_part: impl Fn(&[u8]) -> usize,
    ) {
        if self.lengths.iter().skip(from).all(|&length| length <= max) {
            return;
        }
        let mut start = self.head + self.lengths.iter().take(from).sum::<usize>();
        for length in self.lengths.split_off(from.min(self.lengths.len())) {
            let end = start + length;
            let mut entry = 0;
            while start < end {
                let rest = &self.buffer[start..end];
                let part = match first_part(rest) {
                    part if (1..=rest.len()).contains(&part) => part,
                    _ => rest.len(),
                };
                if entry > 0 && entry + part > max {
                    self.lengths.push_back(entry);
                    entry = 0;
                }
                entry += part;
                start += part;
            }
            self.lengths.push_back(entry);
        }
    }

    /// Drops the entries from number `count` on.
    pub(crate) fn truncate(&mut self, count: usize) {
        while self.lengths.len() > count {
            if let Some(length) = self.lengths.pop_back() {
                self.buffer.truncate(self.buffer.len() - length);
            }
        }
    }

    /// Gives unused memory back.
    pub(crate) fn shrink(&mut self) {
        self.make_contiguous_room();
        self.buffer.shrink_to_fit();
        self.lengths.shrink_to_fit();
    }

    /// Bytes of heap this queue holds.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Reclaims what was popped: for nothing when all was, else once it is the larger half.
    fn make_contiguous_room(&mut self) {
        if self.lengths.is_empty() {
            self.buffer.clear();
            self.head = 0;
        } else if self.head > self.buffer.len() / 2 {
            self.buffer.drain(..self.head);
            self.head = 0;
        }
    }
}

/// An entry being written at the end of a [`ByteQueue`]. Dropped without a commit it leaves nothing behind.
pub(crate) struct Writer<'a> {
    queue: &'a mut ByteQueue,
    start: usize,
}

impl Writer<'_> {
    /// Lends `room` more bytes; the caller keeps `used` of them through [`Writer::keep`].
    pub(crate) fn room(&mut self, room: usize) -> &mut [u8] {
        let end = self.queue.buffer.len();
        self.queue.buffer.resize(end + room, 0);
        &mut self.queue.buffer[end..]
    }

    /// Keeps the first `used` of the last `room` bytes lent.
    pub(crate) fn keep(&mut self, room: usize, used: usize) {
        let end = self.queue.buffer.len() - room.saturating_sub(used);
        self.queue.buffer.truncate(end);
    }

    /// Makes an entry of all bytes kept and tells its length, or drops them and answers `None` when the queue was full already.
    pub(crate) fn commit(self) -> Option<usize> {
        let length = self.queue.buffer.len() - self.start;
        if self.queue.bytes() > self.queue.limit {
            return None;
        }
        self.queue.lengths.push_back(length);
        // The entry is complete: nothing to take back on drop.
        let mut this = self;
        this.start = this.queue.buffer.len();
        Some(length)
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.queue.buffer.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_kept_in_order() {
        let mut queue = ByteQueue::new(64);
        for entry in [&b"one"[..], b"", b"three"] {
            assert!(queue.push(entry));
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.iter_from(1).collect::<Vec<_>>(), [&b""[..], b"three"]);
        assert_eq!(queue.front(), Some(&b"one"[..]));
        queue.back_mut().unwrap()[4] = b'E';
        assert_eq!(queue.pop(), Some(&b"one"[..]));
        assert_eq!(queue.pop(), Some(&b""[..]));
        assert!(queue.push(b"four"));
        assert_eq!(queue.pop(), Some(&b"threE"[..]));
        assert_eq!(queue.pop(), Some(&b"four"[..]));
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.back_mut(), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn limit_counts_waiting_bytes_only() {
        let mut queue = ByteQueue::new(10);
        assert!(queue.push(&[1; 6]));
        assert!(!queue.push(&[2; 5]));
        assert!(queue.push(&[3; 4]));
        assert_eq!(queue.pop(), Some(&[1; 6][..]));
        assert!(queue.push(&[4; 6]));
        assert_eq!(queue.pop(), Some(&[3; 4][..]));
        assert_eq!(queue.bytes(), 6);
        queue.set_limit(5);
        assert!(!queue.push(&[]));
        assert_eq!(queue.pop(), Some(&[4; 6][..]));
        assert!(queue.push(&[5; 5]));
    }

    #[test]
    fn writer_keeps_only_what_is_committed() {
        let mut queue = ByteQueue::new(8);
        let mut writer = queue.writer();
        writer.room(5).copy_from_slice(b"abcde");
        writer.keep(5, 3);
        writer.room(2).copy_from_slice(b"xy");
        writer.keep(2, 2);
        assert_eq!(writer.commit(), Some(5));
        let mut writer = queue.writer();
        writer.room(4).copy_from_slice(b"lost");
        drop(writer);
        let mut writer = queue.writer();
        writer.room(4).copy_from_slice(b"full");
        writer.keep(4, 4);
        assert_eq!(writer.commit(), None);
        assert_eq!(queue.pop(), Some(&b"abcxy"[..]));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn batch_is_of_one_length_up_to_a_shorter_last() {
        let mut queue = ByteQueue::new(1024);
        for length in [10, 10, 10, 4, 10, 12, 12, 12, 12, 0, 1] {
            assert!(queue.push(&vec![length; usize::from(length)]));
        }
        let mut take = |max_entries, max_bytes| {
            queue
                .pop_batch(max_entries, max_bytes)
                .map(|(bytes, count)| (bytes.to_vec(), count))
        };
        let of = |lengths: &[u8]| {
            let entries = lengths.iter().map(|&n| vec![n; usize::from(n)]);
            Some((entries.flatten().collect::<Vec<_>>(), lengths.len()))
        };
        assert_eq!(take(0, 1000), of(&[10]));
        assert_eq!(take(8, 1000), of(&[10, 10, 4]));
        assert_eq!(take(8, 1000), of(&[10]));
        assert_eq!(take(2, 1000), of(&[12, 12]));
        assert_eq!(take(8, 23), of(&[12]));
        assert_eq!(take(8, 0), of(&[12]));
        assert_eq!(take(8, 1000), of(&[0]));
        assert_eq!(take(8, 1000), of(&[1]));
        assert_eq!(take(8, 1000), None);
        assert!(queue.push(b"next"));
        assert_eq!(queue.pop(), Some(&b"next"[..]));
    }

    #[test]
    fn neighbours_are_joined_up_to_a_length() {
        let mut queue = ByteQueue::new(1024);
        for length in [9, 1, 4, 5, 1, 10, 11, 3, 7, 1] {
            assert!(queue.push(&vec![length; usize::from(length)]));
        }
        queue.join_from(1, 10);
        let joined: Vec<_> = queue.iter_from(0).map(<[u8]>::len).collect();
        assert_eq!(joined, [9, 10, 1, 10, 11, 10, 1]);
        assert_eq!(
            queue.iter_from(1).next().unwrap(),
            [1, 4, 4, 4, 4, 5, 5, 5, 5, 5]
        );
        for from in [6, 7, 100] {
            queue.join_from(from, 100);
            assert_eq!(queue.len(), 7);
        }
        queue.join_from(0, 1024);
        assert_eq!(queue.pop().map(<[u8]>::len), Some(52));
        queue.join_from(0, 1024);
        assert!(queue.is_empty());
    }

    #[test]
    fn long_entries_are_split_between_their_parts() {
        let mut queue = ByteQueue::new(1024);
        // Each part begins with its length.
        let first_part = |bytes: &[u8]| usize::from(bytes[0]);
        for entry in [
            &[9; 9][..],
            &[2, 0, 3, 0, 0, 4, 0, 0, 0],
            &[7; 7],
            &[2, 0],
            &[200, 0],
        ] {
            assert!(queue.push(entry));
        }
        queue.split_from(1, 5, first_part);
        let entries: Vec<_> = queue.iter_from(1).collect();
        assert_eq!(
            entries,
            [
                &[2, 0, 3, 0, 0][..],
                &[4, 0, 0, 0],
                &[7; 7],
                &[2, 0],
                &[200, 0]
            ]
        );
        queue.split_from(0, 1024, first_part);
        queue.split_from(7, 1, first_part);
        assert_eq!(queue.len(), 6);
        queue.split_from(5, 1, first_part);
        assert_eq!(queue.iter_from(5).next(), Some(&[200, 0][..]));
        assert_eq!(queue.pop(), Some(&[9; 9][..]));
    }

    #[test]
    fn truncate_drops_the_newest() {
        let mut queue = ByteQueue::new(64);
        for entry in [&b"a"[..], b"bb", b"ccc"] {
            assert!(queue.push(entry));
        }
        queue.truncate(1);
        assert!(queue.push(b"d"));
        assert_eq!(queue.iter_from(0).collect::<Vec<_>>(), [&b"a"[..], b"d"]);
    }

    #[test]
    fn steady_use_reuses_its_memory_and_shrink_gives_it_back() {
        let mut queue = ByteQueue::new(4096);
        for round in 0..100_u8 {
            assert!(queue.push(&[round; 100]));
            assert!(queue.push(&[round; 50]));
            assert_eq!(queue.pop().map(<[u8]>::len), Some(100));
            assert!(queue.push(&[round; 10]));
            while queue.pop().is_some() {}
        }
        assert!(queue.capacity() <= 512, "{}", queue.capacity());
        queue.shrink();
        assert_eq!(queue.capacity(), 0);
    }
}
