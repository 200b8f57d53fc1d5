//! Which accepted handshakes are under way, by age and by network, so that the right one goes when there are too many.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The leading bits of an address. IPv4 is written as IPv6 maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix(u128);

impl Prefix {
    /// The first `ipv4_bits` or `ipv6_bits` of `ip`.
    pub(super) fn of(ip: IpAddr, ipv4_bits: u8, ipv6_bits: u8) -> Prefix {
        let (address, bits) = match ip.to_canonical() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 96 + u32::from(ipv4_bits)),
            IpAddr::V6(ip) => (ip, u32::from(ipv6_bits)),
        };
        let host_bits = 128_u32.saturating_sub(bits);
        // A shift by all 128 bits would overflow; it leaves nothing of the address.
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Prefix(u128::from(address) & mask)
    }
}

/// The accepted handshakes under way. Every change costs O(log n), and only when a handshake begins or ends.
#[derive(Default)]
pub(super) struct HalfOpen {
    /// By age: the order they came in, and their slot.
    all: BTreeMap<u64, u32>,
    by_prefix: BTreeMap<(Prefix, u64), u32>,
    counts: HashMap<Prefix, usize>,
}

impl HalfOpen {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many come from `prefix`.
    pub(super) fn of_prefix(&self, prefix: Prefix) -> usize {
        self.counts.get(&prefix).copied().unwrap_or(0)
    }

    /// The slot of the oldest.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.all.values().next().copied()
    }

    /// The slot of the oldest of `prefix`.
    pub(super) fn oldest_of(&self, prefix: Prefix) -> Option<u32> {
        let range = (prefix, 0)..=(prefix, u64::MAX);
        self.by_prefix.range(range).next().map(|(_, &slot)| slot)
    }

    /// A handshake from `prefix` begins; `age` is larger than all before.
    pub(super) fn add(&mut self, age: u64, prefix: Prefix, slot: u32) {
        self.all.insert(age, slot);
        self.by_prefix.insert((prefix, age), slot);
        *self.counts.entry(prefix).or_insert(0) += 1;
    }

    /// A handshake is over, one way or the other.
    pub(super) fn remove(&mut self, age: u64, prefix: Prefix) {
        self.all.remove(&age);
        self.by_prefix.remove(&(prefix, age));
        if let Some(count) = self.counts.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&prefix);
            }
        }
    }

    /// Panics unless the three agree; answers every slot with its age.
    #[cfg(test)]
    pub(super) fn check(&self) -> &BTreeMap<u64, u32> {
        assert_eq!(self.all.len(), self.by_prefix.len());
        let mut counts = HashMap::new();
        for (&(prefix, age), slot) in &self.by_prefix {
            assert_eq!(self.all.get(&age), Some(slot));
            *counts.entry(prefix).or_insert(0) += 1;
        }
        assert_eq!(counts, self.counts);
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(ip: &str, v4: u8, v6: u8) -> Prefix {
        Prefix::of(ip.parse().unwrap(), v4, v6)
    }

    #[test]
    fn addresses_of_one_network_share_a_prefix() {
        let default = |ip| prefix(ip, 24, 56);
        assert_eq!(default("192.0.2.1"), default("192.0.2.255"));
        assert_eq!(default("192.0.2.1"), default("::ffff:192.0.2.7"));
        assert_ne!(default("192.0.2.1"), default("192.0.3.1"));
        assert_eq!(default("2001:db8:0:0::1"), default("2001:db8:0:ff::1"));
        assert_ne!(default("2001:db8:0:0::1"), default("2001:db8:0:100::1"));
        assert_ne!(prefix("192.0.2.1", 32, 56), prefix("192.0.2.2", 32, 56));
        assert_ne!(prefix("::1", 24, 128), prefix("::2", 24, 128));
        assert_eq!(prefix("::1", 24, 16), prefix("0:1::", 24, 16));
    }

    #[test]
    fn oldest_is_found_in_all_and_in_its_network() {
        let (a, b) = (prefix("192.0.2.1", 24, 56), prefix("198.51.100.1", 24, 56));
        let mut half_open = HalfOpen::default();
        for (age, prefix, slot) in [(1, a, 7), (2, b, 8), (5, a, 2), (9, b, 1)] {
            half_open.add(age, prefix, slot);
            half_open.check();
        }
        assert_eq!((half_open.len(), half_open.of_prefix(a)), (4, 2));
        assert_eq!(half_open.oldest(), Some(7));
        assert_eq!(half_open.oldest_of(b), Some(8));
        half_open.remove(1, a);
        half_open.remove(2, b);
        half_open.check();
        assert_eq!(half_open.oldest(), Some(2));
        assert_eq!(half_open.oldest_of(b), Some(1));
        half_open.remove(5, a);
        assert_eq!(half_open.of_prefix(a), 0);
        assert_eq!(half_open.oldest_of(a), None);
        half_open.check();
    }
}
