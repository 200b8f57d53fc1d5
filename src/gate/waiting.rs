//! Handshake records that wait for their turn, or for the rest of their message.
//!
//! libssl binds itself to the length that the first fragment of a message tells, and to the first copy of a message that is not
//! yet due. Anybody can send those, so they wait here until the message is complete: several versions side by side, and the first
//! to be complete is the one that libssl sees.

use super::window::Window;
use crate::wire::{Fragment, Record};

/// Records that wait at most; a certificate list of 100 KB in datagrams of 228 bytes takes about 500.
pub(super) const MAX_RECORDS: usize = 640;

/// What fragments of one version of a message agree in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) message_seq: u16,
    pub(super) message_type: u8,
    pub(super) length: u32,
}

impl Key {
    pub(super) fn of(fragment: &Fragment<'_>) -> Key {
        Key {
            message_seq: fragment.message_seq,
            message_type: fragment.message_type,
            length: fragment.length,
        }
    }
}

#[derive(Debug)]
pub(super) struct Held {
    sequence: u64,
    /// Of the first fragment that is due or not yet due.
    key: Key,
    /// Which bytes of the message it holds.
    span: (u32, u32),
    pub(super) bytes: Box<[u8]>,
}

/// The records that wait.
#[derive(Debug)]
pub(super) struct Waiting {
    /// In the order of their arrival.
    records: Vec<Held>,
    bytes: usize,
    max_bytes: usize,
    /// A version that became complete.
    complete: Option<Key>,
}

