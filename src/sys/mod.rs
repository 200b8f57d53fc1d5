//! The border to C: the only files besides the C ABI with `unsafe` in them.
//!
//! [`ffi`] declares what `openssl-sys` lacks; the other modules make safe verbs of it.

pub(crate) mod addr;
pub(crate) mod bio;
pub(crate) mod certificates;
pub(crate) mod context;
pub(crate) mod observe;
pub(crate) mod ocsp;
pub(crate) mod raw_keys;
mod reason;
pub(crate) mod session;
#[cfg(feature = "udp")]
pub(crate) mod socket;
pub(crate) mod ssl;
pub(crate) mod store;
pub(crate) mod ticket;
mod verify;

/// Functions, constants and control numbers of libssl and libcrypto that `openssl-sys` does not declare.
///
/// All exist unchanged from OpenSSL 3.0 to 4.0; `vendor-notes.md` lists them with their headers.
#[expect(non_camel_case_types, reason = "C names")]
pub(crate) mod ffi {
    use core::ffi::{c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_ushort, c_void};

    pub(crate) use openssl_sys::SSL_state_string_long;
    pub(crate) use openssl_sys::{
        ASN1_INTEGER, ASN1_OBJECT, ASN1_OCTET_STRING, BIO, BIO_CTRL_DGRAM_QUERY_MTU,
        BIO_CTRL_FLUSH, BIO_METHOD, BIO_clear_retry_flags, BIO_get_data, BIO_meth_free,
        BIO_meth_new, BIO_meth_set_create__fixed_rust, BIO_meth_set_ctrl__fixed_rust,
        BIO_meth_set_destroy__fixed_rust, BIO_meth_set_puts__fixed_rust,
        BIO_meth_set_read__fixed_rust, BIO_meth_set_write__fixed_rust, BIO_new, BIO_set_data,
        BIO_set_init, BIO_set_retry_read, ERR_clear_error, EVP_CIPHER_CTX, EVP_DecryptInit_ex,
        EVP_EncryptInit_ex, EVP_MAC_CTX, EVP_MAC_CTX_set_params, EVP_PKEY, EVP_aes_256_cbc,
        OCSP_BASICRESP, OCSP_CERTID, OPENSSL_sk_free, OPENSSL_sk_num, OPENSSL_sk_value,
        OSSL_LIB_CTX, OSSL_PARAM, OSSL_PARAM_construct_end, OSSL_PARAM_construct_octet_string, SSL,
        SSL_CIPHER, SSL_CTRL_MODE, SSL_CTX, SSL_CTX_ctrl, SSL_ERROR_SSL, SSL_ERROR_SYSCALL,
        SSL_ERROR_ZERO_RETURN, SSL_METHOD, SSL_MODE_RELEASE_BUFFERS, SSL_RECEIVED_SHUTDOWN,
        SSL_SENT_SHUTDOWN, SSL_SESSION, SSL_client_hello_get0_ext, SSL_ctrl, SSL_do_handshake,
        SSL_get_error, SSL_get_ex_data_X509_STORE_CTX_idx, SSL_get_rbio, SSL_get_session,
        SSL_pending, SSL_read_ex, SSL_set_cipher_list, SSL_set_shutdown, SSL_shutdown,
        SSL_write_ex, X509, X509_CRL, X509_STORE, X509_STORE_CTX, X509_STORE_CTX_get_error_depth,
        X509_STORE_CTX_get_ex_data, X509_V_ERR_CERT_REJECTED, stack_st_SSL_CIPHER, stack_st_X509,
    };

    #[cfg(ossl320)]
    pub(crate) use openssl_sys::EVP_PKEY_up_ref;

