//! What a program can watch of a handshake: its messages, records, alerts and states.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::types::{Alert, Role};

/// Bytes in front of a handshake message: type, length, number, and offset and length of the fragment.
const HANDSHAKE_HEADER_LEN: usize = 12;
/// Bytes in front of a record: type, version, epoch and number, length.
const RECORD_HEADER_LEN: usize = 13;

/// Content types that libssl reports, the last of its own making.
const CHANGE_CIPHER_SPEC: i32 = 20;
const ALERT: i32 = 21;
const HANDSHAKE: i32 = 22;
const RECORD_HEADER: i32 = 0x100;

/// Which way something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the peer.
    Sent,
    /// From the peer.
    Received,
}

/// The type of a handshake message (RFC 5246, 7.4; RFC 6347, 4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandshakeType(pub u8);

impl HandshakeType {
    /// The name it has in the RFCs; `None` for a number without one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "hello_request",
            1 => "client_hello",
            2 => "server_hello",
            3 => "hello_verify_request",
            4 => "new_session_ticket",
            11 => "certificate",
            12 => "server_key_exchange",
            13 => "certificate_request",
            14 => "server_hello_done",
            15 => "certificate_verify",
            16 => "client_key_exchange",
            20 => "finished",
            21 => "certificate_url",
            22 => "certificate_status",
            23 => "supplemental_data",
            _ => return None,
        })
    }
}

impl fmt::Display for HandshakeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "message {}", self.0),
        }
    }
}

impl fmt::Debug for HandshakeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandshakeType({self})")
    }
}

/// The type of a record (RFC 5246, 6.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentType(pub u8);

impl ContentType {
    /// The name it has in the RFCs; `None` for a number without one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            20 => "change_cipher_spec",
            21 => "alert",
            22 => "handshake",
            23 => "application_data",
            _ => return None,
        })
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "record {}", self.0),
        }
    }
}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentType({self})")
    }
}

/// Something that happened in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation<'a> {
    /// A handshake begins.
    HandshakeStarted,
    /// The handshake went on to another state.
    State {
        /// Its name as libssl words it. Corresponds to `SSL_state_string_long`.
        name: &'static str,
    },
    /// The handshake is complete.
    HandshakeDone,
    /// The header of a record.
    #[non_exhaustive]
    Record {
        /// Which way it went.
        direction: Direction,
        /// What is in it.
        content_type: ContentType,
        /// The version, as the record has it: 0xfefd is DTLS 1.2.
        version: u16,
        /// How often keys were changed before it.
        epoch: u16,
        /// Its number in this epoch.
        sequence: u64,
        /// Bytes that follow the header.
        length: usize,
    },
    /// A handshake message.
    #[non_exhaustive]
    Message {
        /// Which way it went.
        direction: Direction,
        /// Its type.
        message_type: HandshakeType,
        /// Its number in the handshake.
        sequence: u16,
        /// Its bytes, without a header.
        length: usize,
        /// The same, in the clear; `None` for a message that was sent in fragments, which OpenSSL 3 has no longer in one piece.
        body: Option<&'a [u8]>,
    },
    /// From here on records are protected with the new keys.
    #[non_exhaustive]
    ChangeCipherSpec {
        /// Which way it went.
        direction: Direction,
    },
    /// An alert.
    #[non_exhaustive]
    Alert {
        /// Which way it went.
        direction: Direction,
        /// Whether it ends the connection.
        fatal: bool,
        /// What it says.
        alert: Alert,
    },
}

/// An [`Observation`], and in which connection it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed<'a> {
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// Which end this is.
    pub role: Role,
    /// What happened.
    pub what: Observation<'a>,
}

/// Who is told.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&Observed<'_>) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observe: impl Fn(&Observed<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Arc::new(observe))
    }

    pub(crate) fn tell(&self, peer: SocketAddr, role: Role, what: Observation<'_>) {
        (self.0)(&Observed { peer, role, what });
    }
}

/// Makes an observation of what libssl reports: `content_type` and the bytes of it. `None` for what says nothing about DTLS.
pub(crate) fn of_message(
    direction: Direction,
    content_type: i32,
    bytes: &[u8],
) -> Option<Observation<'_>> {
    match content_type {
        CHANGE_CIPHER_SPEC => Some(Observation::ChangeCipherSpec { direction }),
        ALERT => {
            let &[level, alert] = bytes else { return None };
            Some(Observation::Alert {
                direction,
                fatal: level == 2,
                alert: Alert(alert),
            })
        }
        HANDSHAKE => of_handshake(direction, bytes),
        RECORD_HEADER => {
            let header: &[u8; RECORD_HEADER_LEN] = bytes.try_into().ok()?;
            let &[content_type, v0, v1, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1] = header;
            Some(Observation::Record {
                direction,
                content_type: ContentType(content_type),
                version: u16::from_be_bytes([v0, v1]),
                epoch: u16::from_be_bytes([e0, e1]),
                sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
                length: u16::from_be_bytes([l0, l1]).into(),
            })
        }
        _ => None,
    }
}

