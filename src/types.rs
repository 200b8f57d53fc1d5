//! Small types shared by every layer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::error::ConfigError;
use crate::trace;

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opens the connection with a ClientHello.
    Client,
    /// Answers a ClientHello.
    Server,
}

/// Why a server may answer an address that did not return a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressProof {
    /// Something else proved that the peer receives at its address: ICE, a reliable transport underneath, a test.
    ProvedElsewhere,
    /// Nothing did. Until the handshake is complete at most three times as many bytes are sent as were received, so that the
    /// server amplifies a forged hello no more than that; memory is still spent on each.
    Dangerous,
}

/// Where a datagram came from or goes to.
///
/// Comes in with every datagram and goes out in its [`Transmit`]. Connections are told apart by `peer` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// The local address a datagram arrived at, where the socket tells; answers leave from it.
    pub local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(peer: SocketAddr) -> Self {
        Path { peer, local: None }
    }
}

/// One datagram to send, or several of one size, lent from the queue of the connection or listener that made them.
#[must_use = "a datagram that is not sent is lost"]
#[non_exhaustive]
pub struct Transmit<'a> {
    /// Where to send it.
    pub path: Path,
    /// The UDP payload: one or more whole records. With a `segment_size` the payloads of several datagrams, one behind the other.
    pub contents: &'a [u8],
    /// Bytes of each datagram but the last, which may be shorter; `None` if there is only one.
    ///
    /// Set by [`Connection::poll_transmit_batch`](crate::Connection::poll_transmit_batch) alone. It is what `UDP_SEGMENT` wants.
    pub segment_size: Option<usize>,
}

impl<'a> Transmit<'a> {
    /// One datagram.
    pub(crate) fn single(path: Path, contents: &'a [u8]) -> Transmit<'a> {
        Transmit {
            path,
            contents,
            segment_size: None,
        }
    }

    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let whole = self.contents.len();
        self.contents
            .chunks(self.segment_size.unwrap_or(whole).max(1))
    }
}

impl fmt::Debug for Transmit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transmit")
            .field("path", &self.path)
            .field("len", &self.contents.len())
            .field("segment_size", &self.segment_size)
            .finish_non_exhaustive()
    }
}

/// Something a connection has to tell its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is complete; what was agreed is in [`Connection::handshake_info`](crate::Connection::handshake_info).
    Connected,
    /// At least one message can be taken with [`Connection::recv`](crate::Connection::recv).
    Readable,
    /// The largest datagram of this connection changed, after lost flights.
    MtuChanged(Mtu),
    /// The connection is over in an orderly way. What was received before can still be read; after
    /// [`CloseReason::Peer`] messages can still be sent until [`Connection::close`](crate::Connection::close).
    Closed(CloseReason),
}

/// Why a connection closed in an orderly way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Connection::close`](crate::Connection::close) was called here.
    Local,
    /// The peer sent close_notify.
    Peer,
    /// The peer started anew, and its new connection is established. Told by an [`Endpoint`](crate::Endpoint) only.
    Replaced,
    /// Nothing came from the peer for too long. Told by an [`Endpoint`](crate::Endpoint) only.
    IdleTimeout,
    /// An accepted handshake made room for another. Told by an [`Endpoint`](crate::Endpoint) only.
    Evicted,
}

/// The largest datagram a connection sends: bytes of UDP payload, without IP and UDP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtu(u16);

impl Mtu {
    /// The least that can be configured, in bytes.
    pub const MIN: Mtu = Mtu(256);
    /// The most that can be configured, in bytes: libssl collects a flight in a buffer of this size.
    pub const MAX: Mtu = Mtu(4096);
    /// What a connection starts with unless told otherwise, in bytes: fits every common path, tunnels included.
    pub const DEFAULT: Mtu = Mtu(1200);

    /// Takes a number of bytes from 256 to 4096.
    ///
    /// # Errors
    ///
    /// [`ConfigError::MtuOutOfRange`] otherwise.
    pub fn new(bytes: usize) -> Result<Mtu, ConfigError> {
        match u16::try_from(bytes) {
            Ok(value) if (Self::MIN.0..=Self::MAX.0).contains(&value) => Ok(Mtu(value)),
            _ => Err(ConfigError::MtuOutOfRange { given: bytes }),
        }
    }

    /// A step of the way down after lost flights; may lie below [`Mtu::MIN`].
    pub(crate) const fn step(bytes: u16) -> Mtu {
        Mtu(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Mtu::DEFAULT
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The description of a TLS alert (RFC 5246, 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// close_notify: the peer will send no more.
    pub const CLOSE_NOTIFY: Alert = Alert(0);
    /// handshake_failure: no acceptable set of parameters.
    pub const HANDSHAKE_FAILURE: Alert = Alert(40);
    /// bad_certificate.
    pub const BAD_CERTIFICATE: Alert = Alert(42);
    /// certificate_expired.
    pub const CERTIFICATE_EXPIRED: Alert = Alert(45);
    /// unknown_ca: no chain to a trusted certificate.
    pub const UNKNOWN_CA: Alert = Alert(48);
    /// protocol_version.
    pub const PROTOCOL_VERSION: Alert = Alert(70);
    /// unknown_psk_identity (RFC 4279).
    pub const UNKNOWN_PSK_IDENTITY: Alert = Alert(115);
    /// unrecognized_name (RFC 6066).
    pub const UNRECOGNIZED_NAME: Alert = Alert(112);
    /// no_application_protocol (RFC 7301).
    pub const NO_APPLICATION_PROTOCOL: Alert = Alert(120);

    /// The name RFC 5246 or its extensions give it; `None` for a number without one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => return None,
        })
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alert({self})")
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "alert {}", self.0),
        }
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Why a datagram, a record or a message was dropped without an answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason {
            $($(#[$doc])* $name,)+
        }

        impl DropReason {
            /// Every reason, in the order of their declaration.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)+];
        }
    };
}

