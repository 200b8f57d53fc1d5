//! Contexts: from options, or adopted from an application's `SSL_CTX`.

use core::ffi::{c_char, c_int, c_void};
use core::ptr;
use std::time::Duration;

use foreign_types::ForeignTypeRef as _;
use openssl::ssl::SslContextRef;
use zeroize::Zeroizing;

use super::error::{failed, odtls_result};
use super::handle::{bytes, free, give, object, required, string};
use super::options::{self, Options};
use super::panic::guarded;
use crate::context::{
    ClientCertificates, Context, ContextBuilder, Credentials, Identity, Psk, PskKey, PskLookup,
};
use crate::error::ConfigError;
use crate::sys::ffi::SSL_CTX;
use crate::transport::TransportConfig;
use crate::types::{Mtu, Role};

/// What connections of one kind share. Can be used by any number of threads at once.
#[derive(Debug)]
pub struct odtls_context(pub(super) Context);

/// This end opens connections.
pub const ODTLS_CLIENT: c_int = 0;
/// This end answers.
pub const ODTLS_SERVER: c_int = 1;

/// Asks clients for no certificate.
pub const ODTLS_CLIENT_CERTIFICATES_NONE: u32 = 0;
/// Asks clients for a certificate and goes on without.
pub const ODTLS_CLIENT_CERTIFICATES_OPTIONAL: u32 = 1;
/// Refuses clients without a good certificate.
pub const ODTLS_CLIENT_CERTIFICATES_REQUIRED: u32 = 2;

/// Takes any certificate: for tests, and for protocols that check it themselves.
pub const ODTLS_DANGEROUS_NO_VERIFICATION: u32 = 1;
/// Verifies the chain but takes any name in it.
pub const ODTLS_DANGEROUS_NO_NAME_CHECK: u32 = 2;
/// Goes down to DTLS 1.0.
pub const ODTLS_DANGEROUS_ALLOW_DTLS1_0: u32 = 4;

/// Finds the key of an identity: writes at most `room` bytes to `key` and answers how many, 0 for an unknown identity, a negative number if the look-up
/// failed. Runs inside the handshake, on the thread that called.
pub type odtls_psk_lookup = Option<
    unsafe extern "C" fn(
        data: *mut c_void,
        identity: *const u8,
        identity_len: usize,
        key: *mut u8,
        room: usize,
    ) -> c_int,
>;

/// Frees the `data` of a callback, once, when the last context that holds it goes.
pub type odtls_free = Option<unsafe extern "C" fn(data: *mut c_void)>;

/// How connections use the network. All zeroes are the defaults.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_transport_options {
    /// `sizeof(odtls_transport_options)`.
    pub size: usize,
    /// Largest datagram, in bytes of UDP payload: 256 to 4096.
    pub mtu: u32,
    /// Not 0: messages larger than the MTU may be sent, up to 16,384 bytes.
    pub allow_oversize: u32,
    /// First retransmission, in milliseconds: at least 16.
    pub first_retransmission_ms: u32,
    /// Longest wait between retransmissions, in milliseconds.
    pub max_retransmission_ms: u32,
    /// Time for a whole handshake, in milliseconds.
    pub handshake_timeout_ms: u32,
    /// One more than how often a failed client handshake starts again; 0 for the default.
    pub handshake_tries: u32,
    /// Bytes of received messages that wait: at least 16,384.
    pub receive_queue: usize,
    /// Bytes of outgoing datagrams that wait: at least 65,536.
    pub send_queue: usize,
}

// SAFETY: `repr(C)`, starts with a `usize`, numbers only.
unsafe impl Options for odtls_transport_options {
    const DEFAULT: Self = odtls_transport_options {
        size: 0,
        mtu: 0,
        allow_oversize: 0,
        first_retransmission_ms: 0,
        max_retransmission_ms: 0,
        handshake_timeout_ms: 0,
        handshake_tries: 0,
        receive_queue: 0,
        send_queue: 0,
    };
}

