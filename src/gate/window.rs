//! libssl's replay window for records in the clear, kept along so that nothing is passed that libssl would drop.

/// How many numbers the window holds (rec_layer_d1.c, dtls_meth.c: `DTLS_BITMAP`).
const WIDTH: u64 = u64::BITS as u64;

/// Which record numbers libssl has seen.
#[derive(Debug, Default)]
pub(super) struct Window {
    highest: u64,
    /// Bit n stands for the number n below the highest.
    seen: u64,
}

impl Window {
    /// Whether libssl would take a record of this number.
    pub(super) fn takes(&self, sequence: u64) -> bool {
        match self.highest.checked_sub(sequence) {
            Some(behind) => behind < WIDTH && self.seen >> behind & 1 == 0,
            None => true,
        }
    }

    /// libssl took it.
    pub(super) fn mark(&mut self, sequence: u64) {
        match self.highest.checked_sub(sequence) {
            Some(behind) if behind < WIDTH => self.seen |= 1 << behind,
            Some(_) => {}
            None => {
                let ahead = sequence - self.highest;
                let kept = if ahead < WIDTH { self.seen << ahead } else { 0 };
                self.seen = kept | 1;
                self.highest = sequence;
            }
        }
    }

    /// The highest number seen, or 0.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once_and_none_from_far_behind() {
        let mut window = Window::default();
        for sequence in [0, 1, 5, 3] {
            assert!(window.takes(sequence));
            window.mark(sequence);
            assert!(!window.takes(sequence));
        }
        assert!(window.takes(2) && window.takes(4) && window.takes(6));
        window.mark(64);
        assert_eq!(window.highest(), 64);
        assert!(!window.takes(0) && !window.takes(1) && window.takes(2));
        window.mark(65);
        assert!(window.takes(2) && !window.takes(1));
        window.mark(66);
        assert!(!window.takes(2) && window.takes(4) && !window.takes(5));
        window.mark(1 << 47);
        assert!(!window.takes(66) && window.takes((1 << 47) - 1));
        // Too far behind to be noted.
        window.mark(3);
        assert_eq!(window.highest(), 1 << 47);
    }
}