drop_reasons! {
    /// A datagram without a byte in it.
    EmptyDatagram,
    /// Too few bytes for the header of a record or a handshake message.
    Truncated,
    /// A record longer than its datagram, longer than the protocol allows, or of a length its type cannot have.
    BadLength,
    /// A content type that DTLS 1.2 does not have, or one that cannot come in the clear.
    BadContentType,
    /// Not a version of DTLS, or one that is not spoken here.
    BadVersion,
    /// Keys that do not exist yet or no more.
    BadEpoch,
    /// A record number too far ahead of all seen before.
    SequenceTooFar,
    /// A record number that was seen before, or lies too far behind.
    Replayed,
    /// A handshake message that this role never receives, or not at this place.
    UnexpectedMessage,
    /// A handshake message longer than its type may be.
    MessageTooLong,
    /// A fragment that does not fit its message, or an empty one of a message that is not empty.
    BadFragment,
    /// Another version of a handshake message that was received: a forger's, or the forger's came first.
    Contradiction,
    /// A handshake message or a ChangeCipherSpec that was received before.
    RepeatedMessage,
    /// A fragment that made room for newer ones.
    ReassemblyFull,
    /// More records of the next epoch than are kept before the keys are there, or for too long.
    TooManyEarlyRecords,
    /// An alert in the clear that is neither fatal nor close_notify, malformed, or sent after the keys were there.
    UnprovenAlert,
    /// A held alert that was given up because the handshake went on.
    AlertOverruled,
    /// A ClientHello after the real one was taken, or a HelloRequest: renegotiation is never done.
    RepeatedHello,
    /// Not a ClientHello, where only a ClientHello can be.
    NotClientHello,
    /// A ClientHello that libssl does not take, though its cookie is good.
    HelloRefused,
    /// A ClientHello whose cookie is wrong or too old; it is answered with a new one.
    BadCookie,
    /// No room: the oldest unread messages stay, the newest was dropped.
    ReceiveQueueFull,
    /// No room for another outgoing datagram.
    SendQueueFull,
    /// Held back because the peer's address is unproved and three times its bytes were sent already.
    AmplificationLimit,
    /// A message that asks for the last flight once more, too soon after the last time.
    FlightRepeated,
    /// A datagram for a connection that is over.
    Closed,
    /// From an address without a connection, where no peers are accepted.
    UnknownPeer,
}

/// A count for each [`DropReason`].
///
/// Holds no memory before the first drop: most connections never have one.
#[derive(Clone, Default)]
pub struct Drops(Option<Box<Counts>>);

type Counts = [u64; DropReason::ALL.len()];

fn zeros() -> Box<Counts> {
    Box::new([0; DropReason::ALL.len()])
}

impl Drops {
    /// Counts that never allocate.
    pub(crate) fn with_memory() -> Drops {
        Drops(Some(zeros()))
    }

    /// How often something was dropped for `reason`.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.0.as_ref().map_or(0, |counts| counts[reason as usize])
    }

    /// How often something was dropped, for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().flat_map(|counts| counts.iter()).sum()
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .iter()
            .map(|&reason| (reason, self.count(reason)))
            .filter(|&(_, count)| count > 0)
    }

    pub(crate) fn add(&mut self, reason: DropReason) {
        trace::event!(TRACE, ?reason, "dropped");
        self.add_many(reason, 1);
    }

    pub(crate) fn add_all(&mut self, other: &Drops) {
        for (reason, count) in other.iter() {
            self.add_many(reason, count);
        }
    }

    pub(crate) fn add_many(&mut self, reason: DropReason, count: u64) {
        if count > 0 {
            self.0.get_or_insert_with(zeros)[reason as usize] += count;
        }
    }
}

impl PartialEq for Drops {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Drops {}

impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtu_keeps_its_bounds() {
        assert_eq!(Mtu::new(256).unwrap(), Mtu::MIN);
        assert_eq!(Mtu::new(4096).unwrap(), Mtu::MAX);
        for given in [0, 255, 4097, 65536 + 1200, usize::MAX] {
            assert!(matches!(
                Mtu::new(given),
                Err(ConfigError::MtuOutOfRange { given: g }) if g == given
            ));
        }
    }

    #[test]
    fn drops_count_each_reason_apart() {
        let mut drops = Drops::default();
        for (n, &reason) in DropReason::ALL.iter().enumerate() {
            for _ in 0..=n {
                drops.add(reason);
            }
        }
        for (n, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(drops.count(reason), n as u64 + 1);
        }
        assert_ne!(drops, Drops::default());
        assert_eq!(Drops::with_memory(), Drops::default());
        let all = DropReason::ALL.len() as u64;
        assert_eq!(drops.total(), all * (all + 1) / 2);
    }

    #[test]
    fn alerts_print_their_names() {
        assert_eq!(Alert::UNKNOWN_CA.to_string(), "unknown_ca");
        assert_eq!(Alert(200).to_string(), "alert 200");
    }
}
