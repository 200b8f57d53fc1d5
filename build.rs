//! Turns what `openssl-sys` found into cfgs, and refuses libraries this crate cannot stand on.

use std::env;
use std::process::exit;

/// The least OpenSSL: 3.0.0, as `OPENSSL_VERSION_NUMBER` writes it.
const LEAST: u64 = 0x3000_0000;

/// Cfgs by the OpenSSL version from which they hold.
const CFGS: [(&str, u64); 3] = [
    ("ossl320", 0x3020_0000),
    ("ossl350", 0x3050_0000),
    ("ossl400", 0x4000_0000),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for (name, _) in CFGS {
        println!("cargo:rustc-check-cfg=cfg({name})");
    }

    for (variable, library) in [
        ("DEP_OPENSSL_LIBRESSL", "LibreSSL"),
        ("DEP_OPENSSL_LIBRESSL_VERSION_NUMBER", "LibreSSL"),
        ("DEP_OPENSSL_BORINGSSL", "BoringSSL"),
        ("DEP_OPENSSL_AWSLC", "AWS-LC"),
        ("DEP_OPENSSL_AWSLC_FIPS", "AWS-LC"),
    ] {
        if env::var_os(variable).is_some() {
            refuse(&format!(
                "{library} was found, which has no usable DTLS listener"
            ));
        }
    }

    let Ok(text) = env::var("DEP_OPENSSL_VERSION_NUMBER") else {
        refuse("openssl-sys named no OpenSSL version");
    };
    let Ok(version) = u64::from_str_radix(&text, 16) else {
        refuse(&format!(
            "openssl-sys named the version {text:?}, which is not a hexadecimal number"
        ));
    };
    if version < LEAST {
        refuse(&format!(
            "OpenSSL {}.{}.{} was found, which is too old",
            version >> 28,
            (version >> 20) & 0xff,
            (version >> 12) & 0xff
        ));
    }
    for (name, from) in CFGS {
        if version >= from {
            println!("cargo:rustc-cfg={name}");
        }
    }
    println!("cargo:rustc-env=OPENSSL_DTLS_HEADER_VERSION={version}");
    // Where the headers are, for the test that compares our declarations with them; empty where the compiler finds them itself.
    let include = env::var("DEP_OPENSSL_INCLUDE").unwrap_or_default();
    println!("cargo:rustc-env=OPENSSL_DTLS_INCLUDE={include}");
}

/// Ends the build with one sentence that names the way out.
fn refuse(what: &str) -> ! {
    eprintln!(
        "error: {what}; openssl-dtls needs OpenSSL 3.0 or newer: point OPENSSL_DIR at one, \
         or build with the feature `vendored`"
    );
    exit(1)
}