/// Credentials, trust and algorithms. All zeroes are the defaults. Everything is copied.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_context_options {
    /// `sizeof(odtls_context_options)`.
    pub size: usize,
    /// The certificate and those above it, in PEM.
    pub certificate_pem: *const u8,
    /// Bytes of `certificate_pem`.
    pub certificate_pem_len: usize,
    /// The private key, in PEM.
    pub private_key_pem: *const u8,
    /// Bytes of `private_key_pem`.
    pub private_key_pem_len: usize,
    /// A file with the certificate and those above it, in PEM, instead.
    pub certificate_file: *const c_char,
    /// A file with the private key, in PEM, instead.
    pub private_key_file: *const c_char,
    /// Trusted certificates, in PEM.
    pub trust_pem: *const u8,
    /// Bytes of `trust_pem`.
    pub trust_pem_len: usize,
    /// A file with trusted certificates, in PEM.
    pub trust_file: *const c_char,
    /// A directory of trusted certificates, prepared by `openssl rehash`.
    pub trust_directory: *const c_char,
    /// The pre-shared key's identity: what a client names, and the one a server knows.
    pub psk_identity: *const u8,
    /// Bytes of `psk_identity`.
    pub psk_identity_len: usize,
    /// The pre-shared key.
    pub psk_key: *const u8,
    /// Bytes of `psk_key`.
    pub psk_key_len: usize,
    /// A server's look-up of keys, instead of the one key.
    pub psk_lookup: odtls_psk_lookup,
    /// Given to `psk_lookup`.
    pub psk_lookup_data: *mut c_void,
    /// Frees `psk_lookup_data`; also if the context cannot be made.
    pub psk_lookup_free: odtls_free,
    /// Cipher suites in OpenSSL's notation.
    pub cipher_list: *const c_char,
    /// Groups, separated by colons.
    pub groups: *const c_char,
    /// Signature algorithms, separated by colons.
    pub signature_algorithms: *const c_char,
    /// How the connections use the network; null for the defaults.
    pub transport: *const odtls_transport_options,
    /// Not 0: trusts what the system does.
    pub trust_system: u32,
    /// `ODTLS_CLIENT_CERTIFICATES_...`, for servers.
    pub client_certificates: u32,
    /// `ODTLS_DANGEROUS_...`, added up.
    pub dangerous: u32,
    /// One more than libssl's security level; 0 for its default.
    pub security_level_plus_one: u32,
}

// SAFETY: `repr(C)`, starts with a `usize`; numbers and pointers only, for which zero is null.
unsafe impl Options for odtls_context_options {
    const DEFAULT: Self = odtls_context_options {
        size: 0,
        certificate_pem: ptr::null(),
        certificate_pem_len: 0,
        private_key_pem: ptr::null(),
        private_key_pem_len: 0,
        certificate_file: ptr::null(),
        private_key_file: ptr::null(),
        trust_pem: ptr::null(),
        trust_pem_len: 0,
        trust_file: ptr::null(),
        trust_directory: ptr::null(),
        psk_identity: ptr::null(),
        psk_identity_len: 0,
        psk_key: ptr::null(),
        psk_key_len: 0,
        psk_lookup: None,
        psk_lookup_data: ptr::null_mut(),
        psk_lookup_free: None,
        cipher_list: ptr::null(),
        groups: ptr::null(),
        signature_algorithms: ptr::null(),
        transport: ptr::null(),
        trust_system: 0,
        client_certificates: 0,
        dangerous: 0,
        security_level_plus_one: 0,
    };
}

/// Makes a context of `options` for `role`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_context_new(
    role: c_int,
    options: *const odtls_context_options,
    context: *mut *mut odtls_context,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for options.
        let read = unsafe { options::read(options) }?;
        // Freed from here on, whatever becomes of the rest.
        let data = LookupData {
            data: read.known.psk_lookup_data,
            free: read.known.psk_lookup_free,
        };
        let options = read.complete()?;
        let lookup = options.psk_lookup.map(|find| Lookup { find, data });
        let context = required(context)?;
        // SAFETY: the header's contract for the pointers in the options.
        let made = unsafe { build(parse_role(role)?, &options, lookup) }?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { give(context, odtls_context(made)) };
        Ok(())
    })
}

