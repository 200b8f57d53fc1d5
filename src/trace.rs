//! Diagnostics through the crate `tracing`. Without the feature of that name nothing of it is compiled.

use std::net::SocketAddr;

use crate::types::Role;

/// Tells what happened: a level, fields, and a few words, as `tracing::event!` takes them. Never keys, cookies or contents of messages.
macro_rules! event {
    ($level:ident, $($told:tt)+) => {{
        #[cfg(feature = "tracing")]
        ::tracing::event!(::tracing::Level::$level, $($told)+);
    }};
}

pub(crate) use event;

/// Says that a span is left when it is dropped.
#[must_use]
pub(crate) struct Entered {
    #[cfg(feature = "tracing")]
    _span: ::tracing::span::EnteredSpan,
}

/// Enters the span in which what happens to a connection is told: one for each call, so that a connection need not keep it.
#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "there is nobody to tell")
)]
pub(crate) fn enter_connection(role: Role, peer: SocketAddr) -> Entered {
    Entered {
        #[cfg(feature = "tracing")]
        _span: ::tracing::debug_span!("connection", ?role, %peer).entered(),
    }
}