impl Waiting {
    /// Room for `max_bytes` of records.
    pub(super) fn new(max_bytes: usize) -> Waiting {
        Waiting {
            records: Vec::new(),
            bytes: 0,
            max_bytes,
            complete: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Keeps `record`, which begins with `fragment` apart from what has passed; `due` is the message that is due. Answers how many
    /// records made room for it: the oldest go first, so that no forger's stay for good.
    pub(super) fn push(&mut self, record: &Record<'_>, fragment: &Fragment<'_>, due: u16) -> u64 {
        let key = Key::of(fragment);
        let span = fragment.span();
        // A newer copy stands for an older one, which may be too old for libssl by the time it is due.
        self.remove(|held| held.key == key && held.span == span);
        self.bytes += record.bytes.len();
        self.records.push(Held {
            sequence: record.sequence,
            key,
            span,
            bytes: record.bytes.into(),
        });
        let mut removed = 0;
        while self.records.len() > MAX_RECORDS || self.bytes > self.max_bytes {
            self.bytes -= self.records.remove(0).bytes.len();
            removed += 1;
        }
        if key.message_seq == due && self.is_complete(key) {
            self.complete = Some(key);
        }
        removed
    }

    /// Another message is due. Answers how many records are of no use any more.
    pub(super) fn advance(&mut self, due: u16) -> u64 {
        if self.records.is_empty() {
            return 0;
        }
        let removed = self.remove(|held| held.key.message_seq < due);
        let mut keys = self
            .records
            .iter()
            .map(|held| held.key)
            .filter(|key| key.message_seq == due);
        self.complete = keys.find(|&key| self.is_complete(key));
        removed
    }

    /// Takes the records of a complete version of the message that is due, in the order of their numbers. Those that libssl would
    /// not take any more are no use; their count comes first.
    pub(super) fn take_complete(&mut self, window: &Window) -> (u64, Option<(Key, Vec<Held>)>) {
        let Some(key) = self.complete.take() else {
            return (0, None);
        };
        let too_old = self.remove(|held| held.key == key && !window.takes(held.sequence));
        if !self.is_complete(key) {
            return (too_old, None);
        }
        let (mut message, others) = std::mem::take(&mut self.records)
            .into_iter()
            .partition::<Vec<_>, _>(|held| held.key == key);
        self.records = others;
        self.bytes -= message.iter().map(|held| held.bytes.len()).sum::<usize>();
        message.sort_by_key(|held| held.sequence);
        (too_old, Some((key, message)))
    }

    fn is_complete(&self, key: Key) -> bool {
        let spans = || {
            self.records
                .iter()
                .filter(move |held| held.key == key)
                .map(|held| held.span)
        };
        let available: u64 = spans().map(|(from, to)| u64::from(to - from)).sum();
        available >= u64::from(key.length) && covers(key.length, spans().collect())
    }

    fn remove(&mut self, useless: impl Fn(&Held) -> bool) -> u64 {
        let before = self.records.len();
        let bytes = &mut self.bytes;
        self.records.retain(|held| {
            let useless = useless(held);
            if useless {
                *bytes -= held.bytes.len();
            }
            !useless
        });
        (before - self.records.len()) as u64
    }
}

/// Whether `spans` leave no byte of a message of `length` out. One of length 0 needs one span as well.
pub(super) fn covers(length: u32, mut spans: Vec<(u32, u32)>) -> bool {
    spans.sort_unstable();
    let covered = spans
        .iter()
        .try_fold(0, |end, &(from, to)| (from <= end).then_some(end.max(to)));
    !spans.is_empty() && covered == Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::split_record;

    #[test]
    fn spans_must_touch() {
        for (length, spans, expected) in [
            (0, vec![], false),
            (0, vec![(0, 0)], true),
            (5, vec![(0, 5)], true),
            (5, vec![(3, 5), (0, 3)], true),
            (5, vec![(2, 5), (0, 3), (1, 2)], true),
            (5, vec![(3, 5), (0, 2)], false),
            (5, vec![(1, 5)], false),
            (5, vec![(0, 4)], false),
        ] {
            assert_eq!(covers(length, spans.clone()), expected, "{spans:?}");
        }
    }

    fn fragment(body: &[u8], length: u32, offset: u32) -> Fragment<'_> {
        Fragment {
            message_type: 11,
            length,
            message_seq: 1,
            offset,
            body,
        }
    }

    fn record(sequence: u64) -> Vec<u8> {
        let mut bytes = vec![22, 0xfe, 0xfd, 0, 0];
        bytes.extend(&sequence.to_be_bytes()[2..]);
        bytes.extend([0, 4, 1, 2, 3, 4]);
        bytes
    }

    fn push(waiting: &mut Waiting, sequence: u64, fragment: &Fragment<'_>) -> u64 {
        let bytes = record(sequence);
        let (record, _) = split_record(&bytes).unwrap();
        waiting.push(&record, fragment, 1)
    }

    #[test]
    fn first_complete_version_wins() {
        let mut waiting = Waiting::new(1000);
        push(&mut waiting, 1, &fragment(b"forged", 90, 0));
        push(&mut waiting, 5, &fragment(b"def", 6, 3));
        assert!(waiting.take_complete(&Window::default()).1.is_none());
        push(&mut waiting, 4, &fragment(b"abc", 6, 0));
        let (_, message) = waiting.take_complete(&Window::default());
        let (key, message) = message.unwrap();
        assert_eq!(key.length, 6);
        let sequences: Vec<_> = message.iter().map(|held| held.sequence).collect();
        assert_eq!(sequences, [4, 5]);
        assert_eq!(waiting.advance(2), 1);
        assert_eq!((waiting.len(), waiting.bytes), (0, 0));
    }

    #[test]
    fn what_libssl_would_not_take_any_more_does_not_count() {
        let mut window = Window::default();
        window.mark(100);
        let mut waiting = Waiting::new(1000);
        push(&mut waiting, 20, &fragment(b"abc", 6, 0));
        push(&mut waiting, 99, &fragment(b"def", 6, 3));
        let (too_old, message) = waiting.take_complete(&window);
        assert_eq!(too_old, 1);
        assert!(message.is_none());
        push(&mut waiting, 101, &fragment(b"abc", 6, 0));
        assert_eq!(waiting.take_complete(&window).1.unwrap().1.len(), 2);
    }

    #[test]
    fn oldest_make_room_and_copies_take_none() {
        let mut waiting = Waiting::new(10 * 17);
        for offset in 0..10 {
            assert_eq!(push(&mut waiting, 1, &fragment(b"x", 90, offset)), 0);
            assert_eq!(push(&mut waiting, 2, &fragment(b"x", 90, offset)), 0);
        }
        assert_eq!(waiting.len(), 10);
        assert_eq!(push(&mut waiting, 3, &fragment(b"x", 90, 10)), 1);
        assert_eq!((waiting.len(), waiting.bytes), (10, 170));
        let mut waiting = Waiting::new(usize::MAX);
        for offset in 0..1000 {
            push(&mut waiting, 1, &fragment(b"x", 2000, offset));
        }
        assert_eq!(waiting.len(), MAX_RECORDS);
    }
}
