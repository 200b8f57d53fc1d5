//! How a socket is set up.

/// What the system is asked for when nothing else was said, in bytes: a second of a busy server's datagrams.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
const SEND_BUFFER: usize = 1024 * 1024;

/// How a socket is set up.
///
/// Datagrams leave from the address that the peer's arrived at, on systems that tell it, and are not cut by IP unless
/// [`allow_fragments`](Self::allow_fragments) says so.
#[derive(Debug, Clone)]
#[must_use]
pub struct SocketConfig {
    pub(super) receive_buffer: usize,
    pub(super) send_buffer: usize,
    pub(super) only_v6: bool,
    pub(super) reuse_port: bool,
    pub(super) allow_fragments: bool,
}

impl Default for SocketConfig {
    fn default() -> Self {
        SocketConfig {
            receive_buffer: RECEIVE_BUFFER,
            send_buffer: SEND_BUFFER,
            only_v6: false,
            reuse_port: false,
            allow_fragments: false,
        }
    }
}

impl SocketConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of received datagrams the system is asked to keep until they are read. Default: 4,194,304.
    ///
    /// The system may grant less, on Linux at most `net.core.rmem_max`. What does not fit is lost without being counted here.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// How many bytes of outgoing datagrams the system is asked to take before it makes the sender wait. Default: 1,048,576.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.send_buffer = bytes;
        self
    }

    /// Keeps a socket that is bound to an IPv6 address from serving IPv4 as well. Default: no, both where the system can.
    pub fn only_v6(mut self, only: bool) -> Self {
        self.only_v6 = only;
        self
    }

    /// Lets several sockets be bound to one address (`SO_REUSEPORT`). Default: no.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Lets IP cut datagrams that are larger than the path takes, instead of losing them. Default: no.
    ///
    /// Needed with [`TransportConfig::allow_oversize`](crate::TransportConfig::allow_oversize).
    pub fn allow_fragments(mut self, allow: bool) -> Self {
        self.allow_fragments = allow;
        self
    }
}
