//! The `openssl` command line tool.

mod client;
mod extensions;
mod features;
mod server;

/// What lets it speak DTLS 1.0, whose signatures are made with SHA-1.
const DTLS1_CIPHERS: &str = "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0";
const PSK_SUITE: &str = "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256";

/// Bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}
