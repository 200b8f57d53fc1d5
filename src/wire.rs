//! Headers of DTLS records and handshake messages, read and written without libssl.

use crate::types::DropReason;

/// Bytes of a record's header (RFC 6347, 4.1).
pub(crate) const RECORD_HEADER_LEN: usize = 13;
/// Bytes of a handshake fragment's header (RFC 6347, 4.2.2).
const HANDSHAKE_HEADER_LEN: usize = 12;
/// The longest payload of a record: plaintext and what encryption may add (RFC 6347, 4.1).
const MAX_PAYLOAD_LEN: usize = (1 << 14) + 2048;

/// Content types of records.
pub(crate) mod content {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const APPLICATION_DATA: u8 = 23;
}

/// Types of handshake messages.
pub(crate) mod message {
    pub(crate) const HELLO_REQUEST: u8 = 0;
    pub(crate) const CLIENT_HELLO: u8 = 1;
    pub(crate) const SERVER_HELLO: u8 = 2;
    pub(crate) const HELLO_VERIFY_REQUEST: u8 = 3;
    pub(crate) const NEW_SESSION_TICKET: u8 = 4;
    pub(crate) const CERTIFICATE: u8 = 11;
    pub(crate) const SERVER_KEY_EXCHANGE: u8 = 12;
    pub(crate) const CERTIFICATE_REQUEST: u8 = 13;
    pub(crate) const SERVER_HELLO_DONE: u8 = 14;
    pub(crate) const CERTIFICATE_VERIFY: u8 = 15;
    pub(crate) const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub(crate) const CERTIFICATE_STATUS: u8 = 22;
}

const DTLS1_0: u16 = 0xfeff;
const DTLS1_2: u16 = 0xfefd;
/// First bytes of a DTLS 1.3 record with the unified header (RFC 9147, 4): 001 and five flags.
const UNIFIED_HEADER: core::ops::RangeInclusive<u8> = 0x20..=0x3f;
/// Bytes of a ClientHello's random.
const RANDOM_LEN: usize = 32;
const MAX_SESSION_ID_LEN: usize = 32;
/// The longest ClientHello libssl takes (statem_srvr.c, CLIENT_HELLO_MAX_LENGTH).
pub(crate) const MAX_CLIENT_HELLO_LEN: u32 = 131_396;

/// Bytes of the longest cookie that is sent: the most that DTLS 1.0 allows (RFC 4347, 4.2.1).
pub(crate) const MAX_COOKIE_LEN: usize = 32;
/// Bytes of a HelloVerifyRequest in front of the cookie, record header included.
const HELLO_VERIFY_REQUEST_HEAD: usize = RECORD_HEADER_LEN + HANDSHAKE_HEADER_LEN + 3;
/// Bytes of the longest HelloVerifyRequest, record header included.
pub(crate) const MAX_HELLO_VERIFY_REQUEST_LEN: usize = HELLO_VERIFY_REQUEST_HEAD + MAX_COOKIE_LEN;

/// One record, still encrypted or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) content_type: u8,
    pub(crate) version: u16,
    pub(crate) epoch: u16,
    /// 48 bits.
    pub(crate) sequence: u64,
    /// Header and payload.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.bytes.get(RECORD_HEADER_LEN..).unwrap_or_default()
    }
}

/// Takes the first record off a datagram and gives the rest.
pub(crate) fn split_record(datagram: &[u8]) -> Result<(Record<'_>, &[u8]), DropReason> {
    let Some(&first) = datagram.first() else {
        return Err(DropReason::EmptyDatagram);
    };
    if UNIFIED_HEADER.contains(&first) {
        return Err(DropReason::BadVersion);
    }
    if !(content::CHANGE_CIPHER_SPEC..=content::APPLICATION_DATA).contains(&first) {
        return Err(DropReason::BadContentType);
    }
    let Some(&[content_type, v0, v1, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1]) =
        datagram.first_chunk::<RECORD_HEADER_LEN>()
    else {
        return Err(DropReason::Truncated);
    };
    let version = u16::from_be_bytes([v0, v1]);
    if !matches!(version, DTLS1_0 | DTLS1_2) {
        return Err(DropReason::BadVersion);
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    match datagram.split_at_checked(RECORD_HEADER_LEN + length) {
        Some((bytes, rest)) if length <= MAX_PAYLOAD_LEN => {
            let epoch = u16::from_be_bytes([e0, e1]);
            let sequence = u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]);
            Ok((
                Record {
                    content_type,
                    version,
                    epoch,
                    sequence,
                    bytes,
                },
                rest,
            ))
        }
        _ => Err(DropReason::BadLength),
    }
}