/// Adopts an application's `SSL_CTX`: takes a reference, never modifies it.
///
/// It must belong to the same libssl that this library is linked with; with the bundled OpenSSL no `SSL_CTX` may be shared.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_context_adopt(
    ssl_ctx: *mut SSL_CTX,
    role: c_int,
    transport: *const odtls_transport_options,
    context: *mut *mut odtls_context,
) -> odtls_result {
    guarded(|| {
        // SAFETY: the header's contract for options.
        let transport = transport_config(&unsafe { options::read(transport) }?.complete()?)?;
        let context = required(context)?;
        required(ssl_ctx)?;
        // SAFETY: not null, and the header's contract: a valid SSL_CTX of this libssl. `to_owned` takes a reference of its own.
        let theirs = unsafe { SslContextRef::from_ptr(ssl_ctx) }.to_owned();
        let adopted = Context::adopt(theirs, parse_role(role)?, transport).map_err(failed)?;
        // SAFETY: not null, and the header's contract for outputs.
        unsafe { give(context, odtls_context(adopted)) };
        Ok(())
    })
}

/// Frees a context; connections made on it keep what they need.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_context_free(context: *mut odtls_context) {
    // SAFETY: the header's contract for `_free`.
    unsafe { free(context) };
}

/// The `SSL_CTX` of a context, for reading; it lives as long as the context. Null for a null context.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn odtls_context_ssl_ctx(context: *const odtls_context) -> *mut SSL_CTX {
    // SAFETY: the header's contract for objects.
    unsafe { object(context) }.map_or(ptr::null_mut(), |context| context.0.ssl_context().as_ptr())
}

pub(super) fn parse_role(role: c_int) -> Result<Role, odtls_result> {
    match role {
        ODTLS_CLIENT => Ok(Role::Client),
        ODTLS_SERVER => Ok(Role::Server),
        _ => Err(odtls_result::ODTLS_INVALID_ARGUMENT),
    }
}

/// A look-up in C, with its data.
struct Lookup {
    find: unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut u8, usize) -> c_int,
    data: LookupData,
}

/// The data of a look-up, which is freed once.
struct LookupData {
    data: *mut c_void,
    free: odtls_free,
}

// SAFETY: the header asks that the look-up and its data can be used, and freed, by any thread.
unsafe impl Send for LookupData {}
// SAFETY: as above, used by several at once.
unsafe impl Sync for LookupData {}

impl Drop for LookupData {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the header's contract: called once, with its data.
            unsafe { free(self.data) };
        }
    }
}

/// libssl's `PSK_MAX_PSK_LEN`, in bytes.
const MAX_KEY: usize = 512;

impl Lookup {
    fn key(&self, identity: &[u8]) -> Result<Option<PskKey>, String> {
        let mut key = Zeroizing::new([0_u8; MAX_KEY]);
        let (data, from, room) = (self.data.data, identity.as_ptr(), key.len());
        // SAFETY: the header's contract: reads the identity, writes at most `room` bytes.
        let answer = unsafe { (self.find)(data, from, identity.len(), key.as_mut_ptr(), room) };
        match usize::try_from(answer) {
            Ok(0) => Ok(None),
            Ok(length) => key
                .get(..length)
                .and_then(|key| PskKey::new(key).ok())
                .map(Some)
                .ok_or_else(|| format!("the look-up answered a key of {length} bytes")),
            Err(_) => Err(format!("the look-up answered {answer}")),
        }
    }
}

