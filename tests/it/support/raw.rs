//! An end of a connection that is nothing but libssl: what a program without this crate has.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use foreign_types::ForeignTypeRef;
use openssl_dtls::openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use openssl_dtls::openssl::x509::X509;

use super::{IDENTITY, KEY, certs};

/// The datagrams between libssl and its peer.
#[derive(Debug, Default)]
pub struct Pipe {
    pub incoming: VecDeque<Vec<u8>>,
    pub outgoing: VecDeque<Vec<u8>>,
    /// Refuses so many datagrams, as a full socket does.
    pub refuse: usize,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(datagram) = self.incoming.pop_front() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let length = datagram.len().min(buffer.len());
        buffer[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if self.refuse > 0 {
            self.refuse -= 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One end.
pub struct Raw {
    pub stream: SslStream<Pipe>,
}

impl Raw {
    pub fn client(context: &SslContext, set_up: impl FnOnce(&mut Ssl)) -> Raw {
        let mut ssl = Ssl::new(context).unwrap();
        ssl.set_connect_state();
        set_up(&mut ssl);
        Raw {
            stream: SslStream::new(ssl, Pipe::default()).unwrap(),
        }
    }

    pub fn server(context: &SslContext) -> Raw {
        let mut ssl = Ssl::new(context).unwrap();
        ssl.set_accept_state();
        Raw {
            stream: SslStream::new(ssl, Pipe::default()).unwrap(),
        }
    }

    /// Goes on with the handshake; answers whether it is complete, and panics if it failed.
    pub fn step(&mut self) -> bool {
        match self.stream.do_handshake() {
            Ok(()) => true,
            Err(error) if error.code() == ErrorCode::WANT_READ => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Asks for new keys on a connection that has some; the next call says so to the peer.
    #[expect(unsafe_code, reason = "has no safe binding")]
    pub fn renegotiate(&mut self) {
        unsafe extern "C" {
            fn SSL_renegotiate(ssl: *mut openssl_sys::SSL) -> core::ffi::c_int;
        }
        // SAFETY: the `SSL` is valid.
        assert_eq!(unsafe { SSL_renegotiate(self.stream.ssl().as_ptr()) }, 1);
    }

    /// Carries all datagrams to `other`, and answers their lengths.
    pub fn carry_to(&mut self, other: &mut Raw) -> Vec<usize> {
        let datagrams: Vec<_> = self.stream.get_mut().outgoing.drain(..).collect();
        let lengths = datagrams.iter().map(Vec::len).collect();
        other.stream.get_mut().incoming.extend(datagrams);
        lengths
    }
}

fn builder() -> SslContextBuilder {
    let mut builder = SslContextBuilder::new(SslMethod::dtls()).unwrap();
    builder
        .set_min_proto_version(Some(SslVersion::DTLS1_2))
        .unwrap();
    builder
}

/// A client with the tests' pre-shared key.
pub fn psk_client(suites: &str) -> SslContextBuilder {
    let mut builder = builder();
    builder.set_cipher_list(suites).unwrap();
    builder.set_psk_client_callback(|_, _, identity, key| {
        identity[..IDENTITY.len()].copy_from_slice(IDENTITY);
        key[..KEY.len()].copy_from_slice(KEY);
        Ok(KEY.len())
    });
    builder
}

/// A server with the tests' pre-shared key.
pub fn psk_server(suites: &str) -> SslContextBuilder {
    let mut builder = builder();
    builder.set_cipher_list(suites).unwrap();
    builder.set_psk_server_callback(|_, _, key| {
        key[..KEY.len()].copy_from_slice(KEY);
        Ok(KEY.len())
    });
    builder
}

/// A client that trusts `authority`.
pub fn certificate_client(authority: &X509) -> SslContextBuilder {
    let mut builder = builder();
    builder.set_verify(SslVerifyMode::PEER);
    builder
        .cert_store_mut()
        .add_cert(authority.clone())
        .unwrap();
    builder
}

/// A server that shows the tests' certificate.
pub fn certificate_server() -> SslContextBuilder {
    let mut builder = builder();
    builder
        .set_certificate(certs::server_identity().certificate())
        .unwrap();
    builder.set_private_key(&certs::server_key()).unwrap();
    builder
}

/// A pair that has completed its handshake.
pub fn connected(client: SslContextBuilder, server: SslContextBuilder) -> (Raw, Raw) {
    let mut client = Raw::client(&client.build(), |_| ());
    let mut server = Raw::server(&server.build());
    loop {
        let client_done = client.step();
        client.carry_to(&mut server);
        let server_done = server.step();
        server.carry_to(&mut client);
        if client_done && server_done {
            return (client, server);
        }
    }
}