/// Length of the first record in `datagram`, or of all of it if that is none.
pub(crate) fn first_record_len(datagram: &[u8]) -> usize {
    split_record(datagram).map_or(datagram.len(), |(record, _)| record.bytes.len())
}

/// The header of a handshake fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    pub(crate) message_type: u8,
    /// Length of the whole message, in bytes.
    pub(crate) length: u32,
    pub(crate) message_seq: u16,
    pub(crate) offset: u32,
    pub(crate) body: &'a [u8],
}

impl Fragment<'_> {
    /// Which bytes of the message it holds: the first, and the one behind the last.
    pub(crate) fn span(&self) -> (u32, u32) {
        // A body is part of a record, so its length fits.
        (self.offset, self.offset + self.body.len() as u32)
    }

    /// Whether it is the whole message.
    pub(crate) fn is_whole(&self) -> bool {
        self.span() == (0, self.length)
    }
}

/// Takes the first fragment off a handshake record's payload and gives the rest.
pub(crate) fn split_fragment(payload: &[u8]) -> Result<(Fragment<'_>, &[u8]), DropReason> {
    let Some((&[message_type, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2], rest)) =
        payload.split_first_chunk::<HANDSHAKE_HEADER_LEN>()
    else {
        return Err(DropReason::Truncated);
    };
    let length = u32::from_be_bytes([0, l0, l1, l2]);
    let offset = u32::from_be_bytes([0, o0, o1, o2]);
    let fragment_length = u32::from_be_bytes([0, f0, f1, f2]);
    // libssl takes an empty fragment for the whole message, and an impossible one for the end.
    if offset + fragment_length > length || (fragment_length == 0 && length > 0) {
        return Err(DropReason::BadFragment);
    }
    let Some((body, rest)) = usize::try_from(fragment_length)
        .ok()
        .and_then(|fragment_length| rest.split_at_checked(fragment_length))
    else {
        return Err(DropReason::BadFragment);
    };
    let message_seq = u16::from_be_bytes([s0, s1]);
    Ok((
        Fragment {
            message_type,
            length,
            message_seq,
            offset,
            body,
        },
        rest,
    ))
}

/// Adds `offset` to the number of each record in the clear; the others are authentic with theirs.
pub(crate) fn renumber(mut datagram: &mut [u8], offset: u64) {
    const SEQUENCE: core::ops::Range<usize> = 5..11;
    while let Ok((record, _)) = split_record(datagram) {
        let (epoch, sequence, length) = (record.epoch, record.sequence, record.bytes.len());
        let [_, _, number @ ..] = sequence.wrapping_add(offset).to_be_bytes();
        if let Some(place) = datagram.get_mut(SEQUENCE).filter(|_| epoch == 0) {
            place.copy_from_slice(&number);
        }
        datagram = datagram.get_mut(length..).unwrap_or_default();
    }
}

/// Whether a datagram we send begins with a message of a handshake: a flight, not an alert or a message of the program.
pub(crate) fn carries_handshake(datagram: &[u8]) -> bool {
    matches!(
        datagram.first(),
        Some(&(content::HANDSHAKE | content::CHANGE_CIPHER_SPEC))
    )
}

/// A ClientHello as far as a stateless server reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientHello<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) message_seq: u16,
    pub(crate) random: &'a [u8; RANDOM_LEN],
    /// The body in front of the cookie: version, random, session id with its length.
    pub(crate) preamble: &'a [u8],
    /// Empty in a first ClientHello.
    pub(crate) cookie: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Empty unless it offers to resume.
    pub(crate) fn session_id(&self) -> &'a [u8] {
        self.preamble.get(2 + RANDOM_LEN + 1..).unwrap_or_default()
    }
}

