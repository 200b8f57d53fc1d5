//! Which handshake messages a role receives in the clear, and how short an encrypted record of a suite can be.

use core::ops::RangeInclusive;

use crate::types::Role;
use crate::wire::message;

/// How long a message may be.
pub(super) enum MaxLen {
    Bytes(u32),
    CertificateList,
}

/// What a role receives in the clear, and where: so many messages after the hello.
pub(super) struct Rule {
    receiver: Role,
    message_type: u8,
    pub(super) places: RangeInclusive<u16>,
    pub(super) max_len: MaxLen,
}

const fn rule(
    receiver: Role,
    message_type: u8,
    places: RangeInclusive<u16>,
    max_len: MaxLen,
) -> Rule {
    Rule {
        receiver,
        message_type,
        places,
        max_len,
    }
}

/// RFC 5246, 7.3, in the order of the messages, with the lengths libssl takes (statem_clnt.c and statem_srvr.c,
/// `max_message_size`), or less where no honest peer comes near them. Finished comes encrypted.
const RULES: [Rule; 12] = [
    rule(
        Role::Server,
        message::CLIENT_HELLO,
        0..=0,
        MaxLen::Bytes(65_536),
    ),
    rule(
        Role::Server,
        message::CERTIFICATE,
        1..=1,
        MaxLen::CertificateList,
    ),
    rule(
        Role::Server,
        message::CLIENT_KEY_EXCHANGE,
        1..=2,
        MaxLen::Bytes(2_048),
    ),
    rule(
        Role::Server,
        message::CERTIFICATE_VERIFY,
        3..=3,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::HELLO_VERIFY_REQUEST,
        0..=0,
        MaxLen::Bytes(258),
    ),
    rule(
        Role::Client,
        message::SERVER_HELLO,
        0..=0,
        MaxLen::Bytes(20_000),
    ),
    rule(
        Role::Client,
        message::CERTIFICATE,
        1..=1,
        MaxLen::CertificateList,
    ),
    rule(
        Role::Client,
        message::CERTIFICATE_STATUS,
        2..=2,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::SERVER_KEY_EXCHANGE,
        1..=3,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::CERTIFICATE_REQUEST,
        1..=4,
        MaxLen::CertificateList,
    ),
    rule(
        Role::Client,
        message::SERVER_HELLO_DONE,
        1..=5,
        MaxLen::Bytes(0),
    ),
    rule(
        Role::Client,
        message::NEW_SESSION_TICKET,
        1..=6,
        MaxLen::Bytes(16_384),
    ),
];

/// The rule for a message that `receiver` may get, and its rank: messages come in the order of their ranks.
pub(super) fn find(receiver: Role, message_type: u8) -> Option<(usize, &'static Rule)> {
    RULES
        .iter()
        .enumerate()
        .find(|(_, rule)| rule.receiver == receiver && rule.message_type == message_type)
}

/// Bytes that the shortest encrypted record of any suite has: a tag of 16, or a nonce of 8 and a tag of 8.
pub(super) const SHORTEST: usize = 16;
/// The same with an explicit nonce of 8 bytes and a tag of 16: GCM and CCM.
const SHORTEST_WITH_NONCE: usize = 24;

/// Bytes of payload that an encrypted record of `suite` has at least.
///
/// OpenSSL 3.x up to 3.6 ends the connection over a shorter one if the suite is an AEAD (tls1_meth.c, `tls1_cipher`). Records of
/// suites with a MAC have at least as many.
pub(super) fn shortest_record(suite: u16) -> usize {
    match suite {
        // ChaCha20-Poly1305 has no explicit nonce.
        0xcca8..=0xccae => SHORTEST,
        // CCM with a tag of 8 bytes.
        0xc0a0..=0xc0a3 | 0xc0a8..=0xc0ab | 0xc0ae | 0xc0af | 0xd003 => SHORTEST,
        // No encryption, and a MAC of 16 bytes or more.
        0x0001 | 0x0002 | 0x002c..=0x002e | 0x003b | 0x00b0 | 0x00b1 | 0x00b4 | 0x00b5 => SHORTEST,
        0x00b8 | 0x00b9 | 0xc001 | 0xc006 | 0xc00b | 0xc010 | 0xc015 | 0xc039..=0xc03b => SHORTEST,
        _ => SHORTEST_WITH_NONCE,
    }
}
