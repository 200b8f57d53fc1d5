//! How much an endpoint takes on.

use std::time::Duration;

use crate::error::ConfigError;

/// Slots are numbered with 32 bits, and each may hold a connection of tens of kilobytes.
const MAX_CONNECTIONS: usize = 1 << 24;
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);
/// A prefix shorter than this would lump half the internet together.
const IPV4_PREFIXES: core::ops::RangeInclusive<u8> = 8..=32;
const IPV6_PREFIXES: core::ops::RangeInclusive<u8> = 16..=128;

/// Limits and habits of an [`Endpoint`](crate::Endpoint).
///
/// What one connection may queue, and how its handshake is timed, is said by the [`TransportConfig`](crate::TransportConfig) of
/// its context; these limits hold for all of them together. Checked by [`Endpoint::new`](crate::Endpoint::new).
///
/// ```
/// use std::time::Duration;
/// use openssl_dtls::{Endpoint, EndpointConfig};
///
/// # fn main() -> Result<(), openssl_dtls::ConfigError> {
/// let config = EndpointConfig::new()
///     .max_connections(100_000)
///     .idle_timeout(Some(Duration::from_secs(3600)));
/// let endpoint = Endpoint::new(config)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct EndpointConfig {
    pub(super) max_connections: usize,
    pub(super) max_half_open: usize,
    pub(super) max_half_open_per_prefix: usize,
    pub(super) ipv4_prefix: u8,
    pub(super) ipv6_prefix: u8,
    pub(super) handshake_timeout: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) client_idle_timeout: Option<Duration>,
    pub(super) release_after: Option<Duration>,
    pub(super) linger: Duration,
    pub(super) max_send_bytes: usize,
    pub(super) max_receive_bytes: usize,
    pub(super) max_replies: usize,
    pub(super) hand_out_foreign: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        EndpointConfig {
            max_connections: 16_384,
            max_half_open: 2_048,
            max_half_open_per_prefix: 512,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            handshake_timeout: Duration::from_secs(60),
            idle_timeout: Some(Duration::from_secs(300)),
            client_idle_timeout: None,
            release_after: Some(Duration::from_secs(5)),
            linger: Duration::from_secs(30),
            max_send_bytes: 64 * 1024 * 1024,
            max_receive_bytes: 64 * 1024 * 1024,
            max_replies: 1_024,
            hand_out_foreign: false,
        }
    }
}

