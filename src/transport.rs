//! Settings of a connection that libssl's context knows nothing of.

use std::time::Duration;

use crate::error::ConfigError;
use crate::types::Mtu;

/// libssl takes a timer with 15 ms or less left for expired, so no interval may be shorter than this.
const MIN_RETRANSMISSION: Duration = Duration::from_millis(16);
/// libssl counts microseconds in 32 bits.
const MAX_RETRANSMISSION: Duration = Duration::from_secs(3600);
const MAX_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// How a connection uses the network: datagram size, timing, queues.
///
/// The defaults suit the open internet; each setter says what it changes. Checked when a [`Context`](crate::Context) is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct TransportConfig {
    pub(crate) mtu: Mtu,
    pub(crate) allow_oversize: bool,
    pub(crate) first_retransmission: Duration,
    pub(crate) max_retransmission: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) handshake_restarts: u32,
    pub(crate) receive_queue: usize,
    pub(crate) send_queue: usize,
}

impl Default for TransportConfig {
    fn default() -> Self {
        TransportConfig {
            mtu: Mtu::DEFAULT,
            allow_oversize: false,
            first_retransmission: Duration::from_secs(1),
            max_retransmission: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(60),
            handshake_restarts: 1,
            receive_queue: 64 * 1024,
            send_queue: 256 * 1024,
        }
    }
}

impl TransportConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The largest datagram, in bytes of UDP payload. Default: [`Mtu::DEFAULT`].
    ///
    /// Lost flights lower it in steps, each told by [`Event::MtuChanged`](crate::Event::MtuChanged).
    pub fn mtu(mut self, mtu: Mtu) -> Self {
        self.mtu = mtu;
        self
    }

    /// Lets [`Connection::send`](crate::Connection::send) take messages larger than the MTU, up to 16,384 bytes, and leaves
    /// their fragmentation to IP. Default: no.
    pub fn allow_oversize(mut self, allow: bool) -> Self {
        self.allow_oversize = allow;
        self
    }

    /// The wait before the first retransmission of a flight; each further wait is twice the one before, up to `max`.
    /// Defaults: 1 s and 60 s.
    ///
    /// Both must lie between 16 ms and one hour, `first` not above `max`.
    pub fn retransmission(mut self, first: Duration, max: Duration) -> Self {
        self.first_retransmission = first;
        self.max_retransmission = max;
        self
    }

    /// How long a handshake may take in all, restarts included. Default: 60 s. More than zero, at most a day.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How often a client starts its handshake again when it failed on a message that anybody could have forged. Default: 1.
    pub fn handshake_restarts(mut self, restarts: u32) -> Self {
        self.handshake_restarts = restarts;
        self
    }

    /// How many bytes of received messages wait for [`Connection::recv`](crate::Connection::recv). Default: 65,536.
    /// At least 16,384, the largest message.
    ///
    /// When they are full the newest message is dropped and counted.
    pub fn receive_queue(mut self, bytes: usize) -> Self {
        self.receive_queue = bytes;
        self
    }

    /// How many bytes of outgoing datagrams wait for [`Connection::poll_transmit`](crate::Connection::poll_transmit).
    /// Default: 262,144. At least 65,536.
    ///
    /// When they are full [`Connection::send`](crate::Connection::send) refuses.
    pub fn send_queue(mut self, bytes: usize) -> Self {
        self.send_queue = bytes;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let interval = MIN_RETRANSMISSION..=MAX_RETRANSMISSION;
        let out_of_range = |what| Err(ConfigError::OutOfRange { what });
        if !interval.contains(&self.first_retransmission)
            || !interval.contains(&self.max_retransmission)
            || self.first_retransmission > self.max_retransmission
        {
            return out_of_range("the retransmission interval");
        }
        if self.handshake_timeout.is_zero() || self.handshake_timeout > MAX_HANDSHAKE_TIMEOUT {
            return out_of_range("the handshake timeout");
        }
        if self.receive_queue < 16 * 1024 {
            return out_of_range("the receive queue");
        }
        if self.send_queue < 64 * 1024 {
            return out_of_range("the send queue");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_refuses_what_the_setters_exclude() {
        let ms = Duration::from_millis;
        let config = TransportConfig::new;
        assert!(config().check().is_ok());
        assert!(config().retransmission(ms(16), ms(16)).check().is_ok());
        for bad in [
            config().retransmission(ms(15), ms(1000)),
            config().retransmission(ms(200), ms(100)),
            config().retransmission(ms(200), Duration::MAX),
            config().handshake_timeout(Duration::ZERO),
            config().handshake_timeout(Duration::MAX),
            config().receive_queue(16 * 1024 - 1),
            config().send_queue(64 * 1024 - 1),
        ] {
            assert!(
                matches!(bad.check(), Err(ConfigError::OutOfRange { .. })),
                "{bad:?}"
            );
        }
    }
}
