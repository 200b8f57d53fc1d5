//! Where connections are kept, and how the address of a datagram finds them.

use std::collections::HashMap;
use std::collections::hash_map;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::entry::Entry;

/// Names one connection of one [`Endpoint`](crate::Endpoint). Once that connection is gone it names nothing, ever.
///
/// It means nothing to another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionHandle {
    index: u32,
    /// Which of the slot's connections, from 1.
    generation: u32,
}

impl ConnectionHandle {
    /// The handle as one number, never 0.
    #[cfg(any(test, feature = "capi"))]
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// Undoes [`to_bits`](Self::to_bits). A number that was never a handle names no connection.
    #[cfg(any(test, feature = "capi"))]
    pub(crate) fn from_bits(bits: u64) -> ConnectionHandle {
        let [index, generation] = [bits & u64::from(u32::MAX), bits >> 32];
        ConnectionHandle {
            // Both have 32 bits by now.
            index: index as u32,
            generation: generation as u32,
        }
    }

    pub(super) fn slot(self) -> u32 {
        self.index
    }
}

/// Which connections an address has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// The one the address is known by.
    pub(super) first: u32,
    /// An accepted handshake beside an established `first`: the peer seems to have started anew.
    pub(super) second: Option<u32>,
}

struct Slot {
    generation: u32,
    entry: Option<Box<Entry>>,
}

/// All connections, and the routes to them.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    /// Empty slots, to be used again.
    free: Vec<u32>,
    used: usize,
    routes: HashMap<SocketAddr, Route>,
}

impl Table {
    /// How many connections there are, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn insert(&mut self, entry: Box<Entry>) -> ConnectionHandle {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 1,
                entry: None,
            });
            // The limit on connections, and with it on slots, lies far below 32 bits; worn out slots are the rest.
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.entry = Some(entry);
        self.used += 1;
        ConnectionHandle {
            index,
            generation: slot.generation,
        }
    }

    /// Takes the connection of `slot` out; its handle names nothing from now on.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Entry>> {
        let place = self.slots.get_mut(slot as usize)?;
        let entry = place.entry.take()?;
        self.used -= 1;
        // A slot whose generations are used up is never used again.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(slot);
        }
        Some(entry)
    }

    /// The slot of `handle`, if its connection is still there.
    pub(super) fn slot_of(&self, handle: ConnectionHandle) -> Option<u32> {
        let slot = self.slots.get(handle.index as usize)?;
        (slot.generation == handle.generation && slot.entry.is_some()).then_some(handle.index)
    }

    /// The handle of the connection in `slot`.
    pub(super) fn handle_of(&self, slot: u32) -> Option<ConnectionHandle> {
        let place = self.slots.get(slot as usize)?;
        place.entry.as_ref()?;
        Some(ConnectionHandle {
            index: slot,
            generation: place.generation,
        })
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        self.slots.get(slot as usize)?.entry.as_deref()
    }

    pub(super) fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.entry.as_deref_mut()
    }

    /// Every connection.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionHandle, &Entry)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let handle = ConnectionHandle {
                index,
                generation: slot.generation,
            };
            Some((handle, slot.entry.as_deref()?))
        })
    }

    pub(super) fn route(&self, address: SocketAddr) -> Option<Route> {
        self.routes.get(&address).copied()
    }

    /// Leads `address` to `slot`: as its connection, or beside the one it has.
    pub(super) fn add_route(&mut self, address: SocketAddr, slot: u32) {
        match self.routes.entry(address) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Route {
                    first: slot,
                    second: None,
                });
            }
            hash_map::Entry::Occupied(mut route) => route.get_mut().second = Some(slot),
        }
    }

    /// Makes the connection beside the first the only one, and answers the first.
    pub(super) fn promote(&mut self, address: SocketAddr, slot: u32) -> Option<u32> {
        let route = self.routes.get_mut(&address)?;
        if route.second != Some(slot) {
            return None;
        }
        route.second = None;
        Some(std::mem::replace(&mut route.first, slot))
    }

    /// Leads `address` to `slot` no more. What was beside it takes its place.
    pub(super) fn remove_route(&mut self, address: SocketAddr, slot: u32) {
        let hash_map::Entry::Occupied(mut entry) = self.routes.entry(address) else {
            return;
        };
        let route = entry.get_mut();
        match *route {
            Route { second, .. } if second == Some(slot) => route.second = None,
            Route {
                first,
                second: Some(second),
            } if first == slot => {
                *route = Route {
                    first: second,
                    second: None,
                };
            }
            Route { first, .. } if first == slot => {
                entry.remove();
            }
            // The address is another connection's by now.
            Route { .. } => {}
        }
    }

    #[cfg(test)]
    pub(super) fn routes(&self) -> &HashMap<SocketAddr, Route> {
        &self.routes
    }

    /// Panics unless free and used slots add up; answers how many slots there are.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        let used = self.slots.iter().filter(|slot| slot.entry.is_some());
        assert_eq!(used.count(), self.used);
        let free: std::collections::HashSet<_> = self.free.iter().collect();
        assert_eq!(free.len(), self.free.len());
        for &&slot in &free {
            assert!(self.slots[slot as usize].entry.is_none());
        }
        assert_eq!(free.len() + self.used, self.slots.len());
        self.slots.len()
    }
}

/// The address as routes know it: the same whether the socket is dual-stack or not, with the scope of a link-local address, which
/// tells hosts of two links apart, and without the flow label, which does not.
pub(super) fn route_address(peer: SocketAddr) -> SocketAddr {
    match (peer, peer.ip().to_canonical()) {
        (_, IpAddr::V4(ip)) => SocketAddr::from((ip, peer.port())),
        (SocketAddr::V6(peer), IpAddr::V6(ip)) => {
            SocketAddr::V6(SocketAddrV6::new(ip, peer.port(), 0, peer.scope_id()))
        }
        (SocketAddr::V4(peer), IpAddr::V6(_)) => SocketAddr::V4(peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_one_address() {
        let plain: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        assert_eq!(route_address(mapped), plain);
        let v6 = |flow, scope| {
            let ip = "fe80::1".parse().unwrap();
            route_address(SocketAddr::V6(SocketAddrV6::new(ip, 7, flow, scope)))
        };
        assert_eq!(v6(1, 2), v6(3, 2));
        assert_ne!(v6(0, 1), v6(0, 2));
    }

    #[test]
    fn handle_survives_its_bits() {
        let handle = ConnectionHandle {
            index: 7,
            generation: 3,
        };
        assert_eq!(ConnectionHandle::from_bits(handle.to_bits()), handle);
        assert_ne!(handle.to_bits(), 0);
    }
}
