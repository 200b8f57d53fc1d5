//! The C ABI: the same connections, listeners and endpoints for C and C++.
//!
//! `src/capi/openssl_dtls.h` is the header and the reference; `openssl_dtls.hpp` wraps it for C++. Built by
//!
//! ```sh
//! cargo rustc --release --features capi --crate-type cdylib,staticlib -- -C link-arg=-Wl,-soname,libopenssl_dtls.so.0,-z,nodelete
//! ```
//!
//! The grammar: objects are opaque, made by `_new` and freed by `_free`. Every function answers an [`odtls_result`]. Outputs come last and are
//! written on success only; a length is also written, as the length needed, with `ODTLS_BUFFER_TOO_SMALL`. A null pointer where an object is needed is
//! `ODTLS_NULL_POINTER`. A panic is `ODTLS_PANIC` and never leaves a function. An object is used by one thread at a time: a call while another runs,
//! from another thread or from a callback, is `ODTLS_BUSY`.

#![expect(non_camel_case_types, reason = "C names")]
#![expect(
    clippy::missing_safety_doc,
    reason = "the contract of every function is the header's, stated once at its top"
)]

mod address;
mod by_handle;
mod connection;
mod context;
mod cookie;
mod endpoint;
mod error;
mod handle;
mod info;
mod limits;
mod listener;
mod options;
mod panic;
mod stats;

pub use self::address::sockaddr;
pub use self::by_handle::*;
pub use self::connection::*;
pub use self::context::*;
pub use self::cookie::*;
pub use self::endpoint::*;
pub use self::error::{odtls_last_error, odtls_result, odtls_result_text};
pub use self::info::*;
pub use self::limits::*;
pub use self::listener::*;
pub use self::stats::*;

/// The version of this library, as a string that lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn odtls_version() -> *const core::ffi::c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
