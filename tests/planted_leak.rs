//! Loses an OpenSSL object on purpose: the control of the gate's leak check, which must find it. Not part of `cargo test`.

use openssl_dtls::{Context, Psk};

fn main() {
    let psk = Psk::new(b"identity", b"key").expect("a good key");
    let context = Context::client().psk(psk).build().expect("a good context");
    lose(context);
    println!("one context was lost");
}

/// Nothing keeps the pointer afterwards, so the loss is definite.
#[inline(never)]
fn lose(context: Context) {
    std::mem::forget(std::hint::black_box(context));
}