    /// `store.h`: an open store.
    pub(crate) enum OSSL_STORE_CTX {}
    /// `store.h`: an object of a store.
    pub(crate) enum OSSL_STORE_INFO {}
    /// `store.h`: gets each object and answers it, or another.
    pub(crate) type OSSL_STORE_post_process_info_fn =
        Option<unsafe extern "C" fn(*mut OSSL_STORE_INFO, *mut c_void) -> *mut OSSL_STORE_INFO>;
    /// `ui.h`: how a program asks for a passphrase.
    #[expect(unreachable_pub, reason = "named by a `pub` trait implementation")]
    pub enum UI_METHOD {}
    /// `pem.h`: gets a buffer, its size, whether something is to be written, and the program's data; answers a length.
    pub(crate) type pem_password_cb =
        Option<unsafe extern "C" fn(*mut c_char, c_int, c_int, *mut c_void) -> c_int>;
    /// `ocsp.h`: what a response says about one certificate.
    pub(crate) enum OCSP_SINGLERESP {}
    /// `bio.h`: an opaque union of socket addresses.
    #[expect(unreachable_pub, reason = "named by a `pub` trait implementation")]
    pub enum BIO_ADDR {}
    /// `timeval` as `DTLSv1_get_timeout` fills it in.
    #[cfg(not(windows))]
    pub(crate) use libc::timeval;
    /// Winsock's `timeval`.
    #[cfg(windows)]
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub(crate) struct timeval {
        pub(crate) tv_sec: core::ffi::c_long,
        pub(crate) tv_usec: core::ffi::c_long,
    }

