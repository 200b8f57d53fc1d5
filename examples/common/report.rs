//! How the examples print what happened.

use std::error::Error;
use std::fmt::Write as _;

use openssl_dtls::HandshakeInfo;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::ssl::SslVersion;
use openssl_dtls::openssl::x509::X509Ref;

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // An empty error stack has nothing to add.
        if !text.is_empty() && text != "OpenSSL error" {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

/// What a handshake agreed on, in one line.
pub(crate) fn agreed(info: &HandshakeInfo) -> String {
    let version = match info.version() {
        Some(SslVersion::DTLS1_2) => "DTLS 1.2",
        Some(SslVersion::DTLS1) => "DTLS 1.0",
        _ => "an unknown version",
    };
    let mut line = format!("{version}, {}", info.cipher_suite());
    let mut add = |what: &str, value: String| {
        // Writing to a string cannot fail.
        write!(line, ", {what} {value:?}").unwrap_or_default();
    };
    if let Some(name) = info.server_name() {
        add("server name", name.to_owned());
    }
    if let Some(name) = info.verified_name() {
        add("peer verified as", name.to_owned());
    }
    if let Some(certificate) = info.peer_certificate() {
        add("certificate of", common_name(certificate));
    }
    if let Some(identity) = info.psk_identity() {
        add(
            "PSK identity",
            String::from_utf8_lossy(identity).into_owned(),
        );
    }
    if let Some(protocol) = info.application_protocol() {
        add("protocol", String::from_utf8_lossy(protocol).into_owned());
    }
    if let Some(profile) = info.srtp_profile() {
        add("SRTP profile", profile.to_string());
    }
    if info.is_resumed() {
        line.push_str(", resumed");
    }
    line
}

fn common_name(certificate: &X509Ref) -> String {
    certificate
        .subject_name()
        .entries_by_nid(Nid::COMMONNAME)
        .next()
        .and_then(|entry| entry.data().to_string().ok())
        .unwrap_or_else(|| "nobody by name".to_owned())
}
