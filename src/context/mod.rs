//! The `SSL_CTX` that connections are made on: built once, then immutable and shared.

mod builder;
mod identity;
mod names;
mod ocsp;
mod protocols;
mod psk;
mod store;
mod trial;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use openssl::sha::Sha256;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslContextRef, SslVerifyMode, StatusType};
use openssl::x509::verify::X509CheckFlags;
use openssl::x509::{X509, X509Ref};

pub(crate) use self::builder::default_suites;
pub use self::builder::{
    ClientCertificates, ContextBuilder, Credentials, Dangerous, ForClient, ForServer, RawPublicKey,
    Revocation,
};
pub use self::identity::Identity;
pub use self::names::UnknownName;
pub use self::ocsp::{OcspStaple, OcspStapling, StapleProblem};
use self::protocols::Requirements;
pub use self::protocols::{AlpnPolicy, MaxFragmentLength};
pub use self::psk::{Psk, PskKey, PskLookup};
pub use self::store::load_private_key;
use crate::error::{ConfigError, Error};
use crate::groups::Group;
use crate::handshake_info::HandshakeInfo;
use crate::observe::Observer;
use crate::server_name::ServerName;
use crate::sys::context::{self as sys, Library};
use crate::sys::{observe, ticket};
use crate::ticket::TicketRing;
use crate::transport::TransportConfig;
use crate::types::Role;
use crate::{cookie, parking};

/// Everything that connections of one kind share: an `SSL_CTX` and the settings libssl knows nothing of.
///
/// Built once and immutable from then on; clones are cheap and share it. Freed when its last clone and connection are dropped.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    role: Role,
    ssl_context: SslContext,
    /// For `DTLSv1_listen` alone: has the cookie callbacks, which an adopted context must not be given. Servers only.
    cookie_context: Option<SslContext>,
    transport: TransportConfig,
    /// Whether a client must name its peer.
    name_required: bool,
    /// Bytes of certificates that are taken from a peer.
    max_certificate_list: usize,
    /// Bytes of a message in one record.
    max_send_fragment: usize,
    requirements: Requirements,
    /// Hash of the identity and the verification that a client's sessions are made under.
    session_rules: [u8; 32],
    /// What a server's tickets are encrypted with; `None` where the application's context decides.
    tickets: Option<TicketRing>,
    /// Who is told what happens.
    observer: Option<Observer>,
}

/// What a builder attaches to each connection, and an adopted context has of its own.
struct Attached {
    /// Where algorithms come from.
    library: Library,
    /// Stands for whom this end trusts and what it asks of its peer.
    rules: [u8; 32],
    tickets: Option<TicketRing>,
    observer: Option<Observer>,
}

impl Context {
    /// Begins a client's context.
    pub fn client() -> ContextBuilder<ForClient> {
        ContextBuilder::client()
    }

    /// Begins a server's context, which authenticates itself with an [`Identity`], with pre-shared keys from a [`PskLookup`], or
    /// with either, as the client wants.
    pub fn server(credentials: impl Into<Credentials>) -> ContextBuilder<ForServer> {
        ContextBuilder::server(credentials.into())
    }

