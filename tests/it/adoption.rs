//! Programs that have an `openssl` context already: what is theirs keeps working, and nothing of it is changed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use openssl_dtls::openssl::ex_data::Index;
use openssl_dtls::openssl::ssl::{
    AlpnError, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslVerifyMode, select_next_proto,
};
use openssl_dtls::{ConfigError, Connection, Context, Role, ServerName, TransportConfig};

use crate::support::pair::{client_addr, server_addr};
use crate::support::{IDENTITY, KEY, Pair, certs, clock};

fn builder() -> SslContextBuilder {
    SslContext::builder(SslMethod::dtls()).unwrap()
}

fn adopt(ssl_context: impl Into<openssl_dtls::Adoptable>, role: Role) -> Context {
    Context::adopt(ssl_context, role, TransportConfig::default()).unwrap()
}

/// Where a program keeps what its callbacks need.
fn place() -> Index<SslContext, Arc<AtomicUsize>> {
    static PLACE: OnceLock<Index<SslContext, Arc<AtomicUsize>>> = OnceLock::new();
    *PLACE.get_or_init(|| SslContext::new_ex_index().unwrap())
}

fn trusting() -> SslContextBuilder {
    let mut builder = builder();
    builder.set_verify(SslVerifyMode::PEER);
    builder
        .cert_store_mut()
        .add_cert(certs::authority().certificate.clone())
        .unwrap();
    builder
}

fn serving() -> SslContextBuilder {
    let mut builder = builder();
    builder.set_session_id_context(b"theirs").unwrap();
    builder
        .set_certificate(certs::server_identity().certificate())
        .unwrap();
    builder.set_private_key(&certs::server_key()).unwrap();
    builder
}

#[test]
fn builders_are_taken_as_they_are() {
    let contexts = (
        adopt(trusting(), Role::Client),
        adopt(serving(), Role::Server),
    );
    let mut pair = Pair::connected(&contexts);
    pair.assert_works();
    let info = pair.client.handshake_info().unwrap();
    assert_eq!(info.verified_name(), Some("localhost"));
}

#[test]
fn their_callbacks_run_with_their_ex_data() {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut client = trusting();
    client.set_alpn_protos(b"\x04coap").unwrap();
    client.set_ex_data(place(), calls.clone());
    client.set_verify_callback(SslVerifyMode::PEER, |good, store| {
        let ssl = store
            .ex_data(openssl_dtls::openssl::x509::X509StoreContext::ssl_idx().unwrap())
            .expect("libssl verifies for a connection");
        let calls = ssl.ssl_context().ex_data(place()).expect("it is theirs");
        calls.fetch_add(1, Ordering::Relaxed);
        good
    });
    let mut server = serving();
    server.set_ex_data(place(), calls.clone());
    server.set_alpn_select_callback(|ssl, offered| {
        let calls = ssl.ssl_context().ex_data(place()).expect("it is theirs");
        calls.fetch_add(100, Ordering::Relaxed);
        select_next_proto(b"\x04coap", offered).ok_or(AlpnError::NOACK)
    });
    server.set_servername_callback(|ssl, _| {
        let calls = ssl.ssl_context().ex_data(place()).expect("it is theirs");
        calls.fetch_add(10_000, Ordering::Relaxed);
        Ok(())
    });
    let contexts = (adopt(client, Role::Client), adopt(server, Role::Server));
    let pair = Pair::connected(&contexts);
    for end in [&pair.client, pair.server().unwrap()] {
        let ssl = end.ssl().unwrap();
        assert_eq!(ssl.selected_alpn_protocol(), Some(&b"coap"[..]));
        let kept = ssl.ssl_context().ex_data(place()).unwrap();
        assert!(Arc::ptr_eq(kept, &calls));
    }
    let calls = calls.load(Ordering::Relaxed);
    assert_eq!(calls / 10_000, 1, "server name");
    assert_eq!(calls / 100 % 100, 1, "protocol");
    assert!(calls % 100 >= 1, "verification");
}

#[test]
fn their_psk_callbacks_run() {
    let mut client = builder();
    client.set_cipher_list("PSK-AES128-GCM-SHA256").unwrap();
    client.set_psk_client_callback(|_, _, identity, key| {
        identity[..IDENTITY.len()].copy_from_slice(IDENTITY);
        key[..KEY.len()].copy_from_slice(KEY);
        Ok(KEY.len())
    });
    let mut server = builder();
    server.set_cipher_list("PSK-AES128-GCM-SHA256").unwrap();
    server.set_psk_server_callback(|_, identity, key| {
        if identity != Some(IDENTITY) {
            return Ok(0);
        }
        key[..KEY.len()].copy_from_slice(KEY);
        Ok(KEY.len())
    });
    let contexts = (adopt(client, Role::Client), adopt(server, Role::Server));
    let mut pair = Pair::connected(&contexts);
    pair.assert_works();
    assert_eq!(
        pair.server()
            .unwrap()
            .handshake_info()
            .unwrap()
            .psk_identity(),
        Some(IDENTITY)
    );
}

#[test]
fn their_sessions_are_resumed_by_their_own_tickets() {
    let contexts = (
        adopt(trusting(), Role::Client),
        adopt(serving(), Role::Server),
    );
    let session = Pair::connected(&contexts).client.saved_session().unwrap();
    let mut pair = Pair::new(&contexts);
    let name = ServerName::try_from("localhost").ok();
    pair.client =
        Connection::client_resuming(&contexts.0, server_addr(), name, &session, clock::now())
            .unwrap();
    pair.handshake();
    pair.assert_works();
    assert!(pair.client.handshake_info().unwrap().is_resumed());
}

