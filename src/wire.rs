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
    if !matches!(u16::from_be_bytes([v0, v1]), DTLS1_0 | DTLS1_2) {
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
    /// Length of the whole message, in bytes.
    pub(crate) length: u32,
    pub(crate) random: &'a [u8; RANDOM_LEN],
    /// The body in front of the cookie: version, random, session id with its length.
    pub(crate) preamble: &'a [u8],
    /// Empty in a first ClientHello.
    pub(crate) cookie: &'a [u8],
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
        length: fragment.length,
        random,
        preamble,
        cookie,
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
