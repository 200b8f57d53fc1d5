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

/// The span in which everything about one connection is told.
#[derive(Clone)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: ::tracing::Span,
}

/// Says that a span is left when it is dropped.
#[must_use]
pub(crate) struct Entered {
    #[cfg(feature = "tracing")]
    _span: ::tracing::span::EnteredSpan,
}

impl Span {
    #[cfg_attr(
        not(feature = "tracing"),
        expect(unused_variables, reason = "there is nobody to tell")
    )]
    pub(crate) fn of_connection(role: Role, peer: SocketAddr) -> Span {
        Span {
            #[cfg(feature = "tracing")]
            span: ::tracing::debug_span!("connection", ?role, %peer),
        }
    }

    /// Enters the span until the answer is dropped.
    pub(crate) fn enter(&self) -> Entered {
        Entered {
            #[cfg(feature = "tracing")]
            _span: self.span.clone().entered(),
        }
    }
}
