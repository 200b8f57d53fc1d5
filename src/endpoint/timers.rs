//! One deadline for each slot, the earliest first.

use std::time::Instant;

/// A place that says: not in the heap.
const ABSENT: u32 = u32::MAX;

/// A binary heap that knows where each slot's deadline is, so that one is moved or taken out without a search: every change costs
/// O(log n), and nothing outdated stays behind.
#[derive(Default)]
pub(super) struct Timers {
    heap: Vec<(Instant, u32)>,
    /// Where in `heap` each slot's deadline is.
    places: Vec<u32>,
}

impl Timers {
    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|&(at, _)| at)
    }

    /// The deadline of `slot`.
    pub(super) fn get(&self, slot: u32) -> Option<Instant> {
        let place = self.place(slot)?;
        self.heap.get(place).map(|&(at, _)| at)
    }

    /// Sets, moves or takes out the deadline of `slot`.
    pub(super) fn set(&mut self, slot: u32, deadline: Option<Instant>) {
        match (self.place(slot), deadline) {
            (Some(place), Some(at)) => {
                self.heap[place].0 = at;
                self.settle(place);
            }
            (Some(place), None) => self.remove(place),
            (None, Some(at)) => {
                let index = slot as usize;
                if self.places.len() <= index {
                    self.places.resize(index + 1, ABSENT);
                }
                self.heap.push((at, slot));
                self.note(self.heap.len() - 1);
                self.settle(self.heap.len() - 1);
            }
            (None, None) => {}
        }
    }

    /// Takes out a slot whose deadline is over by `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let &(at, slot) = self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(0);
        Some(slot)
    }

    fn place(&self, slot: u32) -> Option<usize> {
        match self.places.get(slot as usize) {
            Some(&place) if place != ABSENT => Some(place as usize),
            _ => None,
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, slot) = self.heap.swap_remove(place);
        self.places[slot as usize] = ABSENT;
        if place < self.heap.len() {
            self.note(place);
            self.settle(place);
        }
    }

    /// Moves the entry at `place` up or down to where it belongs.
    fn settle(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place);
            place = parent;
        }
        loop {
            let left = 2 * place + 1;
            let children = left..(left + 2).min(self.heap.len());
            let Some(child) = children.min_by_key(|&child| self.heap[child].0) else {
                break;
            };
            if self.heap[place].0 <= self.heap[child].0 {
                break;
            }
            self.swap(place, child);
            place = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    /// Writes down where the entry at `place` is.
    fn note(&mut self, place: usize) {
        let (_, slot) = self.heap[place];
        // There are fewer entries than slots, whose numbers have 32 bits.
        self.places[slot as usize] = place as u32;
    }

    /// Panics unless the earliest is on top and every place is right.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for (place, &(at, slot)) in self.heap.iter().enumerate() {
            assert_eq!(self.place(slot), Some(place));
            assert!(self.heap[place.saturating_sub(1) / 2].0 <= at);
        }
        let present = self.places.iter().filter(|&&place| place != ABSENT);
        assert_eq!(present.count(), self.heap.len());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn deadlines_come_out_in_order_however_they_are_changed() {
        let start = Instant::now();
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut timers = Timers::default();
            let mut model = BTreeMap::new();
            for _ in 0..2000 {
                let slot = random.u32(..50);
                let at = start + Duration::from_millis(random.u64(..1000));
                match random.u8(..4) {
                    0 => {
                        timers.set(slot, None);
                        model.remove(&slot);
                    }
                    1 => {
                        let due = timers.pop_due(at);
                        let earliest = model.values().min().copied();
                        match due {
                            Some(slot) => assert_eq!(model.remove(&slot), earliest),
                            None => assert!(earliest.is_none_or(|earliest| earliest > at)),
                        }
                    }
                    _ => {
                        timers.set(slot, Some(at));
                        model.insert(slot, at);
                    }
                }
                timers.check();
                assert_eq!(timers.next(), model.values().min().copied());
                assert_eq!(timers.get(slot), model.get(&slot).copied());
                assert_eq!(timers.heap.len(), model.len());
            }
        }
    }
}
