//! Datagrams that were received by one call of the system.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use quinn_udp::{BATCH_SIZE, RecvMeta};

use crate::types::Path;

/// Room for the largest UDP datagram and for the longest train of datagrams that the system joins, in bytes.
pub(super) const LARGEST_READ: usize = 65_535;

/// Datagrams that arrived together.
pub(crate) struct Batch {
    pub(super) buffer: Vec<u8>,
    pub(super) metas: [RecvMeta; BATCH_SIZE],
    pub(super) count: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            buffer: vec![0; BATCH_SIZE * LARGEST_READ],
            metas: [RecvMeta::default(); BATCH_SIZE],
            count: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each datagram, with where it came from.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (Path, &[u8])> {
        self.metas
            .iter()
            .take(self.count)
            .zip(self.buffer.chunks_exact(LARGEST_READ))
            .flat_map(|(meta, buffer)| {
                let path = Path {
                    peer: canonical(meta.addr),
                    local: meta.dst_ip.map(|ip| ip.to_canonical()).filter(is_unicast),
                };
                let joined = buffer.get(..meta.len).unwrap_or_default();
                let stride = meta.stride.max(1);
                // An empty datagram is one as well.
                (0..joined.len().max(1)).step_by(stride).map(move |at| {
                    let end = joined.len().min(at + stride);
                    (path, joined.get(at..end).unwrap_or_default())
                })
            })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The same peer whether the socket is dual-stack or not.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        // Keeps the scope of a link-local address.
        IpAddr::V6(_) => address,
    }
}

/// Whether answers can come from `address`: not from a multicast group, nor from everywhere.
fn is_unicast(address: &IpAddr) -> bool {
    !address.is_multicast() && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
}