#[test]
fn built_contexts_are_not_changed() {
    let contexts = [trusting().build(), serving().build()];
    let facts = |context: &SslContext| {
        let ssl = openssl_dtls::openssl::ssl::Ssl::new(context).unwrap();
        (
            context.verify_mode(),
            ssl.version2(),
            context.private_key().is_some(),
            format!("{:?}", context.session_cache_size()),
            context.cert_store().all_certificates().len(),
        )
    };
    let before: Vec<_> = contexts.iter().map(facts).collect();
    let adopted = (
        adopt(contexts[0].clone(), Role::Client),
        adopt(contexts[1].clone(), Role::Server),
    );
    drop(Pair::connected(&adopted));
    let after: Vec<_> = contexts.iter().map(facts).collect();
    assert_eq!(before, after);
    // What our connections need is not in the context: others made from it go without.
    let mut builder = builder();
    let options = builder.options();
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    assert!(!options.contains(SslOptions::NO_RENEGOTIATION));
}

#[test]
fn ssl_is_lent_while_libssl_serves_the_connection() {
    let contexts = (
        adopt(trusting(), Role::Client),
        adopt(serving(), Role::Server),
    );
    let mut pair = Pair::new(&contexts);
    assert!(!pair.client.ssl().unwrap().is_init_finished());
    pair.handshake();
    let ssl = pair.client.ssl().unwrap();
    assert!(ssl.is_init_finished());
    assert_eq!(ssl.version_str(), "DTLSv1.2");
    assert!(ssl.peer_certificate().is_some());
    pair.client.close();
    assert!(pair.client.ssl().is_none());
}

#[test]
fn contexts_that_cannot_serve_are_refused() {
    let adopt = |builder: SslContextBuilder, role| {
        Context::adopt(builder, role, TransportConfig::default())
    };
    let stream = SslContext::builder(SslMethod::tls()).unwrap();
    assert!(matches!(
        adopt(stream, Role::Client),
        Err(ConfigError::NotDtls)
    ));
    let only_client = SslContext::builder(SslMethod::dtls_client()).unwrap();
    assert!(matches!(
        adopt(only_client, Role::Server),
        Err(ConfigError::WrongRole {
            wanted: Role::Server
        })
    ));
    let mut nothing = builder();
    nothing.set_cipher_list("PSK").unwrap();
    assert!(matches!(
        adopt(nothing, Role::Client),
        Err(ConfigError::NotAdoptable { .. })
    ));
    let server = adopt(serving(), Role::Server).unwrap();
    assert!(matches!(
        Connection::client(&server, client_addr(), None, clock::now()),
        Err(ConfigError::WrongRole { .. })
    ));
}

#[cfg(feature = "udp")]
mod switched {
    //! A program on plain `openssl`, and the same after it changed its transport.

    use std::io::{self, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

    use openssl_dtls::openssl::ssl::{Ssl, SslContextBuilder};
    use openssl_dtls::udp::blocking::Client;
    use openssl_dtls::{Role, ServerName};

    use super::{adopt, trusting};
    use crate::loopback::{DEADLINE, Server};
    use crate::support::certs;

    const MESSAGE: &[u8] = b"21.5 degrees";

    /// What the program has had from its beginning.
    fn configuration() -> SslContextBuilder {
        let mut builder = trusting();
        builder.set_alpn_protos(b"\x04coap").unwrap();
        builder
    }

    /// A connected socket as a stream: one read or write for each datagram.
    #[derive(Debug)]
    struct Datagrams(UdpSocket);

    impl Read for Datagrams {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.recv(buffer)
        }
    }

    impl Write for Datagrams {
        fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
            self.0.send(datagram)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn before(server: SocketAddr) -> Vec<u8> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut ssl = Ssl::new(&configuration().build()).unwrap();
        ssl.set_mtu(1200).unwrap();
        ssl.set_hostname("localhost").unwrap();
        ssl.param_mut().set_host("localhost").unwrap();
        let mut client = ssl.connect(Datagrams(socket)).unwrap();
        client.write_all(MESSAGE).unwrap();
        let mut answer = vec![0; 1500];
        let length = client.read(&mut answer).unwrap();
        answer.truncate(length);
        client.shutdown().unwrap();
        answer
    }

    fn after(server: SocketAddr) -> Vec<u8> {
        let context = adopt(configuration(), Role::Client);
        let name = ServerName::try_from("localhost").unwrap();
        let client = Client::connect(&context, server, Some(name)).unwrap();
        client.set_read_timeout(Some(DEADLINE));
        client.send(MESSAGE).unwrap();
        let mut answer = vec![0; 1500];
        let length = client.recv(&mut answer).unwrap().unwrap();
        answer.truncate(length);
        client.close().unwrap();
        answer
    }

    #[test]
    fn program_works_before_and_after_it_changes_its_transport() {
        let context = openssl_dtls::Context::server(certs::server_identity());
        let server = Server::new(&context.build().unwrap());
        for program in [before, after] {
            assert_eq!(program(server.address), MESSAGE);
            assert_eq!(server.connected().server_name(), Some("localhost"));
            server.assert_message(MESSAGE);
            server.closed();
        }
    }
}
