//! Groups for the key exchange.

use core::ffi::c_long;
use std::fmt;

/// `supported_groups` (RFC 8422, 5.1.1).
const SUPPORTED_GROUPS: u16 = 10;
const RECORD_AND_MESSAGE_HEADERS: usize = 13 + 12;
const VERSION_AND_RANDOM: usize = 2 + 32;

/// A group for the key exchange, by its number in the registry of RFC 8422.
///
/// Prints as [`ContextBuilder::groups`](crate::ContextBuilder::groups) takes it, or as its number if it has no name here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Group(u16);

/// Number, name, and the number of libcrypto's `obj_mac.h`.
const NAMES: [(u16, &str, c_long); 9] = [
    (21, "P-224", 713),
    (23, "P-256", 415),
    (24, "P-384", 715),
    (25, "P-521", 716),
    (26, "brainpoolP256r1", 927),
    (27, "brainpoolP384r1", 931),
    (28, "brainpoolP512r1", 933),
    (29, "X25519", 1034),
    (30, "X448", 1035),
];
/// libssl's mark on the numbers of groups that libcrypto has none for.
const UNKNOWN_NID: c_long = 0x0100_0000;

impl Group {
    /// The group's number.
    pub fn id(self) -> u16 {
        self.0
    }

    /// The group's name; `None` for one that is not known here.
    pub fn name(self) -> Option<&'static str> {
        let known = NAMES.iter().find(|(id, _, _)| *id == self.0);
        known.map(|(_, name, _)| *name)
    }

    /// The group that `SSL_get_negotiated_group` answers.
    pub(crate) fn from_nid(nid: c_long) -> Option<Group> {
        if let Some((id, _, _)) = NAMES.iter().find(|(_, _, known)| *known == nid) {
            return Some(Group(*id));
        }
        let id = u16::try_from(nid.checked_sub(UNKNOWN_NID)?).ok()?;
        Some(Group(id))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The groups that a ClientHello offers, which is the first message of `datagram`.
pub(crate) fn offered(datagram: &[u8]) -> Option<Vec<Group>> {
    let body = datagram.get(RECORD_AND_MESSAGE_HEADERS + VERSION_AND_RANDOM..)?;
    let (_session_id, rest) = vector(body, 1)?;
    let (_cookie, rest) = vector(rest, 1)?;
    let (_suites, rest) = vector(rest, 2)?;
    let (_compression, rest) = vector(rest, 1)?;
    let (mut extensions, _) = vector(rest, 2)?;
    while let Some((kind, rest)) = extensions.split_first_chunk::<2>() {
        let (extension, rest) = vector(rest, 2)?;
        extensions = rest;
        if u16::from_be_bytes(*kind) == SUPPORTED_GROUPS {
            let (list, _) = vector(extension, 2)?;
            let ids = list.chunks_exact(2);
            return Some(
                ids.map(|id| Group(id.iter().fold(0, |id, byte| id << 8 | u16::from(*byte))))
                    .collect(),
            );
        }
    }
    None
}

/// Takes a vector with a length of `width` bytes off the front.
fn vector(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use openssl::nid::Nid;

    use super::*;

    #[test]
    fn groups_have_names_or_numbers() {
        assert_eq!(
            Group::from_nid(c_long::from(Nid::X9_62_PRIME256V1.as_raw())),
            Some(Group(23))
        );
        assert_eq!(
            Group::from_nid(c_long::from(Nid::SECP384R1.as_raw())),
            Some(Group(24))
        );
        assert_eq!(Group::from_nid(1034).unwrap().to_string(), "X25519");
        let hybrid = Group::from_nid(0x0100_11ec).unwrap();
        assert_eq!((hybrid.id(), hybrid.name()), (0x11ec, None));
        assert_eq!(hybrid.to_string(), "0x11ec");
        for none in [0, -1, 0x0101_0000] {
            assert_eq!(Group::from_nid(none), None);
        }
    }

    #[test]
    fn truncated_hellos_offer_nothing() {
        let mut hello = vec![0; RECORD_AND_MESSAGE_HEADERS + VERSION_AND_RANDOM];
        hello.extend([0, 0, 0, 2, 0, 1, 1, 0, 0, 10]);
        hello.extend([0, 10, 0, 6, 0, 4, 0, 29, 0x11, 0xec]);
        assert_eq!(offered(&hello), Some(vec![Group(29), Group(0x11ec)]));
        for length in 0..hello.len() {
            assert_eq!(offered(&hello[..length]), None, "{length}");
        }
    }
}
