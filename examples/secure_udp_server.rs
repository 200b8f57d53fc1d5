//! A secure UDP server in Qt's shape: acknowledges every message, for many clients over one socket.
//!
//! Try it with the `secure_udp_client` example, or with Qt's.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Parser};
use openssl_dtls::openssl::pkey::PKey;
use openssl_dtls::openssl::x509::X509;
use openssl_dtls::qdtls::{
    Dtls, DtlsClientVerifier, DtlsConfiguration, DtlsError, Error as Failure, HandshakeState,
    PeerVerifyMode, SslMode,
};

/// More clients than this are not let in.
const MOST_CLIENTS: usize = 1_000;
/// How long a client may be silent: most leave without a word.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// How often silent clients are looked for.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Acknowledges every DTLS message, with a server in the shape of Qt's example of this name.
#[derive(Parser)]
#[command(group = ArgGroup::new("credentials").required(true).multiple(true).args(["cert", "psk"]))]
struct Arguments {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:22334")]
    listen: SocketAddr,
    /// The server's certificate and those above it, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A pre-shared key: an identity, and the key in hexadecimal digits
    #[arg(long, value_name = "ID:HEX", value_parser = parse_psk)]
    psk: Option<Psk>,
    /// Serve so many clients and exit
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
}

/// An identity and its key.
#[derive(Clone)]
struct Psk {
    identity: Vec<u8>,
    key: Vec<u8>,
}

fn parse_psk(given: &str) -> Result<Psk, String> {
    let (identity, key) = given
        .rsplit_once(':')
        .ok_or("expected ID:HEX, an identity and a key")?;
    let key = hex::decode(key).map_err(|_| "the key must be pairs of hexadecimal digits")?;
    Ok(Psk {
        identity: identity.as_bytes().to_vec(),
        key,
    })
}

/// One client.
struct Client {
    dtls: Dtls,
    heard_at: Instant,
}

/// The clients of an address: the one that is there, and one that began anew and has not proved itself.
#[derive(Default)]
struct Clients {
    established: Option<Client>,
    beginning: Option<Client>,
}