/// Makes a context of options.
///
/// # Safety
///
/// The pointers in `options` are null or valid as the header says.
unsafe fn build(
    role: Role,
    options: &odtls_context_options,
    lookup: Option<Lookup>,
) -> Result<Context, odtls_result> {
    // SAFETY: the caller's contract.
    let identity = unsafe { identity(options) }?;
    // SAFETY: the caller's contract.
    let psk = unsafe { psk(options) }?;
    match role {
        Role::Client => {
            if lookup.is_some() || options.client_certificates != ODTLS_CLIENT_CERTIFICATES_NONE {
                return Err(invalid(
                    "a client has no look-up and asks for no certificates",
                ));
            }
            let mut builder = Context::client();
            if let Some(identity) = identity {
                builder = builder.identity(identity);
            }
            if let Some(psk) = psk {
                builder = builder.psk(psk);
            }
            if options.dangerous & ODTLS_DANGEROUS_NO_NAME_CHECK != 0 {
                builder = builder.dangerous().no_name_check();
            }
            // SAFETY: the caller's contract.
            unsafe { common(builder, options) }?.build().map_err(failed)
        }
        Role::Server => {
            let lookup = match (lookup, psk) {
                (Some(_), Some(_)) => {
                    return Err(invalid("a key and a look-up exclude each other"));
                }
                (Some(lookup), None) => {
                    Some(PskLookup::fallible(move |identity| lookup.key(identity)))
                }
                (None, Some(psk)) => Some(PskLookup::single(psk)),
                (None, None) => None,
            };
            let credentials: Credentials = match (identity, lookup) {
                (Some(identity), Some(lookup)) => (identity, lookup).into(),
                (Some(identity), None) => identity.into(),
                (None, Some(lookup)) => lookup.into(),
                (None, None) => return Err(failed(ConfigError::NoCertificate)),
            };
            let asked = match options.client_certificates {
                ODTLS_CLIENT_CERTIFICATES_NONE => ClientCertificates::None,
                ODTLS_CLIENT_CERTIFICATES_OPTIONAL => ClientCertificates::Optional,
                ODTLS_CLIENT_CERTIFICATES_REQUIRED => ClientCertificates::Required,
                _ => return Err(invalid("client_certificates")),
            };
            let builder = Context::server(credentials).client_certificates(asked);
            // SAFETY: the caller's contract.
            unsafe { common(builder, options) }?.build().map_err(failed)
        }
    }
}

fn invalid(what: &str) -> odtls_result {
    super::error::remember(format!("invalid option: {what}"));
    odtls_result::ODTLS_INVALID_ARGUMENT
}

/// What both roles have.
///
/// # Safety
///
/// As [`build`].
unsafe fn common<R>(
    mut builder: ContextBuilder<R>,
    options: &odtls_context_options,
) -> Result<ContextBuilder<R>, odtls_result> {
    let all = ODTLS_DANGEROUS_NO_VERIFICATION
        | ODTLS_DANGEROUS_NO_NAME_CHECK
        | ODTLS_DANGEROUS_ALLOW_DTLS1_0;
    if options.dangerous & !all != 0 {
        return Err(invalid("dangerous"));
    }
    if options.dangerous & ODTLS_DANGEROUS_NO_VERIFICATION != 0 {
        builder = builder.dangerous().no_verification();
    }
    if options.dangerous & ODTLS_DANGEROUS_ALLOW_DTLS1_0 != 0 {
        builder = builder.dangerous().allow_dtls1_0();
    }
    // SAFETY: the caller's contract.
    let trusted = unsafe { bytes(options.trust_pem, options.trust_pem_len) }?;
    if !trusted.is_empty() {
        builder = builder.trust_pem(trusted);
    }
    // SAFETY: the caller's contract.
    if let Some(file) = unsafe { string(options.trust_file) }? {
        builder = builder.trust_file(file);
    }
    // SAFETY: the caller's contract.
    if let Some(directory) = unsafe { string(options.trust_directory) }? {
        builder = builder.trust_directory(directory);
    }
    if options.trust_system != 0 {
        builder = builder.trust_system();
    }
    // SAFETY: the caller's contract.
    if let Some(list) = unsafe { string(options.cipher_list) }? {
        builder = builder.cipher_list(list);
    }
    // SAFETY: the caller's contract.
    if let Some(list) = unsafe { string(options.groups) }? {
        builder = builder.groups(list);
    }
    // SAFETY: the caller's contract.
    if let Some(list) = unsafe { string(options.signature_algorithms) }? {
        builder = builder.signature_algorithms(list);
    }
    if let Some(level) = options.security_level_plus_one.checked_sub(1) {
        builder = builder.security_level(level);
    }
    // SAFETY: the caller's contract.
    let transport = unsafe { options::read(options.transport) }?.complete()?;
    Ok(builder.transport(transport_config(&transport)?))
}