fn of_handshake(direction: Direction, bytes: &[u8]) -> Option<Observation<'_>> {
    let (header, body) = bytes.split_first_chunk::<HANDSHAKE_HEADER_LEN>()?;
    let &[message_type, l0, l1, l2, s0, s1, ..] = header;
    let length = uint24([l0, l1, l2]);
    let is_whole = body.len() == length && !is_overwritten(bytes);
    Some(Observation::Message {
        direction,
        message_type: HandshakeType(message_type),
        sequence: u16::from_be_bytes([s0, s1]),
        length,
        body: is_whole.then_some(body),
    })
}

/// Whether a message was sent in fragments: libssl writes the header of each further one in front of its part of the message, over
/// what it has sent already.
fn is_overwritten(bytes: &[u8]) -> bool {
    let mut places = bytes.windows(HANDSHAKE_HEADER_LEN).enumerate().skip(1);
    places.any(|(at, header)| match header {
        // The same type, length and number, and the offset of what follows.
        &[_, _, _, _, _, _, o0, o1, o2, ..] => {
            header.get(..6) == bytes.get(..6) && uint24([o0, o1, o2]) == at
        }
        _ => false,
    })
}

fn uint24([high, middle, low]: [u8; 3]) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_whole_or_without_their_body() {
        let mut bytes = vec![11, 0, 0, 3, 0, 5, 0, 0, 0, 0, 0, 3, 7, 8, 9];
        let told = of_message(Direction::Received, HANDSHAKE, &bytes);
        assert_eq!(
            told,
            Some(Observation::Message {
                direction: Direction::Received,
                message_type: HandshakeType(11),
                sequence: 5,
                length: 3,
                body: Some(&[7, 8, 9]),
            })
        );
        // A part of a message, and one over which libssl wrote the header of a fragment from byte 14 on.
        bytes[3] = 5;
        let mut fragmented = vec![11, 0, 0, 24, 0, 5, 0, 0, 0, 0, 0, 24];
        fragmented.extend([7, 7, 11, 0, 0, 24, 0, 5, 0, 0, 14, 0, 0, 10]);
        fragmented.extend([9; 10]);
        for (bytes, wanted) in [(&bytes, 5), (&fragmented, 24)] {
            assert!(matches!(
                of_message(Direction::Sent, HANDSHAKE, bytes),
                Some(Observation::Message { length, body: None, .. }) if length == wanted
            ));
        }
        // What only looks like a header is part of the message.
        fragmented[22] = 15;
        assert!(matches!(
            of_message(Direction::Sent, HANDSHAKE, &fragmented),
            Some(Observation::Message { body: Some(_), .. })
        ));
        for length in 0..HANDSHAKE_HEADER_LEN {
            assert_eq!(
                of_message(Direction::Sent, HANDSHAKE, &bytes[..length]),
                None
            );
        }
    }

    #[test]
    fn headers_and_alerts_are_read_byte_by_byte() {
        let header = [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 1, 2, 3, 4, 5];
        assert_eq!(
            of_message(Direction::Sent, RECORD_HEADER, &header),
            Some(Observation::Record {
                direction: Direction::Sent,
                content_type: ContentType(23),
                version: 0xfefd,
                epoch: 1,
                sequence: 0x0001_0203,
                length: 0x0405,
            })
        );
        assert_eq!(
            of_message(Direction::Received, ALERT, &[2, 40]),
            Some(Observation::Alert {
                direction: Direction::Received,
                fatal: true,
                alert: Alert::HANDSHAKE_FAILURE,
            })
        );
        for (content_type, bytes) in [
            (RECORD_HEADER, &header[..12]),
            (ALERT, &[2][..]),
            (ALERT, &[]),
            (0x101, &[22]),
            (-1, &[]),
        ] {
            assert_eq!(of_message(Direction::Sent, content_type, bytes), None);
        }
    }

    #[test]
    fn numbers_without_a_name_print_as_numbers() {
        assert_eq!(HandshakeType(20).to_string(), "finished");
        assert_eq!(HandshakeType(99).to_string(), "message 99");
        assert_eq!(ContentType(22).to_string(), "handshake");
        assert_eq!(format!("{:?}", ContentType(99)), "ContentType(record 99)");
    }
}
