//! Qt's DTLS classes, for programs that are ported from them.
//!
//! [`Dtls`], [`DtlsClientVerifier`] and their neighbours have the names, verbs, states and error numbers of Qt's `QDtls`,
//! `QDtlsClientVerifier` and `QSslConfiguration`, so that a program can be ported line by line and goes on talking to programs that
//! still use Qt. They are a shape and no more: beneath are [`Connection`](crate::Connection), [`Context`](crate::Context) and the
//! cookies of a [`Listener`](crate::Listener). A new program uses those.
//!
//! Nothing here reads a socket or waits. A program reads its socket, gives each datagram to the object of its sender, and a
//! [`Socket`] to answer through: a `&UdpSocket`, or a closure. What fails is a [`Result`] with Qt's kind in it, and is remembered
//! by [`Dtls::dtls_error`] as Qt does.
//!
//! ```
//! use std::io;
//! use std::net::SocketAddr;
//! use openssl_dtls::qdtls::{Dtls, DtlsConfiguration, DtlsClientVerifier, SslMode};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (client_address, server_address): (SocketAddr, SocketAddr) =
//! #     ("192.0.2.1:40000".parse()?, "192.0.2.2:4433".parse()?);
//! // Two ends with a queue between them each way, where a program has its sockets.
//! let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
//! let put = |queue: &mut Vec<Vec<u8>>, datagram: &[u8]| -> io::Result<()> {
//!     queue.insert(0, datagram.to_vec());
//!     Ok(())
//! };
//! let mut configuration = DtlsConfiguration::default_dtls_configuration();
//! configuration.set_ca_certificates(Vec::new()); // no certificate is trusted, only the key
//!
//! let mut client = Dtls::new(SslMode::SslClientMode);
//! client.set_dtls_configuration(configuration.clone())?;
//! client.set_peer(server_address, "")?;
//! client.on_psk_required(|authenticator| {
//!     let set = authenticator.set_identity(b"sensor-7");
//!     set.and_then(|()| authenticator.set_pre_shared_key(b"sixteen byte key"))
//!         .expect("both are short enough");
//! });
//! client.do_handshake(|datagram: &[u8], _| put(&mut to_server, datagram), &[])?;
//!
//! let mut verifier = DtlsClientVerifier::new()?;
//! let mut server = Dtls::new(SslMode::SslServerMode);
//! server.set_dtls_configuration(configuration)?;
//! server.on_psk_required(|authenticator| {
//!     if authenticator.identity() == b"sensor-7" {
//!         authenticator.set_pre_shared_key(b"sixteen byte key").expect("it is short enough");
//!     }
//! });
//! while !client.is_connection_encrypted() {
//!     if let Some(datagram) = to_server.pop() {
//!         let send = |datagram: &[u8], _| put(&mut to_client, datagram);
//!         if server.peer().is_some() {
//!             server.do_handshake(send, &datagram)?;
//!         } else if verifier.verify_client(send, &datagram, client_address)? {
//!             server.set_peer(client_address, "")?;
//!             let send = |datagram: &[u8], _| put(&mut to_client, datagram);
//!             server.do_handshake(send, verifier.verified_hello())?;
//!         }
//!     } else if let Some(datagram) = to_client.pop() {
//!         client.do_handshake(|datagram: &[u8], _| put(&mut to_server, datagram), &datagram)?;
//!     }
//! }
//!
//! client.write_datagram_encrypted(|datagram: &[u8], _| put(&mut to_server, datagram), b"21.5 degrees")?;
//! let datagram = to_server.pop().ok_or("no datagram")?;
//! let messages = server.decrypt_datagram(|datagram: &[u8], _| put(&mut to_client, datagram), &datagram)?;
//! assert_eq!(messages.messages(), [b"21.5 degrees"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Porting a server
//!
//! | Qt | here |
//! | --- | --- |
//! | `QDtlsClientVerifier verifier;` | `let mut verifier = DtlsClientVerifier::new()?;` |
//! | `auto config = QSslConfiguration::defaultDtlsConfiguration();` | `let mut config = DtlsConfiguration::default_dtls_configuration();` |
//! | `config.setLocalCertificateChain(chain); config.setPrivateKey(key);` | `config.set_local_certificate_chain(chain); config.set_private_key(key);` |
//! | `config.setPreSharedKeyIdentityHint("hint");` | `config.set_pre_shared_key_identity_hint(b"hint");` |
//! | `connect(&socket, &QUdpSocket::readyRead, ...)` | a loop over `socket.recv_from(&mut buffer)` |
//! | `find(clients, address, port)` | `clients.get_mut(&peer)`, a `HashMap<SocketAddr, Dtls>` |
//! | `if (verifier.verifyClient(&socket, dgram, address, port))` | `if verifier.verify_client(&socket, &dgram, peer)?` |
//! | `QDtls dtls{QSslSocket::SslServerMode};` | `let mut dtls = Dtls::new(SslMode::SslServerMode);` |
//! | `dtls.setDtlsConfiguration(config);` | `dtls.set_dtls_configuration(config.clone())?;` |
//! | `dtls.setPeer(address, port);` | `dtls.set_peer(peer, "")?;` |
//! | `connect(&dtls, &QDtls::pskRequired, ...)` | `dtls.on_psk_required(\|authenticator\| ...)` |
//! | `dtls.doHandshake(&socket, verifier.verifiedHello());` | `dtls.do_handshake(&socket, verifier.verified_hello())?;` |
//! | `connect(&dtls, &QDtls::handshakeTimeout, ...)` | wake up at the earliest `dtls.next_timeout()` |
//! | `dtls.handleTimeout(&socket);` | `dtls.handle_timeout(&socket)?;` |
//! | `if (dtls.isConnectionEncrypted())` | `if dtls.is_connection_encrypted()` |
//! | `QByteArray plain = dtls.decryptDatagram(&socket, dgram);` | `for plain in dtls.decrypt_datagram(&socket, &dgram)?` |
//! | `dtls.dtlsError() == QDtlsError::RemoteClosedConnectionError` | `error.kind() == DtlsError::RemoteClosedConnectionError` |
//! | `dtls.writeDatagramEncrypted(&socket, answer);` | `dtls.write_datagram_encrypted(&socket, answer)?;` |
//! | `dtls.shutdown(&socket);` | `dtls.shutdown(&socket)?;` |
//!
//! # Porting a client
//!
//! | Qt | here |
//! | --- | --- |
//! | `QDtls dtls{QSslSocket::SslClientMode};` | `let mut dtls = Dtls::new(SslMode::SslClientMode);` |
//! | `config.setCaCertificates(cas);` | `config.set_ca_certificates(cas);` |
//! | `config.setPeerVerifyMode(QSslSocket::VerifyPeer);` | `config.set_peer_verify_mode(PeerVerifyMode::VerifyPeer);` |
//! | `dtls.setPeer(address, port, "server.example");` | `dtls.set_peer(peer, "server.example")?;` |
//! | `if (!dtls.doHandshake(&socket)) dtls.dtlsErrorString();` | `dtls.do_handshake(&socket, &[])?;` or `error.error_string()` |
//! | `dtls.doHandshake(&socket, dgram);` | `dtls.do_handshake(&socket, &dgram)?;` |
//! | `case QDtls::HandshakeComplete:` | `HandshakeState::HandshakeComplete =>` |
//! | `dtls.peerVerificationErrors()` | `dtls.peer_verification_errors()` |
//! | `dtls.ignoreVerificationErrors(errors);` | `dtls.ignore_verification_errors(&errors);` |
//! | `dtls.resumeHandshake(&socket);` | `dtls.resume_handshake(&socket)?;` after `config.set_handshake_must_interrupt_on_error(false)` |
//! | `dtls.abortHandshake(&socket);` | `dtls.abort_handshake(&socket)?;` |
//! | `dtls.sessionCipher().name()` | `dtls.session_cipher()` |
//! | `dtls.dtlsConfiguration().peerCertificate()` | `dtls.peer_certificate()` |
//! | `dtls.setMtuHint(1500);` | `dtls.set_mtu_hint(1500);` |
//! | `if (socket == nullptr)` | a `None` in place of the socket is `InvalidInputParameters` |
//!
//! The examples `secure_udp_server` and `secure_udp_client` are whole programs.
//!
//! # Differences from Qt
//!
//! | what | Qt | here |
//! | --- | --- | --- |
//! | the timer | a signal; a call at the wrong time crashes | [`Dtls::next_timeout`], gone with the handshake; a call at the wrong time is `InvalidOperation`, one too early does nothing |
//! | junk in a handshake | starts the timer again, so that a trickle of it stops retransmission | leaves the timer alone |
//! | a first datagram that is no hello, without cookies | in progress for ever | `TlsFatalError`, not started; a hello with a cookie that nobody asked for is taken |
//! | twelve timeouts | go on for ever | `TlsFatalError`; [`DtlsConfiguration::set_transport`] sets an earlier end |
//! | a certificate that is not acceptable | the handshake completes, then the program decides; a rejected peer hears nothing | the handshake ends with an alert that says why, unless [`set_handshake_must_interrupt_on_error(false)`](DtlsConfiguration::set_handshake_must_interrupt_on_error); a peer that is rejected late gets a fatal alert, whose number libssl chooses |
//! | a client without a certificate, under `VerifyPeer` | completes, then fails here alone | is refused with an alert |
//! | several records in a datagram | one is read, others come out later and displace further ones | all are read, in order |
//! | messages with the end of the handshake | come out later, and displace others | [`Dtls::take_messages`], or with the next datagram |
//! | a fatal alert | `TlsNonFatalError` without a text, still encrypted | `TlsFatalError` that names the alert; the association is over |
//! | a forged alert in a handshake | ends it | is believed only if nothing else comes for one interval |
//! | a socket that refuses | told by `writeDatagramEncrypted` alone | `UnderlyingSocketError` of every operation that sends; the state goes on |
//! | error texts | lost, or of another call | of this call, with OpenSSL's own reasons |
//! | renegotiation | a client follows a server's request | never |
//! | what a closed association leaves | cipher, certificates, ignored errors | nothing |
//! | the peer's certificates | in the configuration, where two peers' can mix | [`Dtls::peer_certificate_chain`], of this handshake |
//! | the MTU hint | is the UDP payload; too small fails, too large breaks the first flight; 576 without one | is the link's MTU; kept between 256 bytes and 4096 of payload; 1200 of payload without one, lowered on loss |
//! | `setCookieGeneratorParameters` | answers `false` when it worked | a `Result` |
//! | `resumeHandshake` that is not ready | `false` without an error | `PeerVerificationError` that names what is not ignored |
//! | no TLS backend | fails without an error | cannot be built |
//! | `decryptDatagram` without a result | three meanings | [`DatagramOutcome`] |
//! | an empty datagram to decrypt | leaves the last error | is dropped like any bad one |
//! | the verifier | makes a TLS context | needs none |
//! | cookies | bound to address and port, for ever, one secret of any length, any hash | bound to time and hello as well; 32 bytes of secret at least, HMAC-SHA256; [`CookieRing`](crate::CookieRing) rotates, and is [`qt_compatible`](crate::CookieRing::qt_compatible) where it must be |
//! | port 0, the unspecified address | taken | `InvalidInputParameters` |
//! | names | any text, IDN converted | a DNS name in its ASCII form or an IP address; else `InvalidInputParameters` |
//! | the common name | always matched | only where a certificate has no alternative names |
//! | server name indication | never | the verification name, if it is no address |
//! | ALPN, sessions | negotiated, but the result is not kept | [`Dtls::next_negotiated_protocol`], [`Dtls::saved_session`] |
//! | SRTP, exporters, statistics | not reachable | [`Dtls::connection`] |
//! | pre-shared keys and identities that are too long | cut | refused where they are set |
//! | a pre-shared key, under `VerifyPeer` | is `NoPeerCertificate` | is as good as a certificate; a client that trusts no authority offers nothing else |
//! | the blacklist | compiled in | [`DtlsConfiguration::set_deny_list`] |
//! | the default suites | all that OpenSSL has | AEAD, with forward secrecy for certificates; pre-shared keys only with a handler |
//! | too long a message | `TlsFatalError` | `InvalidInputParameters`; the association goes on in both |
//! | TLS contexts | one for each object | one for each configuration, shared by its clones |
//! | `setBackendConfiguration` | names and values | [`DtlsConfiguration::set_backend_configuration`], a closure |
//!
//! As in Qt, and worth knowing: no answer is sent to a close_notify, and none is waited for; an object that is dropped tells its
//! peer nothing; a peer that starts anew on the same port must be recognised
//! ([`Dtls::starts_new_handshake`]) and led past the verifier; different keys on both sides end in silence, and at the handshake's
//! deadline. Programs with pre-shared keys that set `VerifyNone`, as they must in Qt, take any certificate of a server that offers
//! one: leave verification on, and trust no authorities if there are none.

mod calls;
mod clock;
mod config;
mod contexts;
mod decrypted;
mod dtls;
mod error;
mod machine;
mod psk;
mod results;
mod socket;
mod ssl_error;
mod types;
mod verifier;

pub use self::config::DtlsConfiguration;
pub use self::decrypted::{DatagramOutcome, Decrypted};
pub use self::dtls::Dtls;
pub use self::error::Error;
pub use self::psk::PreSharedKeyAuthenticator;
pub use self::socket::Socket;
pub use self::ssl_error::{SslError, SslErrorCode};
pub use self::types::{
    CookieHash, DtlsError, HandshakeState, PeerVerifyMode, SslMode, SslProtocol,
};
pub use self::verifier::{DtlsClientVerifier, GeneratorParameters};
