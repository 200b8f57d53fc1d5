//! What an authority says about its certificates: revocation lists and OCSP responses, which `openssl` reads and cannot make.

#![expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "`openssl` has no way to make these"
)]

use core::ffi::{c_int, c_ulong, c_void};
use core::ptr;

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl_dtls::openssl::asn1::Asn1Time;
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::x509::{X509Crl, X509Ref};
use openssl_sys as ffi;

use super::certs::{Authority, NOT_AFTER, NOT_BEFORE};

unsafe extern "C" {
    // openssl/ocsp.h
    fn OCSP_basic_add1_status(
        response: *mut ffi::OCSP_BASICRESP,
        id: *mut ffi::OCSP_CERTID,
        status: c_int,
        reason: c_int,
        revoked: *mut ffi::ASN1_TIME,
        this_update: *mut ffi::ASN1_TIME,
        next_update: *mut ffi::ASN1_TIME,
    ) -> *mut c_void;
    fn OCSP_basic_sign(
        response: *mut ffi::OCSP_BASICRESP,
        signer: *mut ffi::X509,
        key: *mut ffi::EVP_PKEY,
        digest: *const ffi::EVP_MD,
        certificates: *mut ffi::stack_st_X509,
        flags: c_ulong,
    ) -> c_int;
}

/// What an OCSP response says.
#[derive(Debug, Clone, Copy)]
pub enum Status {
    Good,
    Revoked,
    Unknown,
}

/// The list of `authority` with `revoked` in it, up to date until `next_update`.
pub fn revocation_list(authority: &Authority, revoked: &[&X509Ref], next_update: &str) -> X509Crl {
    let from = Asn1Time::from_str(NOT_BEFORE).unwrap();
    let until = Asn1Time::from_str(next_update).unwrap();
    // SAFETY: takes no arguments.
    let list = unsafe { ffi::X509_CRL_new() };
    // SAFETY: a new list, or null, which is refused by the assertion below.
    let owned = unsafe { X509Crl::from_ptr(list) };
    let issuer = authority.certificate.subject_name().as_ptr();
    // SAFETY: all are valid; libcrypto copies what it is given.
    unsafe {
        assert_eq!(ffi::X509_CRL_set_version(list, 1), 1);
        assert_eq!(ffi::X509_CRL_set_issuer_name(list, issuer), 1);
        assert_eq!(ffi::X509_CRL_set1_lastUpdate(list, from.as_ptr()), 1);
        assert_eq!(ffi::X509_CRL_set1_nextUpdate(list, until.as_ptr()), 1);
    };
    for certificate in revoked {
        let serial = certificate.serial_number().as_ptr();
        // SAFETY: all are valid; the list takes the entry over.
        unsafe {
            let entry = ffi::X509_REVOKED_new();
            assert_eq!(ffi::X509_REVOKED_set_serialNumber(entry, serial), 1);
            assert_eq!(
                ffi::X509_REVOKED_set_revocationDate(entry, from.as_ptr()),
                1
            );
            assert_eq!(ffi::X509_CRL_add0_revoked(list, entry), 1);
        };
    }
    let digest = MessageDigest::sha256();
    // SAFETY: all are valid.
    unsafe {
        assert_eq!(ffi::X509_CRL_sort(list), 1);
        assert!(ffi::X509_CRL_sign(list, authority.key.as_ptr(), digest.as_ptr()) > 0);
    };
    owned
}

/// What `signer` says about `certificate`, which `issuer` issued, up to date until `next_update`; in DER.
pub fn ocsp_response(
    certificate: &X509Ref,
    issuer: &Authority,
    signer: &Authority,
    status: Status,
    next_update: &str,
) -> Vec<u8> {
    let from = Asn1Time::from_str(NOT_BEFORE).unwrap();
    let until = Asn1Time::from_str(next_update).unwrap();
    // Numbers of openssl/ocsp.h: V_OCSP_CERTSTATUS_*, OCSP_REVOKED_STATUS_NOSTATUS, OCSP_RESPONSE_STATUS_SUCCESSFUL.
    let (status, revoked) = match status {
        Status::Good => (0, ptr::null_mut()),
        Status::Revoked => (1, from.as_ptr()),
        Status::Unknown => (2, ptr::null_mut()),
    };
    let digest = MessageDigest::sha256();
    // SAFETY: all pointers are valid for the length of the call they are given to, and what is made here is freed here.
    unsafe {
        let basic = ffi::OCSP_BASICRESP_new();
        let id = ffi::OCSP_cert_to_id(
            MessageDigest::sha1().as_ptr(),
            certificate.as_ptr(),
            issuer.certificate.as_ptr(),
        );
        let added = OCSP_basic_add1_status(
            basic,
            id,
            status,
            -1,
            revoked,
            from.as_ptr(),
            until.as_ptr(),
        );
        assert!(!added.is_null());
        ffi::OCSP_CERTID_free(id);
        let signed = OCSP_basic_sign(
            basic,
            signer.certificate.as_ptr(),
            signer.key.as_ptr(),
            digest.as_ptr(),
            ptr::null_mut(),
            0,
        );
        assert_eq!(signed, 1);
        let response = ffi::OCSP_response_create(0, basic);
        ffi::OCSP_BASICRESP_free(basic);
        let length = ffi::i2d_OCSP_RESPONSE(response, ptr::null_mut());
        let mut der = vec![0; usize::try_from(length).unwrap()];
        let mut at = der.as_mut_ptr();
        assert_eq!(ffi::i2d_OCSP_RESPONSE(response, &raw mut at), length);
        ffi::OCSP_RESPONSE_free(response);
        der
    }
}