/// Reads the ClientHello in the first record of a datagram, under the conditions of `DTLSv1_listen` (d1_lib.c): the record holds
/// its first fragment and nothing else, and the cookie is in that fragment.
pub(crate) fn first_client_hello(datagram: &[u8]) -> Result<ClientHello<'_>, DropReason> {
    let (record, _) = split_record(datagram)?;
    if record.content_type != content::HANDSHAKE {
        return Err(DropReason::NotClientHello);
    }
    if record.epoch != 0 {
        return Err(DropReason::BadEpoch);
    }
    let (fragment, rest) = split_fragment(record.payload())?;
    if fragment.message_type != message::CLIENT_HELLO {
        return Err(DropReason::NotClientHello);
    }
    if !rest.is_empty() || fragment.offset != 0 {
        return Err(DropReason::BadFragment);
    }
    if fragment.message_seq > 1 {
        return Err(DropReason::UnexpectedMessage);
    }
    if fragment.length > MAX_CLIENT_HELLO_LEN {
        return Err(DropReason::MessageTooLong);
    }
    let body = fragment.body;
    let Some((&[major, _], after_version)) = body.split_first_chunk::<2>() else {
        return Err(DropReason::Truncated);
    };
    if major != DTLS1_2.to_be_bytes()[0] {
        return Err(DropReason::BadVersion);
    }
    let Some((random, after_random)) = after_version.split_first_chunk::<RANDOM_LEN>() else {
        return Err(DropReason::Truncated);
    };
    let (session_id, after_session_id) = split_vector(after_random)?;
    if session_id.len() > MAX_SESSION_ID_LEN {
        return Err(DropReason::BadLength);
    }
    let (cookie, _) = split_vector(after_session_id)?;
    let (preamble, _) = body.split_at(body.len() - after_session_id.len());
    Ok(ClientHello {
        record,
        message_seq: fragment.message_seq,
        random,
        preamble,
        cookie,
    })
}

/// What a ServerHello agrees on, as far as it matters to a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerHello<'a> {
    pub(crate) version: u16,
    pub(crate) session_id: &'a [u8],
    pub(crate) suite: u16,
    /// A NewSessionTicket will follow (RFC 5077).
    pub(crate) promises_ticket: bool,
}

/// Reads the body of a ServerHello, or as much of it as its first fragment holds.
pub(crate) fn server_hello(body: &[u8]) -> Option<ServerHello<'_>> {
    const SESSION_TICKET: u16 = 35;
    let (&[v0, v1], rest) = body.split_first_chunk::<2>()?;
    let (_, rest) = rest.split_first_chunk::<RANDOM_LEN>()?;
    let (session_id, rest) = split_vector(rest).ok()?;
    let (&[s0, s1, _compression], rest) = rest.split_first_chunk::<3>()?;
    let mut promises_ticket = false;
    if let Some((_length, mut extensions)) = rest.split_first_chunk::<2>() {
        while let Some((&[t0, t1, l0, l1], rest)) = extensions.split_first_chunk::<4>() {
            promises_ticket |= u16::from_be_bytes([t0, t1]) == SESSION_TICKET;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            extensions = rest.get(length..).unwrap_or_default();
        }
    }
    Some(ServerHello {
        version: u16::from_be_bytes([v0, v1]),
        session_id,
        suite: u16::from_be_bytes([s0, s1]),
        promises_ticket,
    })
}

/// Takes a vector with a length of one byte off the front.
fn split_vector(bytes: &[u8]) -> Result<(&[u8], &[u8]), DropReason> {
    bytes
        .split_first()
        .and_then(|(&length, rest)| rest.split_at_checked(usize::from(length)))
        .ok_or(DropReason::Truncated)
}