/// The certificate and key of `options`, if there are any.
///
/// # Safety
///
/// As [`build`].
unsafe fn identity(options: &odtls_context_options) -> Result<Option<Identity>, odtls_result> {
    // SAFETY: the caller's contract.
    let certificate = unsafe { bytes(options.certificate_pem, options.certificate_pem_len) }?;
    // SAFETY: the caller's contract.
    let key = unsafe { bytes(options.private_key_pem, options.private_key_pem_len) }?;
    // SAFETY: the caller's contract.
    let certificate_file = unsafe { string(options.certificate_file) }?;
    // SAFETY: the caller's contract.
    let key_file = unsafe { string(options.private_key_file) }?;
    match (
        certificate.is_empty(),
        key.is_empty(),
        certificate_file,
        key_file,
    ) {
        (true, true, None, None) => Ok(None),
        (false, false, None, None) => Identity::from_pem(certificate, key)
            .map(Some)
            .map_err(failed),
        (true, true, Some(certificate), Some(key)) => Identity::from_files(certificate, key)
            .map(Some)
            .map_err(failed),
        (_, _, None, _) if certificate.is_empty() => Err(failed(ConfigError::NoCertificate)),
        (_, _, _, None) if key.is_empty() => Err(failed(ConfigError::NoPrivateKey)),
        _ => Err(invalid(
            "certificate and key come both from memory or both from files",
        )),
    }
}

/// The pre-shared key of `options`, if there is one.
///
/// # Safety
///
/// As [`build`].
unsafe fn psk(options: &odtls_context_options) -> Result<Option<Psk>, odtls_result> {
    // SAFETY: the caller's contract.
    let identity = unsafe { bytes(options.psk_identity, options.psk_identity_len) }?;
    // SAFETY: the caller's contract.
    let key = unsafe { bytes(options.psk_key, options.psk_key_len) }?;
    if identity.is_empty() && key.is_empty() {
        return Ok(None);
    }
    Psk::new(identity, key).map(Some).map_err(failed)
}

fn transport_config(options: &odtls_transport_options) -> Result<TransportConfig, odtls_result> {
    let mut config = TransportConfig::new().allow_oversize(options.allow_oversize != 0);
    if options.mtu != 0 {
        let mtu = usize::try_from(options.mtu).unwrap_or(usize::MAX);
        config = config.mtu(Mtu::new(mtu).map_err(failed)?);
    }
    let milliseconds = |value: u32| (value != 0).then(|| Duration::from_millis(value.into()));
    let first = milliseconds(options.first_retransmission_ms);
    let max = milliseconds(options.max_retransmission_ms);
    if first.is_some() || max.is_some() {
        config = config.retransmission(
            first.unwrap_or(Duration::from_secs(1)),
            max.unwrap_or(Duration::from_secs(60)),
        );
    }
    if let Some(timeout) = milliseconds(options.handshake_timeout_ms) {
        config = config.handshake_timeout(timeout);
    }
    if let Some(restarts) = options.handshake_tries.checked_sub(1) {
        config = config.handshake_restarts(restarts);
    }
    if options.receive_queue != 0 {
        config = config.receive_queue(options.receive_queue);
    }
    if options.send_queue != 0 {
        config = config.send_queue(options.send_queue);
    }
    Ok(config)
}
