//! Which certificates an OCSP response is about.

use core::ptr;

use foreign_types::ForeignTypeRef;
use openssl::asn1::{Asn1IntegerRef, Asn1ObjectRef, Asn1OctetStringRef};
use openssl::nid::Nid;
use openssl::ocsp::OcspBasicResponseRef;

use super::ffi;

/// The name that a response has for a certificate (RFC 6960, 4.1.1), without the hash of the issuer's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// What the issuer's name was hashed with.
    pub(crate) digest: Nid,
    pub(crate) issuer_name_hash: Vec<u8>,
    /// The certificate's serial number, big-endian, without its sign.
    pub(crate) serial: Vec<u8>,
}

/// Everything `basic` is about. Corresponds to `OCSP_resp_get0` and `OCSP_id_get0_info`.
pub(crate) fn subjects(basic: &OcspBasicResponseRef) -> Vec<Subject> {
    let response = basic.as_ptr();
    // SAFETY: the response is valid.
    let count = unsafe { ffi::OCSP_resp_count(response) };
    (0..count)
        .filter_map(|index| {
            // SAFETY: `index` is below the count; the response keeps what it lends.
            let single = unsafe { ffi::OCSP_resp_get0(response, index) };
            // SAFETY: one of the response's entries, which keeps its id.
            let id = unsafe { ffi::OCSP_SINGLERESP_get0_id(single) };
            let mut hash = ptr::null_mut();
            let mut digest = ptr::null_mut();
            let mut serial = ptr::null_mut();
            // SAFETY: the id is valid, and only read although not declared so; null asks for nothing.
            let told = unsafe {
                ffi::OCSP_id_get0_info(
                    &raw mut hash,
                    &raw mut digest,
                    ptr::null_mut(),
                    &raw mut serial,
                    id.cast_mut(),
                )
            };
            if told != 1 || hash.is_null() || digest.is_null() || serial.is_null() {
                return None;
            }
            // SAFETY: lent by the id, which the response keeps.
            let hash = unsafe { Asn1OctetStringRef::from_ptr(hash) };
            // SAFETY: as above.
            let digest = unsafe { Asn1ObjectRef::from_ptr(digest) };
            // SAFETY: as above.
            let serial = unsafe { Asn1IntegerRef::from_ptr(serial) };
            Some(Subject {
                digest: digest.nid(),
                issuer_name_hash: hash.as_slice().to_vec(),
                serial: serial.to_bn().ok()?.to_vec(),
            })
        })
        .collect()
}