impl EndpointConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections there may be in all: in their handshake, established, or ended with messages still to be read.
    /// Default: 16,384. From 1 to 16,777,216.
    ///
    /// When there is no room, a newcomer takes the place of an ended connection that was told of, or of the oldest accepted
    /// handshake; else it is refused. An established connection never goes.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How many accepted handshakes may be under way at once. Default: 2,048. At least 1.
    ///
    /// When there are more, the oldest goes: an honest handshake is short. Handshakes of this endpoint's own clients do not count.
    pub fn max_half_open(mut self, handshakes: usize) -> Self {
        self.max_half_open = handshakes;
        self
    }

    /// How many of them may come from one network; see [`source_prefixes`](Self::source_prefixes). Default: 512. At least 1.
    ///
    /// When there are more, the oldest of that network goes.
    pub fn max_half_open_per_prefix(mut self, handshakes: usize) -> Self {
        self.max_half_open_per_prefix = handshakes;
        self
    }

    /// How many leading bits of an address say from which network it is. Defaults: 24 of IPv4, 56 of IPv6.
    /// From 8 to 32 and from 16 to 128.
    pub fn source_prefixes(mut self, ipv4_bits: u8, ipv6_bits: u8) -> Self {
        self.ipv4_prefix = ipv4_bits;
        self.ipv6_prefix = ipv6_bits;
        self
    }

    /// How long an accepted handshake may take. Default: 60 s. More than zero, at most a year.
    ///
    /// [`TransportConfig::handshake_timeout`](crate::TransportConfig::handshake_timeout) holds as well.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// After how long without a message from its peer an accepted connection is closed. Default: 5 min. `None`: never.
    ///
    /// What this side sends does not count, nor what anybody could have forged: a peer that is gone without a word would
    /// otherwise stay for ever. Where peers only listen, let them send something now and then, or choose a longer time.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The same for connections that this endpoint opened. Default: `None`.
    pub fn client_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.client_idle_timeout = timeout;
        self
    }

    /// After how long without a message either way a connection's buffers are given back until it is used again. Default: 5 s.
    /// `None`: never.
    ///
    /// See [`Connection::release_buffers`](crate::Connection::release_buffers).
    pub fn release_buffers_after(mut self, quiet: Option<Duration>) -> Self {
        self.release_after = quiet;
        self
    }

    /// How long what an ended connection left can still be sent and read. Default: 30 s. At most a year.
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// How many bytes of outgoing datagrams may wait, of all connections together. Default: 64 MiB. At least 64 KiB.
    ///
    /// When they do, [`Endpoint::send`](crate::Endpoint::send) refuses and handshake flights are lost, as on a full network.
    pub fn max_send_bytes(mut self, bytes: usize) -> Self {
        self.max_send_bytes = bytes;
        self
    }

    /// How many bytes of received messages may wait, of all connections together. Default: 64 MiB. At least 64 KiB.
    ///
    /// When they do, the newest message is dropped and counted.
    pub fn max_receive_bytes(mut self, bytes: usize) -> Self {
        self.max_receive_bytes = bytes;
        self
    }

    /// How many HelloVerifyRequests may wait to be sent. Default: 1,024. From 1 to 65,536.
    ///
    /// When they do, further hellos are dropped and counted.
    pub fn max_replies(mut self, replies: usize) -> Self {
        self.max_replies = replies;
        self
    }

    /// Whether datagrams that are not DTLS by their first byte (RFC 7983: STUN, ZRTP, TURN channels, RTP and RTCP) are handed
    /// out, as [`Handled::Foreign`](crate::Handled::Foreign). Default: no, they are dropped and counted.
    pub fn hand_out_foreign(mut self, hand_out: bool) -> Self {
        self.hand_out_foreign = hand_out;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let durations = [
            Some(self.handshake_timeout),
            self.idle_timeout,
            self.client_idle_timeout,
            self.release_after,
        ];
        let checks = [
            (
                (1..=MAX_CONNECTIONS).contains(&self.max_connections),
                "the number of connections",
            ),
            (self.max_half_open >= 1, "the number of handshakes"),
            (
                self.max_half_open_per_prefix >= 1,
                "the number of handshakes of one network",
            ),
            (
                IPV4_PREFIXES.contains(&self.ipv4_prefix)
                    && IPV6_PREFIXES.contains(&self.ipv6_prefix),
                "the source prefix",
            ),
            (
                durations
                    .iter()
                    .flatten()
                    .all(|time| !time.is_zero() && *time <= MAX_DURATION),
                "a timeout of the endpoint",
            ),
            (self.linger <= MAX_DURATION, "the time to linger"),
            (
                self.max_send_bytes >= 64 * 1024 && self.max_receive_bytes >= 64 * 1024,
                "the bytes that may wait",
            ),
            (
                (1..=65_536).contains(&self.max_replies),
                "the number of replies",
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(ConfigError::OutOfRange { what }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_refuses_what_the_setters_exclude() {
        let config = EndpointConfig::new;
        let day = Duration::from_secs(24 * 3600);
        for good in [
            config(),
            config().max_connections(1).max_half_open(1),
            config().source_prefixes(32, 128),
            config()
                .idle_timeout(None)
                .client_idle_timeout(Some(day))
                .release_buffers_after(None),
            config().linger(Duration::ZERO),
        ] {
            assert!(good.check().is_ok(), "{good:?}");
        }
        for bad in [
            config().max_connections(0),
            config().max_connections(MAX_CONNECTIONS + 1),
            config().max_half_open(0),
            config().max_half_open_per_prefix(0),
            config().source_prefixes(7, 56),
            config().source_prefixes(33, 56),
            config().source_prefixes(24, 15),
            config().source_prefixes(24, 129),
            config().handshake_timeout(Duration::ZERO),
            config().handshake_timeout(day * 400),
            config().idle_timeout(Some(Duration::ZERO)),
            config().client_idle_timeout(Some(Duration::MAX)),
            config().release_buffers_after(Some(Duration::ZERO)),
            config().linger(Duration::MAX),
            config().max_send_bytes(65_535),
            config().max_receive_bytes(65_535),
            config().max_replies(0),
            config().max_replies(65_537),
        ] {
            assert!(
                matches!(bad.check(), Err(ConfigError::OutOfRange { .. })),
                "{bad:?}"
            );
        }
    }
}