struct Server {
    socket: UdpSocket,
    configuration: DtlsConfiguration,
    psk: Option<Psk>,
    verifier: DtlsClientVerifier,
    clients: HashMap<SocketAddr, Clients>,
    /// Clients that came and went.
    served: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    configuration.set_peer_verify_mode(PeerVerifyMode::VerifyNone);
    if let (Some(cert), Some(key)) = (&arguments.cert, &arguments.key) {
        configuration.set_local_certificate_chain(X509::stack_from_pem(&read(cert)?)?);
        configuration.set_private_key(PKey::private_key_from_pem_passphrase(&read(key)?, b"")?);
    }
    let socket = UdpSocket::bind(arguments.listen)?;
    println!("listening on {}", socket.local_addr()?);
    let mut server = Server {
        socket,
        configuration,
        psk: arguments.psk.clone(),
        verifier: DtlsClientVerifier::new()?,
        clients: HashMap::new(),
        served: 0,
    };
    let mut buffer = vec![0; 65_536];
    while arguments.clients.is_none_or(|most| server.served < most) {
        server
            .socket
            .set_read_timeout(Some(server.time_to_wait()))?;
        match server.socket.recv_from(&mut buffer) {
            Ok((length, peer)) => server.receive(peer, &buffer[..length]),
            Err(error) if is_harmless(&error) => {}
            Err(error) => return Err(error.into()),
        }
        server.pass_time();
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Nothing came, or a datagram of ours found nobody, which says nothing about the others.
fn is_harmless(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

impl Server {
    /// Until the next handshake wants to send again, but not longer than silent clients may wait.
    fn time_to_wait(&self) -> Duration {
        let next = self
            .clients
            .values()
            .filter_map(|clients| clients.beginning.as_ref()?.dtls.next_timeout())
            .min();
        let wait = next.map_or(LOOK_AROUND, |next| {
            next.saturating_duration_since(Instant::now())
        });
        // A socket takes zero for "for ever".
        wait.clamp(Duration::from_millis(1), LOOK_AROUND)
    }

    fn receive(&mut self, peer: SocketAddr, datagram: &[u8]) {
        let Some(clients) = self.clients.get_mut(&peer) else {
            return self.admit(peer, datagram);
        };
        if let Some(client) = &mut clients.beginning {
            client.heard_at = Instant::now();
            let stepped = client.dtls.do_handshake(&self.socket, datagram);
            return self.handshake_went_on(peer, stepped);
        }
        let Some(client) = &mut clients.established else {
            return;
        };
        if client.dtls.starts_new_handshake(datagram) {
            // A client that was started again. Whoever says so must return a cookie first, and the old association stays until the
            // new one is complete.
            return self.admit(peer, datagram);
        }
        client.heard_at = Instant::now();
        match client.dtls.decrypt_datagram(&self.socket, datagram) {
            Ok(messages) => {
                for message in messages {
                    self.acknowledge(peer, &message);
                }
            }
            Err(error) => {
                let left = client.dtls.take_messages();
                for message in left {
                    println!("{peer}: {}", String::from_utf8_lossy(&message));
                }
                match error.kind() {
                    DtlsError::RemoteClosedConnectionError => println!("{peer}: left"),
                    DtlsError::UnderlyingSocketError => return,
                    _ => println!("{peer}: {}", error.error_string()),
                }
                self.forget(peer);
            }
        }
    }

    /// Leads a client past the verifier, and begins with it.
    fn admit(&mut self, peer: SocketAddr, datagram: &[u8]) {
        match self.verifier.verify_client(&self.socket, datagram, peer) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return println!("{peer}: {}", error.error_string()),
        }
        if self.clients.len() >= MOST_CLIENTS && !self.clients.contains_key(&peer) {
            return println!("{peer}: turned away, there are {MOST_CLIENTS} clients");
        }
        match self.new_client(peer) {
            Ok(mut dtls) => {
                let stepped = dtls.do_handshake(&self.socket, self.verifier.verified_hello());
                let client = Client {
                    dtls,
                    heard_at: Instant::now(),
                };
                self.clients.entry(peer).or_default().beginning = Some(client);
                self.handshake_went_on(peer, stepped);
            }
            Err(error) => println!("{peer}: {}", error.error_string()),
        }
    }

    /// An object for the client at `peer`.
    fn new_client(&self, peer: SocketAddr) -> Result<Dtls, Failure> {
        let mut dtls = Dtls::new(SslMode::SslServerMode);
        dtls.set_dtls_configuration(self.configuration.clone())?;
        dtls.set_peer(peer, "")?;
        if let Some(psk) = self.psk.clone() {
            dtls.on_psk_required(move |authenticator| {
                // An unknown identity gets no key, and so no connection.
                if authenticator.identity() == psk.identity
                    && let Err(error) = authenticator.set_pre_shared_key(&psk.key)
                {
                    eprintln!("{}", error.error_string());
                }
            });
        }
        Ok(dtls)
    }

    /// Looks at a handshake after a step of it.
    fn handshake_went_on(&mut self, peer: SocketAddr, stepped: Result<HandshakeState, Failure>) {
        let Some(clients) = self.clients.get_mut(&peer) else {
            return;
        };
        if let Err(error) = stepped {
            // A datagram that the socket refused comes again.
            if error.kind() != DtlsError::UnderlyingSocketError {
                println!("{peer}: no handshake: {}", error.error_string());
                clients.beginning = None;
                if clients.established.is_none() {
                    self.clients.remove(&peer);
                }
                return;
            }
        }
        if clients
            .beginning
            .as_ref()
            .is_some_and(|client| client.dtls.is_connection_encrypted())
            && let Some(mut client) = clients.beginning.take()
        {
            let cipher = client.dtls.session_cipher().unwrap_or_default();
            println!("{peer}: connected with {cipher}");
            let early = client.dtls.take_messages();
            if clients.established.replace(client).is_some() {
                self.served += 1;
            }
            for message in early {
                self.acknowledge(peer, &message);
            }
        }
    }

    fn acknowledge(&mut self, peer: SocketAddr, message: &[u8]) {
        println!("{peer}: {}", String::from_utf8_lossy(message));
        let answer = format!("to {peer}: ACK");
        if let Some(client) = self
            .clients
            .get_mut(&peer)
            .and_then(|clients| clients.established.as_mut())
            && let Err(error) = client
                .dtls
                .write_datagram_encrypted(&self.socket, answer.as_bytes())
        {
            println!("{peer}: {}", error.error_string());
        }
    }

    /// Serves the timers of handshakes, and lets silent clients go.
    fn pass_time(&mut self) {
        let now = Instant::now();
        let due: Vec<SocketAddr> = self
            .clients
            .iter()
            .filter(|(_, clients)| {
                let next = clients
                    .beginning
                    .as_ref()
                    .and_then(|client| client.dtls.next_timeout());
                next.is_some_and(|next| next <= now)
            })
            .map(|(&peer, _)| peer)
            .collect();
        for peer in due {
            let Some(client) = self
                .clients
                .get_mut(&peer)
                .and_then(|clients| clients.beginning.as_mut())
            else {
                continue;
            };
            let stepped = client
                .dtls
                .handle_timeout(&self.socket)
                .map(|_| HandshakeState::HandshakeInProgress);
            self.handshake_went_on(peer, stepped);
        }
        let silent: Vec<SocketAddr> = self
            .clients
            .iter()
            .filter(|(_, clients)| {
                let established = clients.established.as_ref();
                established.is_some_and(|client| {
                    now.saturating_duration_since(client.heard_at) > LONGEST_SILENCE
                })
            })
            .map(|(&peer, _)| peer)
            .collect();
        for peer in silent {
            if let Some(client) = self
                .clients
                .get_mut(&peer)
                .and_then(|clients| clients.established.as_mut())
                && let Err(error) = client.dtls.shutdown(&self.socket)
            {
                println!("{peer}: {}", error.error_string());
            }
            println!("{peer}: silent for too long");
            self.forget(peer);
        }
    }

    /// The client of an address is gone; another may have begun there.
    fn forget(&mut self, peer: SocketAddr) {
        self.served += 1;
        if let Some(clients) = self.clients.get_mut(&peer) {
            clients.established = None;
            if clients.beginning.is_none() {
                self.clients.remove(&peer);
            }
        }
    }
}