    /// Adopts a context that a program has already, for DTLS: an `SslContext`, or an `SslContextBuilder` with everything set on it.
    ///
    /// It is never modified: others may be using it. Its identity, trust, suites, callbacks, ex_data and session id context hold as
    /// they are. Set on each connection, beside the context: the MTU and the timer, no renegotiation, no encrypt-then-MAC, and a
    /// cookie exchange by a [`Listener`](crate::Listener) in place of libssl's. A client's [`ServerName`] is checked where one is
    /// given; where none is, the context's own verification parameters decide alone. A server that asks for client certificates
    /// needs a session id context (`SSL_CTX_set_session_id_context`), or libssl refuses resumption. What this crate does not wrap
    /// can be read from [`Connection::ssl`](crate::Connection::ssl).
    ///
    /// Panics must not leave callbacks of such a context: they are not ours to guard.
    ///
    /// # From plain `openssl`
    ///
    /// A program that made a DTLS context and ran it over a connected `UdpSocket` keeps the first part as it is:
    ///
    /// ```no_run
    /// use openssl::ssl::{SslContext, SslMethod, SslVerifyMode};
    /// use openssl_dtls::openssl;
    /// use openssl_dtls::udp::blocking::Client;
    /// use openssl_dtls::{Context, Role, ServerName, TransportConfig};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = SslContext::builder(SslMethod::dtls())?;
    /// builder.set_ca_file("ca.pem")?;
    /// builder.set_verify(SslVerifyMode::PEER);
    /// builder.set_alpn_protos(b"\x04coap")?;
    ///
    /// // Before, with a `Datagrams` that implements `Read` and `Write` over a socket, and no timer and no MTU:
    /// //     let socket = UdpSocket::bind("0.0.0.0:0")?;
    /// //     socket.connect("gateway.example.org:5684")?;
    /// //     let mut ssl = Ssl::new(&builder.build())?;
    /// //     ssl.set_hostname("gateway.example.org")?;
    /// //     ssl.param_mut().set_host("gateway.example.org")?;
    /// //     let mut client = ssl.connect(Datagrams(socket))?;
    /// //     client.write_all(b"21.5 degrees")?;
    ///
    /// // After:
    /// let context = Context::adopt(builder, Role::Client, TransportConfig::new())?;
    /// let name = ServerName::try_from("gateway.example.org")?;
    /// let client = Client::connect(&context, "gateway.example.org:5684", Some(name))?;
    /// client.send(b"21.5 degrees")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::NotDtls`] for a context of stream TLS, [`ConfigError::WrongRole`] for one that cannot take `role`,
    /// [`ConfigError::NotAdoptable`] for a client that offers no suite, [`ConfigError::OutOfRange`] for `transport`,
    /// [`ConfigError::LibraryVersion`].
    pub fn adopt(
        ssl_context: impl Into<Adoptable>,
        role: Role,
        transport: TransportConfig,
    ) -> Result<Context, ConfigError> {
        let Adoptable(ssl_context) = ssl_context.into();
        check_library_version()?;
        transport.check()?;
        let mut ssl = Ssl::new(&ssl_context)?;
        if !sys::is_dtls(&ssl) {
            return Err(ConfigError::NotDtls);
        }
        set_role(&mut ssl, role);
        sys::set_invariants(&mut ssl);
        if role == Role::Client && !sys::offers_a_cipher(&ssl) {
            return Err(ConfigError::NotAdoptable {
                reason: "it offers no cipher suite",
            });
        }
        if !trial::starts(ssl, &transport)? {
            return Err(ConfigError::WrongRole { wanted: role });
        }
        let attached = Attached {
            library: Library::default(),
            rules: session_rules(ssl_context.verify_mode(), &[]),
            tickets: None,
            observer: None,
        };
        Self::freeze(
            ssl_context,
            role,
            transport,
            false,
            Requirements::default(),
            attached,
        )
    }

    fn freeze(
        ssl_context: SslContext,
        role: Role,
        transport: TransportConfig,
        name_required: bool,
        requirements: Requirements,
        attached: Attached,
    ) -> Result<Context, ConfigError> {
        let cookie_context = match role {
            Role::Client => None,
            Role::Server => {
                let mut builder = sys::sibling(&ssl_context, &attached.library)?;
                cookie::install(&mut builder)?;
                Some(builder.build())
            }
        };
        let mut probe = Ssl::new(&ssl_context)?;
        let max_certificate_list = sys::max_certificate_list(&probe);
        let max_send_fragment = sys::max_send_fragment(&mut probe);
        let mut hash = Sha256::new();
        hash.update(&attached.rules);
        hash.update(&[u8::from(name_required)]);
        hash.update(
            &probe
                .certificate()
                .map_or(Ok(Vec::new()), X509Ref::to_der)?,
        );
        Ok(Context(Arc::new(Inner {
            role,
            ssl_context,
            cookie_context,
            transport,
            name_required,
            max_certificate_list,
            max_send_fragment,
            requirements,
            session_rules: hash.finish(),
            tickets: attached.tickets,
            observer: attached.observer,
        })))
    }

