//! DTLS-SRTP (RFC 5764): profiles, and the keys that a handshake makes for them.

use std::fmt;

use openssl::ssl::{SslContextBuilder, SslMethod};
use zeroize::Zeroizing;

use crate::error::ConfigError;
use crate::types::Role;

/// The exporter's label for SRTP keys (RFC 5764, 4.2).
pub(crate) const LABEL: &str = "EXTRACTOR-dtls_srtp";

macro_rules! profiles {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal, $key:literal, $salt:literal;)+) => {
        /// A protection profile of SRTP (RFC 5764, 4.1.2; RFC 7714; RFC 8269; RFC 8723).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SrtpProfile {
            $($(#[$doc])* $name,)+
        }

        impl SrtpProfile {
            /// Every profile, whether the loaded libssl knows it or not.
            pub const ALL: &'static [SrtpProfile] = &[$(SrtpProfile::$name,)+];

            /// Its number at IANA.
            pub const fn id(self) -> u16 {
                match self {
                    $(SrtpProfile::$name => $id,)+
                }
            }

            /// Its name as OpenSSL writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(SrtpProfile::$name => $text,)+
                }
            }

            /// Bytes of the master key of one direction.
            pub const fn key_len(self) -> usize {
                match self {
                    $(SrtpProfile::$name => $key,)+
                }
            }

            /// Bytes of the master salt of one direction.
            pub const fn salt_len(self) -> usize {
                match self {
                    $(SrtpProfile::$name => $salt,)+
                }
            }
        }
    };
}

profiles! {
    /// AES-128 in counter mode with an 80-bit HMAC-SHA1 tag: what every WebRTC endpoint has.
    Aes128CmSha1_80 = 0x0001, "SRTP_AES128_CM_SHA1_80", 16, 14;
    /// AES-128 in counter mode with a 32-bit HMAC-SHA1 tag.
    Aes128CmSha1_32 = 0x0002, "SRTP_AES128_CM_SHA1_32", 16, 14;
    /// AES-128-GCM.
    AeadAes128Gcm = 0x0007, "SRTP_AEAD_AES_128_GCM", 16, 12;
    /// AES-256-GCM.
    AeadAes256Gcm = 0x0008, "SRTP_AEAD_AES_256_GCM", 32, 12;
    /// AES-128-GCM twice, end to end and hop by hop. OpenSSL 3.2 or newer.
    DoubleAeadAes128Gcm = 0x0009, "SRTP_DOUBLE_AEAD_AES_128_GCM_AEAD_AES_128_GCM", 32, 24;
    /// AES-256-GCM twice, end to end and hop by hop. OpenSSL 3.2 or newer.
    DoubleAeadAes256Gcm = 0x000a, "SRTP_DOUBLE_AEAD_AES_256_GCM_AEAD_AES_256_GCM", 64, 24;
    /// ARIA-128 in counter mode with an 80-bit HMAC-SHA1 tag. OpenSSL 3.2 or newer.
    Aria128CtrSha1_80 = 0x000b, "SRTP_ARIA_128_CTR_HMAC_SHA1_80", 16, 14;
    /// ARIA-128 in counter mode with a 32-bit HMAC-SHA1 tag. OpenSSL 3.2 or newer.
    Aria128CtrSha1_32 = 0x000c, "SRTP_ARIA_128_CTR_HMAC_SHA1_32", 16, 14;
    /// ARIA-256 in counter mode with an 80-bit HMAC-SHA1 tag. OpenSSL 3.2 or newer.
    Aria256CtrSha1_80 = 0x000d, "SRTP_ARIA_256_CTR_HMAC_SHA1_80", 32, 14;
    /// ARIA-256 in counter mode with a 32-bit HMAC-SHA1 tag. OpenSSL 3.2 or newer.
    Aria256CtrSha1_32 = 0x000e, "SRTP_ARIA_256_CTR_HMAC_SHA1_32", 32, 14;
    /// ARIA-128-GCM. OpenSSL 3.2 or newer.
    AeadAria128Gcm = 0x000f, "SRTP_AEAD_ARIA_128_GCM", 16, 12;
    /// ARIA-256-GCM. OpenSSL 3.2 or newer.
    AeadAria256Gcm = 0x0010, "SRTP_AEAD_ARIA_256_GCM", 32, 12;
}

impl SrtpProfile {
    /// The profile with this number; `None` for one that is not known here.
    pub fn from_id(id: u16) -> Option<SrtpProfile> {
        Self::ALL.iter().copied().find(|profile| profile.id() == id)
    }

    /// Whether the loaded libssl knows this profile.
    pub fn is_available(self) -> bool {
        SslContextBuilder::new(SslMethod::dtls())
            .is_ok_and(|mut builder| builder.set_tlsext_use_srtp(self.name()).is_ok())
    }

