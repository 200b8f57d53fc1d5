//! Mbed TLS 2.28.

use openssl_dtls::Alert;

use super::library::{Library, library_tests};

const MBED_TLS: Library = Library {
    name: "mbedtls",
    header: "mbedtls/ssl.h",
    link: &["-lmbedtls", "-lmbedx509", "-lmbedcrypto"],
    ecdsa: [
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256",
    ],
    rsa: [
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS-ECDHE-RSA-WITH-CHACHA20-POLY1305-SHA256",
    ],
    psk: [
        "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
        "TLS-ECDHE-PSK-WITH-CHACHA20-POLY1305-SHA256",
    ],
    unknown_authority: Alert::UNKNOWN_CA,
};

library_tests! { MBED_TLS;
    its_server_with_a_certificate,
    its_server_asks_for_a_certificate,
    its_server_with_a_psk,
    its_server_with_a_large_chain,
    its_server_is_refused,
    its_client_with_a_certificate,
    its_client_with_a_psk,
    its_client_takes_fragments,
    its_client_refuses_us,
}
