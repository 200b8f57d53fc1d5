//! Limits of an endpoint, as a struct that may grow.

use std::time::Duration;

use super::error::odtls_result;
use super::options::Options;
use crate::endpoint::EndpointConfig;

/// "Never", for a time in milliseconds.
pub const ODTLS_NEVER: u32 = u32::MAX;

/// Limits of an endpoint. 0 is the default of each.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct odtls_endpoint_options {
    /// `sizeof(odtls_endpoint_options)`.
    pub size: usize,
    /// Connections in all.
    pub max_connections: usize,
    /// Accepted handshakes under way.
    pub max_half_open: usize,
    /// The same from one network.
    pub max_half_open_per_prefix: usize,
    /// Bytes of datagrams that wait to be taken, of all connections.
    pub max_send_bytes: usize,
    /// Bytes of messages that wait to be received, of all connections.
    pub max_receive_bytes: usize,
    /// HelloVerifyRequests that wait to be taken.
    pub max_replies: usize,
    /// Leading bits of an IPv4 address that say which network it is of.
    pub ipv4_prefix: u32,
    /// The same of IPv6.
    pub ipv6_prefix: u32,
    /// Time for an accepted handshake, in milliseconds.
    pub handshake_timeout_ms: u32,
    /// After how long in silence an accepted connection is closed; `ODTLS_NEVER`.
    pub idle_timeout_ms: u32,
    /// The same for connections this endpoint opened.
    pub client_idle_timeout_ms: u32,
    /// After how long without use a connection's buffers are given back; `ODTLS_NEVER`.
    pub release_buffers_after_ms: u32,
    /// How long what an ended connection left stays.
    pub linger_ms: u32,
    /// Not 0: datagrams that are not DTLS are handed out.
    pub hand_out_foreign: u32,
}

// SAFETY: `repr(C)`, starts with a `usize`, numbers only.
unsafe impl Options for odtls_endpoint_options {
    const DEFAULT: Self = odtls_endpoint_options {
        size: 0,
        max_connections: 0,
        max_half_open: 0,
        max_half_open_per_prefix: 0,
        max_send_bytes: 0,
        max_receive_bytes: 0,
        max_replies: 0,
        ipv4_prefix: 0,
        ipv6_prefix: 0,
        handshake_timeout_ms: 0,
        idle_timeout_ms: 0,
        client_idle_timeout_ms: 0,
        release_buffers_after_ms: 0,
        linger_ms: 0,
        hand_out_foreign: 0,
    };
}

/// The configuration that `options` name.
pub(super) fn config(options: &odtls_endpoint_options) -> Result<EndpointConfig, odtls_result> {
    let bits = |value: u32, default| match value {
        0 => Ok(default),
        value => u8::try_from(value).map_err(|_| odtls_result::ODTLS_INVALID_ARGUMENT),
    };
    let mut config = EndpointConfig::new()
        .source_prefixes(
            bits(options.ipv4_prefix, 24)?,
            bits(options.ipv6_prefix, 56)?,
        )
        .hand_out_foreign(options.hand_out_foreign != 0);
    let count = |value, set: fn(EndpointConfig, usize) -> EndpointConfig, config| match value {
        0 => config,
        value => set(config, value),
    };
    config = count(
        options.max_connections,
        EndpointConfig::max_connections,
        config,
    );
    config = count(options.max_half_open, EndpointConfig::max_half_open, config);
    config = count(
        options.max_half_open_per_prefix,
        EndpointConfig::max_half_open_per_prefix,
        config,
    );
    config = count(
        options.max_send_bytes,
        EndpointConfig::max_send_bytes,
        config,
    );
    config = count(
        options.max_receive_bytes,
        EndpointConfig::max_receive_bytes,
        config,
    );
    config = count(options.max_replies, EndpointConfig::max_replies, config);
    let time = |value| match value {
        0 => None,
        ODTLS_NEVER => Some(None),
        value => Some(Some(Duration::from_millis(u64::from(value)))),
    };
    if let Some(idle) = time(options.idle_timeout_ms) {
        config = config.idle_timeout(idle);
    }
    if let Some(idle) = time(options.client_idle_timeout_ms) {
        config = config.client_idle_timeout(idle);
    }
    if let Some(quiet) = time(options.release_buffers_after_ms) {
        config = config.release_buffers_after(quiet);
    }
    if options.handshake_timeout_ms != 0 {
        config =
            config.handshake_timeout(Duration::from_millis(options.handshake_timeout_ms.into()));
    }
    if options.linger_ms != 0 {
        config = config.linger(Duration::from_millis(options.linger_ms.into()));
    }
    Ok(config)
}