    /// Bytes of what the exporter makes for both directions.
    pub(crate) const fn material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

impl fmt::Display for SrtpProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Makes connections of `builder` offer or accept `profiles`. Corresponds to `SSL_CTX_set_tlsext_use_srtp`.
pub(crate) fn install(
    profiles: &[SrtpProfile],
    builder: &mut SslContextBuilder,
) -> Result<(), ConfigError> {
    let names: Vec<_> = profiles.iter().map(|profile| profile.name()).collect();
    let list = names.join(":");
    builder
        .set_tlsext_use_srtp(&list)
        .map_err(|source| ConfigError::BadList {
            what: "SRTP profiles",
            given: list,
            source,
        })
}

/// The master key and salt of one direction. Wiped when dropped, and absent from `Debug`.
#[derive(Clone)]
pub struct SrtpKey {
    key: Zeroizing<Vec<u8>>,
    salt: Zeroizing<Vec<u8>>,
}

impl SrtpKey {
    /// The master key: [`SrtpProfile::key_len`] bytes.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The master salt: [`SrtpProfile::salt_len`] bytes.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKey").finish_non_exhaustive()
    }
}

/// The SRTP keys of a connection, one for each direction (RFC 5764, 4.2).
///
/// From [`Connection::srtp_keys`](crate::Connection::srtp_keys).
#[derive(Clone)]
pub struct SrtpKeys {
    profile: SrtpProfile,
    role: Role,
    client: SrtpKey,
    server: SrtpKey,
}

impl SrtpKeys {
    /// Takes apart what the exporter made: both keys, then both salts, the client's first.
    ///
    /// `None` if `material` has not [`SrtpProfile::material_len`] bytes.
    pub(crate) fn split(profile: SrtpProfile, role: Role, material: &[u8]) -> Option<SrtpKeys> {
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        let (client_key, rest) = material.split_at_checked(key_len)?;
        let (server_key, rest) = rest.split_at_checked(key_len)?;
        let (client_salt, server_salt) = rest.split_at_checked(salt_len)?;
        if server_salt.len() != salt_len {
            return None;
        }
        let side = |key: &[u8], salt: &[u8]| SrtpKey {
            key: Zeroizing::new(key.to_vec()),
            salt: Zeroizing::new(salt.to_vec()),
        };
        Some(SrtpKeys {
            profile,
            role,
            client: side(client_key, client_salt),
            server: side(server_key, server_salt),
        })
    }

    /// The profile the keys are for.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// What the client protects its media with.
    pub fn client(&self) -> &SrtpKey {
        &self.client
    }

    /// What the server protects its media with.
    pub fn server(&self) -> &SrtpKey {
        &self.server
    }

    /// What this end protects with: [`client`](Self::client) on a client.
    pub fn outbound(&self) -> &SrtpKey {
        match self.role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        }
    }

    /// What the peer protects with.
    pub fn inbound(&self) -> &SrtpKey {
        match self.role {
            Role::Client => &self.server,
            Role::Server => &self.client,
        }
    }
}

impl fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKeys")
            .field("profile", &self.profile)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_profiles() {
        for &profile in SrtpProfile::ALL {
            assert_eq!(SrtpProfile::from_id(profile.id()), Some(profile));
        }
        assert_eq!(SrtpProfile::from_id(0x0005), None);
    }

    #[test]
    fn material_is_split_in_the_order_of_the_rfc() {
        for &profile in SrtpProfile::ALL {
            let (key, salt) = (profile.key_len(), profile.salt_len());
            let mut material = vec![1; key];
            material.extend(vec![2; key]);
            material.extend(vec![3; salt]);
            material.extend(vec![4; salt]);
            assert_eq!(material.len(), profile.material_len());
            let keys = SrtpKeys::split(profile, Role::Server, &material).unwrap();
            assert_eq!(keys.client().key(), vec![1; key]);
            assert_eq!(keys.server().key(), vec![2; key]);
            assert_eq!(keys.client().salt(), vec![3; salt]);
            assert_eq!(keys.server().salt(), vec![4; salt]);
            assert_eq!(keys.outbound().key(), keys.server().key());
            assert_eq!(keys.inbound().key(), keys.client().key());
            for wrong in [material.len() - 1, key, 0] {
                assert!(SrtpKeys::split(profile, Role::Client, &material[..wrong]).is_none());
            }
            material.push(0);
            assert!(SrtpKeys::split(profile, Role::Client, &material).is_none());
        }
    }

    #[test]
    fn profiles_are_available_from_their_version_on() {
        let (v3_2, loaded) = (0x3020_0000, openssl::version::number());
        for &profile in SrtpProfile::ALL {
            let old = profile.id() <= SrtpProfile::AeadAes256Gcm.id();
            assert_eq!(profile.is_available(), old || loaded >= v3_2, "{profile}");
        }
    }
}