    /// The same context for connections that use the network in another way: the `SSL_CTX` is shared.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OutOfRange`].
    pub fn with_transport(&self, transport: TransportConfig) -> Result<Context, ConfigError> {
        transport.check()?;
        let inner = Inner {
            transport,
            ..(*self.0).clone()
        };
        Ok(Context(Arc::new(inner)))
    }

    /// Which end this context is for.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The `SSL_CTX`, for what this crate does not wrap.
    pub fn ssl_context(&self) -> &SslContextRef {
        &self.0.ssl_context
    }

    /// The cipher suites that connections may agree on, by the names of RFCs, in order of preference. What a server can use of
    /// them depends on its keys. Corresponds to `SSL_get1_supported_ciphers` and `SSL_get_ciphers`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OpenSsl`] if there is no memory for a connection to ask.
    pub fn supported_suites(&self) -> Result<Vec<&'static str>, ConfigError> {
        let mut ssl = Ssl::new(&self.0.ssl_context)?;
        set_role(&mut ssl, self.0.role);
        Ok(sys::suites(&ssl, self.0.role))
    }

    /// The groups that connections may agree on for their key exchange, in order of preference: those of a ClientHello that is made
    /// for this, since libssl has no getter.
    ///
    /// # Errors
    ///
    /// [`ConfigError::OpenSsl`] if libssl cannot make a ClientHello.
    pub fn supported_groups(&self) -> Result<Vec<Group>, ConfigError> {
        Ok(trial::groups(&self.0.ssl_context)?)
    }

    pub(crate) fn require_role(&self, wanted: Role) -> Result<(), ConfigError> {
        if self.0.role == wanted {
            Ok(())
        } else {
            Err(ConfigError::WrongRole { wanted })
        }
    }

    pub(crate) fn transport(&self) -> &TransportConfig {
        &self.0.transport
    }

    pub(crate) fn max_certificate_list(&self) -> usize {
        self.0.max_certificate_list
    }

    /// The most bytes of a message that fit into one record of a connection with `info`.
    pub(crate) fn max_fragment(&self, info: &HandshakeInfo) -> usize {
        let agreed = info.max_fragment_length().map(MaxFragmentLength::bytes);
        agreed.map_or(self.0.max_send_fragment, |agreed| {
            agreed.min(self.0.max_send_fragment)
        })
    }

    /// Whether a completed handshake agreed on what it must.
    pub(crate) fn check(&self, info: &HandshakeInfo) -> Result<(), Error> {
        self.0.requirements.check(info)
    }

    /// What a client's session must have been made under to be offered here.
    pub(crate) fn session_rules(&self) -> &[u8; 32] {
        &self.0.session_rules
    }

    /// Goes on to the next ticket key if it is time.
    pub(crate) fn rotate_tickets(&self, now: Instant) -> Result<(), ConfigError> {
        if let Some(tickets) = &self.0.tickets {
            tickets.rotate_if_due(now)?;
        }
        Ok(())
    }

    /// Who is told what happens.
    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.0.observer.as_ref()
    }

    /// The context with the cookie callbacks, which servers have.
    pub(crate) fn cookie_context(&self) -> Result<&SslContextRef, ConfigError> {
        let context = self.0.cookie_context.as_deref();
        context.ok_or(ConfigError::WrongRole {
            wanted: Role::Server,
        })
    }

    /// An `SSL` ready to be bound: role, options, and what its peer must be called.
    pub(crate) fn new_ssl(&self, server_name: Option<&ServerName>) -> Result<Ssl, ConfigError> {
        if self.0.name_required && server_name.is_none() {
            return Err(ConfigError::NoServerName);
        }
        let mut ssl = Ssl::new(&self.0.ssl_context)?;
        set_role(&mut ssl, self.0.role);
        sys::set_invariants(&mut ssl);
        parking::prepare(&mut ssl)?;
        if self.0.requirements.ocsp_staple {
            ssl.set_status_type(StatusType::OCSP)?;
        }
        if let Some(tickets) = &self.0.tickets {
            ticket::attach(&mut ssl, tickets)?;
        }
        if let Some(observer) = &self.0.observer {
            observe::attach(&mut ssl, observer)?;
        }
        if let Some(ServerName::Dns(name)) = server_name {
            ssl.set_hostname(name.as_str())?;
        }
        if let Some(name) = server_name {
            let param = ssl.param_mut();
            param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
            match name {
                ServerName::Dns(name) => param.set_host(name.as_str())?,
                ServerName::Ip(IpAddr::V4(ip)) => param.set_ip((*ip).into())?,
                ServerName::Ip(IpAddr::V6(ip)) => param.set_ip((*ip).into())?,
            }
        }
        Ok(ssl)
    }
}

