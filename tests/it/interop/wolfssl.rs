//! wolfSSL 5.5.

use openssl_dtls::Alert;

use super::library::{Library, library_tests};

const WOLF_SSL: Library = Library {
    name: "wolfssl",
    header: "wolfssl/ssl.h",
    link: &["-lwolfssl"],
    ecdsa: [
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ],
    rsa: [
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ],
    psk: [
        "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
        "PSK-CHACHA20-POLY1305",
    ],
    unknown_authority: Alert::UNKNOWN_CA,
};

library_tests! { WOLF_SSL;
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
