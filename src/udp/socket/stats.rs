//! What a socket counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one socket, from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpStats {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Their bytes of UDP payload.
    pub bytes_received: u64,
    /// Datagrams the system took.
    pub datagrams_sent: u64,
    /// Their bytes of UDP payload.
    pub bytes_sent: u64,
    /// Calls of the system that received datagrams.
    pub receive_calls: u64,
    /// Calls of the system that sent datagrams.
    pub send_calls: u64,
    /// How often the system had no room for a datagram, which was then sent later.
    pub blocked: u64,
    /// Datagrams the system refused to send: no route, interface down, forbidden, larger than the interface takes.
    pub send_errors: u64,
    /// Calls to receive that failed for another reason than an ICMP message.
    pub receive_errors: u64,
    /// ICMP messages about datagrams sent: port, host or network unreachable, and others.
    pub icmp_errors: u64,
}

macro_rules! counters {
    ($($name:ident)+) => {
        /// As [`UdpStats`], for several threads.
        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)+
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> UdpStats {
                UdpStats {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                }
            }
        }
    };
}

counters! {
    datagrams_received bytes_received datagrams_sent bytes_sent receive_calls send_calls blocked send_errors receive_errors
    icmp_errors
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