/// What [`Context::adopt`] takes: made of an `SslContext` or an `SslContextBuilder`.
pub struct Adoptable(SslContext);

impl From<SslContext> for Adoptable {
    fn from(ssl_context: SslContext) -> Self {
        Adoptable(ssl_context)
    }
}

impl From<SslContextBuilder> for Adoptable {
    fn from(builder: SslContextBuilder) -> Self {
        Adoptable(builder.build())
    }
}

impl fmt::Debug for Adoptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adoptable").finish_non_exhaustive()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("role", &self.0.role)
            .field("transport", &self.0.transport)
            .field(
                "verifies",
                &self
                    .0
                    .ssl_context
                    .verify_mode()
                    .contains(SslVerifyMode::PEER),
            )
            .finish_non_exhaustive()
    }
}

/// Sessions are resumed under the rules they were made under: this stands for whom this end trusts, and what it asks of its peer.
fn session_rules(verify_mode: SslVerifyMode, trusted: &[X509]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&verify_mode.bits().to_be_bytes());
    for certificate in trusted {
        // A certificate that cannot be written again could not be verified either.
        hash.update(&certificate.to_der().unwrap_or_default());
    }
    hash.finish()
}

fn set_role(ssl: &mut Ssl, role: Role) {
    match role {
        Role::Client => ssl.set_connect_state(),
        Role::Server => ssl.set_accept_state(),
    }
}

/// Checks once that the loaded libssl is one this build can run on: the headers' major version, and not older than they are.
fn check_library_version() -> Result<(), ConfigError> {
    static FITS: OnceLock<bool> = OnceLock::new();
    let (headers, loaded) = (HEADERS, openssl::version::number());
    if *FITS.get_or_init(|| version_fits(headers, loaded)) {
        return Ok(());
    }
    Err(ConfigError::LibraryVersion {
        headers: version_text(headers),
        loaded: version_text(loaded),
    })
}

/// `OPENSSL_VERSION_NUMBER` of the headers this was built with.
const HEADERS: i64 = {
    match i64::from_str_radix(env!("OPENSSL_DTLS_HEADER_VERSION"), 10) {
        Ok(version) => version,
        Err(_) => panic!("build.rs writes a number"),
    }
};

/// `OPENSSL_VERSION_NUMBER` is 0xMNN00PP0 since 3.0. Patches are compatible both ways, so only major and minor count.
fn version_fits(headers: i64, loaded: i64) -> bool {
    headers >> 28 == loaded >> 28 && headers >> 20 <= loaded >> 20
}

fn version_text(version: i64) -> String {
    format!(
        "{}.{}.{}",
        version >> 28,
        version >> 20 & 0xff,
        version >> 4 & 0xff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_minor_versions_are_accepted_and_others_are_not() {
        let v3_0_2 = 0x3000_0020;
        for (loaded, fits) in [
            (0x3000_0020, true),
            (0x3000_0160, true),
            (0x3000_0000, true),
            (0x3050_0000, true),
            (0x4000_0000, false),
            (0x1010_1170, false),
        ] {
            assert_eq!(version_fits(v3_0_2, loaded), fits, "{loaded:x}");
        }
        assert!(!version_fits(0x3050_0000, 0x3000_0160));
        assert_eq!(version_text(0x3000_0160), "3.0.22");
        assert!(check_library_version().is_ok());
    }
}