/// Writes the HelloVerifyRequest that answers `hello` and tells its length, byte for byte as `DTLSv1_listen` does: version 1.0
/// whatever is spoken later, and the sequence number of the hello (RFC 6347, 4.2.1).
pub(crate) fn write_hello_verify_request(
    out: &mut [u8; MAX_HELLO_VERIFY_REQUEST_LEN],
    hello: &ClientHello<'_>,
    cookie: &[u8; MAX_COOKIE_LEN],
) -> usize {
    const MESSAGE: u8 = (HANDSHAKE_HEADER_LEN + 3 + MAX_COOKIE_LEN) as u8;
    const BODY: u8 = (3 + MAX_COOKIE_LEN) as u8;
    const COOKIE: u8 = MAX_COOKIE_LEN as u8;
    let [v0, v1] = DTLS1_0.to_be_bytes();
    let [_, _, s0, s1, s2, s3, s4, s5] = hello.record.sequence.to_be_bytes();
    #[rustfmt::skip]
    let head: [u8; HELLO_VERIFY_REQUEST_HEAD] = [
        content::HANDSHAKE, v0, v1, 0, 0, s0, s1, s2, s3, s4, s5, 0, MESSAGE,
        message::HELLO_VERIFY_REQUEST, 0, 0, BODY, 0, 0, 0, 0, 0, 0, 0, BODY,
        v0, v1, COOKIE,
    ];
    let (front, back) = out.split_at_mut(HELLO_VERIFY_REQUEST_HEAD);
    front.copy_from_slice(&head);
    back.copy_from_slice(cookie);
    MAX_HELLO_VERIFY_REQUEST_LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{fragment, record};

    #[test]
    fn only_records_in_the_clear_are_renumbered() {
        let mut datagram = [
            record(22, 0, 1, b"one"),
            record(20, 0, 2, &[1]),
            record(22, 1, 0, b"encrypted"),
        ]
        .concat();
        renumber(&mut datagram, 0x0102_0304);
        let wanted = [
            record(22, 0, 0x0102_0305, b"one"),
            record(20, 0, 0x0102_0306, &[1]),
            record(22, 1, 0, b"encrypted"),
        ];
        assert_eq!(datagram, wanted.concat());
        // The number has 48 bits.
        let mut datagram = record(22, 0, 0xffff_ffff_ffff, b"last");
        renumber(&mut datagram, 1);
        assert_eq!(datagram, record(22, 0, 0, b"last"));
        let mut junk = *b"neither a record nor the beginning of one";
        renumber(&mut junk, 1);
        assert_eq!(&junk, b"neither a record nor the beginning of one");
    }

    /// The body of a ClientHello, and where its preamble ends.
    fn hello_body(session_id: &[u8], cookie: &[u8]) -> (Vec<u8>, usize) {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.push(u8::try_from(session_id.len()).unwrap());
        body.extend(session_id);
        let preamble = body.len();
        body.push(u8::try_from(cookie.len()).unwrap());
        body.extend(cookie);
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        (body, preamble)
    }

    fn hello(body: &[u8], seq: u16) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        record(content::HANDSHAKE, 0, 5, &fragment(1, length, seq, 0, body))
    }

    #[test]
    fn records_are_split_one_by_one() {
        let datagram = [
            record(22, 0, 0xffff_ffff_ffff, b"one"),
            record(23, 0xffff, 7, b""),
            record(20, 1, 0, &[0; MAX_PAYLOAD_LEN]),
        ]
        .concat();
        let (first, rest) = split_record(&datagram).unwrap();
        assert_eq!((first.content_type, first.epoch), (22, 0));
        assert_eq!(first.sequence, 0xffff_ffff_ffff);
        assert_eq!(first.payload(), b"one");
        assert_eq!(first.bytes, &datagram[..16]);
        let (second, rest) = split_record(rest).unwrap();
        assert_eq!((second.epoch, second.sequence), (0xffff, 7));
        assert_eq!(second.payload(), b"");
        let (third, rest) = split_record(rest).unwrap();
        assert_eq!(third.payload().len(), MAX_PAYLOAD_LEN);
        assert!(rest.is_empty());
    }

    #[test]
    fn records_that_dtls_does_not_have_are_refused() {
        let reason = |datagram: &[u8]| split_record(datagram).err();
        assert_eq!(reason(&[]), Some(DropReason::EmptyDatagram));
        for first in [0, 19, 24, 0x1f, 0x40, 0x80, 0xff] {
            assert_eq!(reason(&[first; 20]), Some(DropReason::BadContentType));
        }
        // DTLS 1.3 in the clear looks like 1.2; encrypted it has a header of its own.
        for first in [0x20, 0x2f, 0x3f] {
            assert_eq!(reason(&[first; 20]), Some(DropReason::BadVersion));
        }
        for (major, minor) in [(3, 3), (0xfe, 0xfc), (0xfe, 0xfe), (1, 0), (0xff, 0xfd)] {
            let mut datagram = record(22, 0, 0, b"payload");
            datagram[1..3].copy_from_slice(&[major, minor]);
            assert_eq!(reason(&datagram), Some(DropReason::BadVersion));
        }
        let datagram = record(22, 0, 0, b"payload");
        for length in 1..RECORD_HEADER_LEN {
            assert_eq!(reason(&datagram[..length]), Some(DropReason::Truncated));
        }
        for length in RECORD_HEADER_LEN..datagram.len() {
            assert_eq!(reason(&datagram[..length]), Some(DropReason::BadLength));
        }
        let long = record(22, 0, 0, &[0; MAX_PAYLOAD_LEN + 1]);
        assert_eq!(reason(&long), Some(DropReason::BadLength));
    }

    #[test]
    fn fragments_are_split_one_by_one() {
        let payload = [
            fragment(11, 10, 3, 4, b"456789"),
            fragment(14, 0, 4, 0, b""),
        ]
        .concat();
        let (first, rest) = split_fragment(&payload).unwrap();
        assert_eq!(
            first,
            Fragment {
                message_type: 11,
                length: 10,
                message_seq: 3,
                offset: 4,
                body: b"456789",
            }
        );
        let (second, rest) = split_fragment(rest).unwrap();
        assert_eq!((second.message_type, second.length), (14, 0));
        assert!(rest.is_empty());
    }

    #[test]
    fn fragments_that_do_not_fit_are_refused() {
        let reason = |payload: &[u8]| split_fragment(payload).err();
        let good = fragment(11, 10, 3, 4, b"456789");
        for length in 0..HANDSHAKE_HEADER_LEN {
            assert_eq!(reason(&good[..length]), Some(DropReason::Truncated));
        }
        for length in HANDSHAKE_HEADER_LEN..good.len() {
            assert_eq!(reason(&good[..length]), Some(DropReason::BadFragment));
        }
        for (length, offset, body) in [
            (10, 5, &b"456789"[..]),
            (5, 0, b"456789"),
            (0, 0, b"4"),
            (0, 1, b""),
            // Empty, though the message is not.
            (10, 0, b""),
            (10, 10, b""),
            (0xff_ffff, 0xff_ffff, b"1"),
        ] {
            let bad = fragment(11, length, 3, offset, body);
            assert_eq!(
                reason(&bad),
                Some(DropReason::BadFragment),
                "{length} {offset}"
            );
        }
    }

    #[test]
    fn client_hello_is_read_up_to_its_cookie() {
        for (session_id, cookie) in [(&[][..], &[][..]), (&[1; 32], &[2; 32]), (&[1], &[2; 255])] {
            let (body, preamble) = hello_body(session_id, cookie);
            for seq in [0, 1] {
                let datagram = [&hello(&body, seq)[..], b"anything"].concat();
                let hello = first_client_hello(&datagram).unwrap();
                assert_eq!(hello.record.sequence, 5);
                assert_eq!(hello.record.bytes.len(), datagram.len() - 8);
                assert_eq!(hello.message_seq, seq);
                assert_eq!(hello.random, &[7; 32]);
                assert_eq!(hello.preamble, &body[..preamble]);
                assert_eq!(hello.cookie, cookie);
            }
        }
    }

    #[test]
    fn client_hello_may_come_in_fragments_if_its_cookie_is_in_the_first() {
        let (body, preamble) = hello_body(&[], &[9; 32]);
        let length = u32::try_from(body.len()).unwrap();
        for end in 0..body.len() {
            let first = fragment(1, length, 1, 0, &body[..end]);
            let datagram = record(content::HANDSHAKE, 0, 0, &first);
            let read = first_client_hello(&datagram);
            match read {
                Ok(hello) => {
                    assert!(end > preamble + 32);
                    assert_eq!(hello.cookie, &[9; 32]);
                }
                Err(DropReason::BadFragment) => assert_eq!(end, 0),
                Err(reason) => {
                    assert_eq!(reason, DropReason::Truncated);
                    assert!((1..=preamble + 32).contains(&end), "{end}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_client_hello_is_refused() {
        let reason = |datagram: &[u8]| first_client_hello(datagram).err();
        let (body, _) = hello_body(&[], &[]);
        let length = u32::try_from(body.len()).unwrap();
        let whole = fragment(1, length, 0, 0, &body);
        let in_record = |payload: &[u8]| record(content::HANDSHAKE, 0, 0, payload);
        assert_eq!(reason(&in_record(&whole)), None);
        for (datagram, expected) in [
            (record(23, 0, 0, &whole), DropReason::NotClientHello),
            (record(21, 0, 0, &[1, 0]), DropReason::NotClientHello),
            (record(22, 1, 0, &whole), DropReason::BadEpoch),
            (
                in_record(&fragment(2, length, 0, 0, &body)),
                DropReason::NotClientHello,
            ),
            (
                in_record(&[&whole[..], &whole].concat()),
                DropReason::BadFragment,
            ),
            (
                in_record(&fragment(1, length, 0, 1, &body[1..])),
                DropReason::BadFragment,
            ),
            (
                in_record(&fragment(1, length, 2, 0, &body)),
                DropReason::UnexpectedMessage,
            ),
            (
                in_record(&fragment(1, MAX_CLIENT_HELLO_LEN + 1, 0, 0, &body)),
                DropReason::MessageTooLong,
            ),
            (in_record(&[]), DropReason::Truncated),
        ] {
            assert_eq!(reason(&datagram), Some(expected));
        }
        let mut stream_tls = body.clone();
        stream_tls[0] = 3;
        assert_eq!(reason(&hello(&stream_tls, 0)), Some(DropReason::BadVersion));
        let (long_id, _) = hello_body(&[1; 33], &[]);
        assert_eq!(reason(&hello(&long_id, 0)), Some(DropReason::BadLength));
    }

    #[test]
    fn hello_verify_request_says_what_it_answers() {
        let (body, _) = hello_body(&[], &[]);
        let datagram = hello(&body, 0);
        let hello = first_client_hello(&datagram).unwrap();
        let mut out = [0; MAX_HELLO_VERIFY_REQUEST_LEN];
        let length = write_hello_verify_request(&mut out, &hello, &[9; MAX_COOKIE_LEN]);
        let (record, rest) = split_record(&out[..length]).unwrap();
        assert!(rest.is_empty());
        assert_eq!(
            (record.content_type, record.epoch, record.sequence),
            (22, 0, 5)
        );
        assert_eq!(record.bytes[1..3], [0xfe, 0xff]);
        let (fragment, rest) = split_fragment(record.payload()).unwrap();
        assert!(rest.is_empty());
        assert_eq!(fragment.message_type, message::HELLO_VERIFY_REQUEST);
        assert_eq!((fragment.message_seq, fragment.offset), (0, 0));
        assert_eq!(fragment.length as usize, fragment.body.len());
        assert_eq!(fragment.body[..3], [0xfe, 0xff, 32]);
        assert_eq!(fragment.body[3..], [9; 32]);
    }

    /// Walks `datagram` as a connection and a listener do, and checks that all that is handed out lies in it.
    fn walk(datagram: &[u8]) {
        let range = datagram.as_ptr_range();
        let inside = |part: &[u8]| {
            let part = part.as_ptr_range();
            range.start <= part.start && part.end <= range.end
        };
        let mut rest = datagram;
        while let Ok((record, after)) = split_record(rest) {
            assert!(inside(record.bytes) && inside(record.payload()));
            assert_eq!(record.bytes.len() + after.len(), rest.len());
            let mut payload = record.payload();
            while let Ok((fragment, after)) = split_fragment(payload) {
                assert!(inside(fragment.body));
                assert!(fragment.offset as usize + fragment.body.len() <= fragment.length as usize);
                assert!(after.len() < payload.len());
                payload = after;
            }
            rest = after;
        }
        if let Ok(hello) = first_client_hello(datagram) {
            assert!(inside(hello.preamble) && inside(hello.cookie) && inside(hello.random));
            let mut out = [0; MAX_HELLO_VERIFY_REQUEST_LEN];
            let length = write_hello_verify_request(&mut out, &hello, &[0; MAX_COOKIE_LEN]);
            assert!(split_record(&out[..length]).is_ok());
        }
        carries_handshake(datagram);
    }

    #[test]
    fn no_bytes_lead_the_parser_outside_of_them() {
        let (body, _) = hello_body(&[3; 32], &[4; 32]);
        let seeds = [
            hello(&body, 0),
            [
                hello(&body, 1),
                record(20, 0, 6, &[1]),
                record(22, 1, 0, &[5; 40]),
            ]
            .concat(),
            record(
                22,
                0,
                1,
                &[
                    fragment(11, 300, 2, 0, &[6; 100]),
                    fragment(14, 0, 3, 0, &[]),
                ]
                .concat(),
            ),
            record(21, 0, 2, &[2, 40]),
        ];
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut datagram = random.choice(&seeds).unwrap().clone();
            for _ in 0..random.usize(0..6) {
                let at = random.usize(0..=datagram.len());
                match random.u8(0..6) {
                    0 => datagram.truncate(at),
                    1 => datagram.insert(at, random.u8(..)),
                    2 => datagram.extend_from_slice(random.choice(&seeds).unwrap()),
                    3 => datagram = datagram.split_off(at),
                    _ if at < datagram.len() => datagram[at] = random.u8(..),
                    _ => {}
                }
            }
            walk(&datagram);
        }
        for seed in 0..5_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let length = random.usize(0..100);
            walk(
                &std::iter::repeat_with(|| random.u8(..))
                    .take(length)
                    .collect::<Vec<_>>(),
            );
        }
    }
}