    /// `ssl.h`: gets libssl's verdict on one certificate and answers its own.
    pub(crate) type SSL_verify_cb =
        Option<unsafe extern "C" fn(c_int, *mut X509_STORE_CTX) -> c_int>;
    /// `ssl.h`: gets the direction, the version, the content type and the bytes of what was sent or received.
    pub(crate) type msg_cb = Option<
        unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, usize, *mut SSL, *mut c_void),
    >;
    /// `ssl.h`: gets a place in the handshake, and what was answered there.
    pub(crate) type info_cb = Option<unsafe extern "C" fn(*const SSL, c_int, c_int)>;
    /// `tls1.h`: makes ready to encrypt or decrypt a ticket.
    pub(crate) type ticket_key_evp_cb = Option<
        unsafe extern "C" fn(
            *mut SSL,
            *mut u8,
            *mut u8,
            *mut EVP_CIPHER_CTX,
            *mut EVP_MAC_CTX,
            c_int,
        ) -> c_int,
    >;
    /// `ssl.h`: gets the last interval in microseconds, 0 for the first, and answers the next.
    pub(crate) type DTLS_timer_cb = Option<unsafe extern "C" fn(*mut SSL, c_uint) -> c_uint>;

    // bio.h
    pub(crate) const BIO_TYPE_SOURCE_SINK: c_int = 0x0400;
    pub(crate) const BIO_CTRL_PENDING: c_int = 10;
    pub(crate) const BIO_CTRL_WPENDING: c_int = 13;
    pub(crate) const BIO_CTRL_DUP: c_int = 12;
    pub(crate) const BIO_CTRL_DGRAM_GET_MTU: c_int = 41;
    pub(crate) const BIO_CTRL_DGRAM_SET_MTU: c_int = 42;
    pub(crate) const BIO_CTRL_DGRAM_MTU_EXCEEDED: c_int = 43;
    pub(crate) const BIO_CTRL_DGRAM_SET_PEER: c_int = 44;
    pub(crate) const BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT: c_int = 45;
    pub(crate) const BIO_CTRL_DGRAM_GET_PEER: c_int = 46;
    pub(crate) const BIO_CTRL_DGRAM_GET_FALLBACK_MTU: c_int = 47;
    pub(crate) const BIO_CTRL_DGRAM_GET_MTU_OVERHEAD: c_int = 49;
    pub(crate) const BIO_CTRL_DGRAM_SET_PEEK_MODE: c_int = 71;

    // ssl.h
    pub(crate) const SSL_OP_NO_QUERY_MTU: u64 = 1 << 12;
    pub(crate) const SSL_OP_COOKIE_EXCHANGE: u64 = 1 << 13;
    pub(crate) const SSL_OP_NO_ENCRYPT_THEN_MAC: u64 = 1 << 19;
    pub(crate) const SSL_OP_NO_RENEGOTIATION: u64 = 1 << 30;
    pub(crate) const SSL_CTRL_CLEAR_MODE: c_int = 78;
    pub(crate) const SSL_CTRL_GET_MAX_CERT_LIST: c_int = 50;
    pub(crate) const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;
    pub(crate) const SSL_CTRL_SET_MAX_SEND_FRAGMENT: c_int = 52;
    pub(crate) const SSL_CTRL_GET_NEGOTIATED_GROUP: c_int = 134;
    pub(crate) const SSL_CTRL_SET_SPLIT_SEND_FRAGMENT: c_int = 125;
    pub(crate) const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
    pub(crate) const DTLS_CTRL_HANDLE_TIMEOUT: c_int = 74;

    pub(crate) const SSL_CB_LOOP: c_int = 0x01;
    pub(crate) const SSL_CB_HANDSHAKE_START: c_int = 0x10;
    pub(crate) const SSL_CB_HANDSHAKE_DONE: c_int = 0x20;

    #[cfg(ossl320)]
    #[expect(non_upper_case_globals, reason = "C name")]
    pub(crate) const TLSEXT_cert_type_rpk: u8 = 2;

    // store.h
    pub(crate) const OSSL_STORE_INFO_PKEY: c_int = 4;
    pub(crate) const OSSL_STORE_INFO_CERT: c_int = 5;

    // obj_mac.h: how a suite authenticates, and which say nothing of it because TLS 1.3 does
    pub(crate) const NID_AUTH_ANY: c_int = 1064;
    pub(crate) const NID_AUTH_RSA: c_int = 1046;
    pub(crate) const NID_AUTH_ECDSA: c_int = 1047;
    pub(crate) const NID_AUTH_PSK: c_int = 1048;

    // sslerr.h: reasons that a caller can act on
    pub(crate) const ERR_LIB_SSL: c_int = 20;
    pub(crate) const ERR_LIB_RAND: c_int = 36;
    pub(crate) const SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM: c_int = 118;
    pub(crate) const SSL_R_CERTIFICATE_VERIFY_FAILED: c_int = 134;
    pub(crate) const SSL_R_VERSION_TOO_HIGH: c_int = 166;
    pub(crate) const SSL_R_NO_CIPHERS_AVAILABLE: c_int = 181;
    pub(crate) const SSL_R_NO_PROTOCOLS_AVAILABLE: c_int = 191;
    pub(crate) const SSL_R_NO_SHARED_CIPHER: c_int = 193;
    pub(crate) const SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: c_int = 199;
    pub(crate) const SSL_R_PSK_IDENTITY_NOT_FOUND: c_int = 223;
    pub(crate) const SSL_R_UNSUPPORTED_PROTOCOL: c_int = 258;
    pub(crate) const SSL_R_UNSUPPORTED_SSL_VERSION: c_int = 259;
    pub(crate) const SSL_R_WRONG_SSL_VERSION: c_int = 266;
    pub(crate) const SSL_R_WRONG_VERSION_NUMBER: c_int = 267;
    pub(crate) const SSL_R_READ_TIMEOUT_EXPIRED: c_int = 312;
    pub(crate) const SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS: c_int = 376;
    pub(crate) const SSL_R_VERSION_TOO_LOW: c_int = 396;
    pub(crate) const SSL_R_NO_SHARED_GROUPS: c_int = 410;
    pub(crate) const SSL_R_BAD_CHANGE_CIPHER_SPEC: c_int = 103;
    pub(crate) const SSL_R_INCONSISTENT_EXTMS: c_int = 104;
    pub(crate) const SSL_R_BAD_EXTENSION: c_int = 110;
    pub(crate) const SSL_R_BAD_DIGEST_LENGTH: c_int = 111;
    pub(crate) const SSL_R_BAD_PACKET_LENGTH: c_int = 115;
    pub(crate) const SSL_R_BAD_SIGNATURE: c_int = 123;
    pub(crate) const SSL_R_CA_DN_LENGTH_MISMATCH: c_int = 131;
    pub(crate) const SSL_R_CCS_RECEIVED_EARLY: c_int = 133;
    pub(crate) const SSL_R_CERT_LENGTH_MISMATCH: c_int = 135;
    pub(crate) const SSL_R_DATA_LENGTH_TOO_LONG: c_int = 146;
    pub(crate) const SSL_R_DECRYPTION_FAILED: c_int = 147;
    pub(crate) const SSL_R_DIGEST_CHECK_FAILED: c_int = 149;
    pub(crate) const SSL_R_ENCRYPTED_LENGTH_TOO_LONG: c_int = 150;
    pub(crate) const SSL_R_ERROR_IN_RECEIVED_CIPHER_LIST: c_int = 151;
    pub(crate) const SSL_R_EXCESSIVE_MESSAGE_SIZE: c_int = 152;
    pub(crate) const SSL_R_GOT_A_FIN_BEFORE_A_CCS: c_int = 154;
    pub(crate) const SSL_R_LENGTH_MISMATCH: c_int = 159;
    pub(crate) const SSL_R_LENGTH_TOO_SHORT: c_int = 160;
    pub(crate) const SSL_R_OLD_SESSION_CIPHER_NOT_RETURNED: c_int = 197;
    pub(crate) const SSL_R_INVALID_ALERT: c_int = 205;
    pub(crate) const SSL_R_RECORD_LENGTH_MISMATCH: c_int = 213;
    pub(crate) const SSL_R_SIGNATURE_FOR_NON_SIGNING_CERTIFICATE: c_int = 220;
    pub(crate) const SSL_R_PSK_NO_CLIENT_CB: c_int = 224;
    pub(crate) const SSL_R_PSK_NO_SERVER_CB: c_int = 225;
    pub(crate) const SSL_R_NO_APPLICATION_PROTOCOL: c_int = 235;
    pub(crate) const SSL_R_BAD_PACKET: c_int = 240;
    pub(crate) const SSL_R_UNEXPECTED_MESSAGE: c_int = 244;
    pub(crate) const SSL_R_UNKNOWN_ALERT_TYPE: c_int = 246;
    pub(crate) const SSL_R_UNKNOWN_CERTIFICATE_TYPE: c_int = 247;
    pub(crate) const SSL_R_BAD_LENGTH: c_int = 271;
    pub(crate) const SSL_R_ATTEMPT_TO_REUSE_SESSION_IN_DIFFERENT_CONTEXT: c_int = 272;
    pub(crate) const SSL_R_SESSION_ID_CONTEXT_UNINITIALIZED: c_int = 277;
    pub(crate) const SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: c_int = 281;
    pub(crate) const SSL_R_NO_SUITABLE_GROUPS: c_int = 295;
    pub(crate) const SSL_R_RECORD_TOO_SMALL: c_int = 298;
    pub(crate) const SSL_R_BAD_ECPOINT: c_int = 306;
    pub(crate) const SSL_R_UNSUPPORTED_ELLIPTIC_CURVE: c_int = 315;
    pub(crate) const SSL_R_BAD_HANDSHAKE_LENGTH: c_int = 332;
    pub(crate) const SSL_R_LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED: c_int = 333;
    pub(crate) const SSL_R_RENEGOTIATION_MISMATCH: c_int = 337;
    pub(crate) const SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED: c_int = 338;
    pub(crate) const SSL_R_NO_RENEGOTIATION: c_int = 339;
    pub(crate) const SSL_R_BAD_SRTP_MKI_VALUE: c_int = 352;
    pub(crate) const SSL_R_BAD_SRTP_PROTECTION_PROFILE_LIST: c_int = 353;
    pub(crate) const SSL_R_WRONG_SIGNATURE_TYPE: c_int = 370;
    pub(crate) const SSL_R_WRONG_CURVE: c_int = 378;
    pub(crate) const SSL_R_WRONG_CERTIFICATE_TYPE: c_int = 383;
    pub(crate) const SSL_R_DH_KEY_TOO_SMALL: c_int = 394;
    pub(crate) const SSL_R_CA_KEY_TOO_SMALL: c_int = 397;
    pub(crate) const SSL_R_CA_MD_TOO_WEAK: c_int = 398;
    pub(crate) const SSL_R_EE_KEY_TOO_SMALL: c_int = 399;
    pub(crate) const SSL_R_LENGTH_TOO_LONG: c_int = 404;
    pub(crate) const SSL_R_TOO_MANY_WARN_ALERTS: c_int = 409;
    pub(crate) const SSL_R_BAD_RECORD_TYPE: c_int = 443;
    /// Reasons from here on are alerts of the peer: this number plus the alert's.
    pub(crate) const SSL_AD_REASON_OFFSET: c_int = 1000;

    unsafe extern "C" {
        // bio.h
        pub(crate) fn BIO_up_ref(bio: *mut BIO) -> c_int;
        pub(crate) fn BIO_free(bio: *mut BIO) -> c_int;
        pub(crate) fn BIO_get_new_index() -> c_int;
        pub(crate) fn BIO_ADDR_new() -> *mut BIO_ADDR;
        pub(crate) fn BIO_ADDR_free(addr: *mut BIO_ADDR);
        pub(crate) fn BIO_ADDR_rawmake(
            addr: *mut BIO_ADDR,
            family: c_int,
            bytes: *const c_void,
            length: usize,
            port: c_ushort,
        ) -> c_int;
        #[cfg(test)]
        pub(crate) fn BIO_ADDR_rawaddress(
            addr: *const BIO_ADDR,
            bytes: *mut c_void,
            length: *mut usize,
        ) -> c_int;
        #[cfg(test)]
        pub(crate) fn BIO_ADDR_rawport(addr: *const BIO_ADDR) -> c_ushort;

        // x509_vfy.h, ssl.h
        #[cfg(ossl320)]
        pub(crate) fn X509_STORE_CTX_get0_rpk(store: *const X509_STORE_CTX) -> *mut EVP_PKEY;
        #[cfg(ossl320)]
        pub(crate) fn SSL_CTX_set1_server_cert_type(
            context: *mut SSL_CTX,
            types: *const u8,
            length: usize,
        ) -> c_int;
        #[cfg(ossl320)]
        pub(crate) fn SSL_CTX_set1_client_cert_type(
            context: *mut SSL_CTX,
            types: *const u8,
            length: usize,
        ) -> c_int;
        #[cfg(ossl320)]
        pub(crate) fn SSL_get0_peer_rpk(ssl: *const SSL) -> *mut EVP_PKEY;

        // store.h, ui.h
        pub(crate) fn OSSL_STORE_open(
            uri: *const c_char,
            method: *const UI_METHOD,
            data: *mut c_void,
            process: OSSL_STORE_post_process_info_fn,
            process_data: *mut c_void,
        ) -> *mut OSSL_STORE_CTX;
        pub(crate) fn OSSL_STORE_load(store: *mut OSSL_STORE_CTX) -> *mut OSSL_STORE_INFO;
        pub(crate) fn OSSL_STORE_eof(store: *mut OSSL_STORE_CTX) -> c_int;
        pub(crate) fn OSSL_STORE_close(store: *mut OSSL_STORE_CTX) -> c_int;
        pub(crate) fn OSSL_STORE_INFO_get_type(object: *const OSSL_STORE_INFO) -> c_int;
        pub(crate) fn OSSL_STORE_INFO_get1_PKEY(object: *const OSSL_STORE_INFO) -> *mut EVP_PKEY;
        pub(crate) fn OSSL_STORE_INFO_get1_CERT(object: *const OSSL_STORE_INFO) -> *mut X509;
        pub(crate) fn OSSL_STORE_INFO_free(object: *mut OSSL_STORE_INFO);
        pub(crate) fn UI_UTIL_wrap_read_pem_callback(
            callback: pem_password_cb,
            writes: c_int,
        ) -> *mut UI_METHOD;
        pub(crate) fn UI_destroy_method(method: *mut UI_METHOD);

        // ocsp.h
        pub(crate) fn OCSP_resp_count(response: *mut OCSP_BASICRESP) -> c_int;
        pub(crate) fn OCSP_resp_get0(
            response: *mut OCSP_BASICRESP,
            index: c_int,
        ) -> *mut OCSP_SINGLERESP;
        pub(crate) fn OCSP_SINGLERESP_get0_id(
            response: *const OCSP_SINGLERESP,
        ) -> *const OCSP_CERTID;
        pub(crate) fn OCSP_id_get0_info(
            name_hash: *mut *mut ASN1_OCTET_STRING,
            digest: *mut *mut ASN1_OBJECT,
            key_hash: *mut *mut ASN1_OCTET_STRING,
            serial: *mut *mut ASN1_INTEGER,
            id: *mut OCSP_CERTID,
        ) -> c_int;

        // x509_vfy.h
        pub(crate) fn X509_STORE_add_crl(store: *mut X509_STORE, list: *mut X509_CRL) -> c_int;

        // ssl.h
        pub(crate) fn DTLSv1_listen(ssl: *mut SSL, client: *mut BIO_ADDR) -> c_int;
        pub(crate) fn DTLS_get_data_mtu(ssl: *const SSL) -> usize;
        pub(crate) fn DTLS_set_timer_cb(ssl: *mut SSL, callback: DTLS_timer_cb);
        pub(crate) fn SSL_set0_rbio(ssl: *mut SSL, bio: *mut BIO);
        pub(crate) fn SSL_set0_wbio(ssl: *mut SSL, bio: *mut BIO);
        pub(crate) fn SSL_has_pending(ssl: *const SSL) -> c_int;
        pub(crate) fn SSL_is_dtls(ssl: *const SSL) -> c_int;
        pub(crate) fn SSL_get_ciphers(ssl: *const SSL) -> *mut stack_st_SSL_CIPHER;
        pub(crate) fn SSL_get1_supported_ciphers(ssl: *mut SSL) -> *mut stack_st_SSL_CIPHER;
        pub(crate) fn SSL_CIPHER_get_auth_nid(cipher: *const SSL_CIPHER) -> c_int;
        pub(crate) fn SSL_CTX_use_cert_and_key(
            context: *mut SSL_CTX,
            certificate: *mut X509,
            key: *mut EVP_PKEY,
            chain: *mut stack_st_X509,
            replace: c_int,
        ) -> c_int;
        pub(crate) fn SSL_use_cert_and_key(
            ssl: *mut SSL,
            certificate: *mut X509,
            key: *mut EVP_PKEY,
            chain: *mut stack_st_X509,
            replace: c_int,
        ) -> c_int;
        pub(crate) fn SSL_certs_clear(ssl: *mut SSL);
        pub(crate) fn SSL_CTX_set_tlsext_max_fragment_length(
            context: *mut SSL_CTX,
            mode: u8,
        ) -> c_int;
        pub(crate) fn SSL_SESSION_get_max_fragment_length(session: *const SSL_SESSION) -> u8;
        pub(crate) fn SSL_CTX_use_psk_identity_hint(
            context: *mut SSL_CTX,
            hint: *const c_char,
        ) -> c_int;
        pub(crate) fn SSL_CTX_new_ex(
            library: *mut OSSL_LIB_CTX,
            properties: *const c_char,
            method: *const SSL_METHOD,
        ) -> *mut SSL_CTX;
        pub(crate) fn SSL_CTX_get_ssl_method(context: *const SSL_CTX) -> *const SSL_METHOD;
        pub(crate) fn SSL_set_options(ssl: *mut SSL, options: u64) -> u64;
        pub(crate) fn SSL_clear_options(ssl: *mut SSL, options: u64) -> u64;
        pub(crate) fn SSL_renegotiate(ssl: *mut SSL) -> c_int;
        pub(crate) fn SSL_free_buffers(ssl: *mut SSL) -> c_int;
        pub(crate) fn SSL_alloc_buffers(ssl: *mut SSL) -> c_int;
        pub(crate) fn SSL_get0_peername(ssl: *mut SSL) -> *const c_char;
        pub(crate) fn SSL_set_verify(ssl: *mut SSL, mode: c_int, callback: SSL_verify_cb);
        pub(crate) fn SSL_set_session_id_context(
            ssl: *mut SSL,
            context: *const c_uchar,
            length: c_uint,
        ) -> c_int;
        pub(crate) fn SSL_CTX_set_timeout(context: *mut SSL_CTX, seconds: c_long) -> c_long;
        pub(crate) fn SSL_SESSION_is_resumable(session: *const SSL_SESSION) -> c_int;
        pub(crate) fn SSL_SESSION_get_ticket_lifetime_hint(session: *const SSL_SESSION) -> c_ulong;
        pub(crate) fn SSL_CTX_set_tlsext_ticket_key_evp_cb(
            context: *mut SSL_CTX,
            callback: ticket_key_evp_cb,
        ) -> c_int;
        pub(crate) fn OSSL_PARAM_construct_utf8_string(
            key: *const c_char,
            text: *mut c_char,
            length: usize,
        ) -> OSSL_PARAM;
        pub(crate) fn SSL_set_msg_callback(ssl: *mut SSL, callback: msg_cb);
        pub(crate) fn SSL_set_info_callback(ssl: *mut SSL, callback: info_cb);
        pub(crate) fn SSL_get_verify_mode(ssl: *const SSL) -> c_int;
        pub(crate) fn SSL_get_verify_callback(ssl: *const SSL) -> SSL_verify_cb;
    }
}
