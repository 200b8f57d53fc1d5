//! A secure UDP client in Qt's shape: sends pings, prints the answers, and takes its leave.
//!
//! Try it with the `secure_udp_server` example, or with Qt's.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Parser};
use openssl_dtls::TransportConfig;
use openssl_dtls::openssl::x509::X509;
use openssl_dtls::qdtls::{Dtls, DtlsConfiguration, DtlsError, Error as Failure, SslMode};

/// Sends pings over DTLS and prints the answers, with a client in the shape of Qt's example of this name.
#[derive(Parser)]
#[command(group = ArgGroup::new("trust").required(true).args(["ca", "psk"]))]
struct Arguments {
    /// The server
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:22334")]
    connect: String,
    /// The name its certificate must have [default: the host of --connect]
    #[arg(long, value_name = "NAME", requires = "ca")]
    server_name: Option<String>,
    /// Trust certificates of these authorities, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A pre-shared key: an identity, and the key in hexadecimal digits
    #[arg(long, value_name = "ID:HEX", value_parser = parse_psk)]
    psk: Option<Psk>,
    /// What the pings are signed with
    #[arg(long, value_name = "NAME", default_value = "secure_udp_client")]
    name: String,
    /// How many pings to send
    #[arg(long, value_name = "N", default_value_t = 3)]
    pings: u32,
    /// Seconds between two pings
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = parse_seconds)]
    interval: f64,
    /// Seconds to wait for the handshake, and for each answer
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = parse_seconds)]
    timeout: f64,
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

fn parse_seconds(given: &str) -> Result<f64, String> {
    match given.parse() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0.001 to 3600".to_owned()),
    }
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
    let (host, _) = arguments
        .connect
        .rsplit_once(':')
        .ok_or("expected HOST:PORT")?;
    let server = arguments
        .connect
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {}: {error}", arguments.connect))?
        .next()
        .ok_or_else(|| format!("{host} has no address"))?;
    let name = arguments.server_name.as_deref().unwrap_or(host);
    let mut client = Client {
        socket: bind(server)?,
        dtls: dtls(arguments, server, name)?,
        patience: Duration::from_secs_f64(arguments.timeout),
    };
    client.handshake()?;
    let cipher = client.dtls.session_cipher().unwrap_or_default();
    println!("connected to {server} with {cipher}");
    for number in 1..=arguments.pings {
        if number > 1 {
            std::thread::sleep(Duration::from_secs_f64(arguments.interval));
        }
        let ping = format!("I am {}, please accept ping {number}", arguments.name);
        client.ping(&ping)?;
    }
    client
        .dtls
        .shutdown(&client.socket)
        .map_err(|error| error.error_string())?;
    println!("closed");
    Ok(())
}

fn bind(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    // Only the server is heard.
    socket.connect(server)?;
    Ok(socket)
}

fn dtls(arguments: &Arguments, server: SocketAddr, name: &str) -> Result<Dtls, Box<dyn Error>> {
    let mut configuration = DtlsConfiguration::default_dtls_configuration();
    let patience = Duration::from_secs_f64(arguments.timeout);
    configuration.set_transport(TransportConfig::default().handshake_timeout(patience));
    let mut dtls = Dtls::new(SslMode::SslClientMode);
    if let Some(ca) = &arguments.ca {
        let pem =
            std::fs::read(ca).map_err(|error| format!("cannot read {}: {error}", ca.display()))?;
        configuration.set_ca_certificates(X509::stack_from_pem(&pem)?);
    }
    if let Some(psk) = arguments.psk.clone() {
        // The key proves the server; no certificate does.
        configuration.set_ca_certificates(Vec::new());
        dtls.on_psk_required(move |authenticator| {
            let hint = String::from_utf8_lossy(authenticator.identity_hint()).into_owned();
            if !hint.is_empty() {
                println!("the server's hint: {hint}");
            }
            let set = authenticator
                .set_identity(&psk.identity)
                .and_then(|()| authenticator.set_pre_shared_key(&psk.key));
            if let Err(error) = set {
                eprintln!("{}", error.error_string());
            }
        });
    }
    dtls.set_dtls_configuration(configuration)?;
    dtls.set_peer(server, if arguments.ca.is_some() { name } else { "" })
        .map_err(|error| error.error_string())?;
    Ok(dtls)
}

struct Client {
    socket: UdpSocket,
    dtls: Dtls,
    patience: Duration,
}

impl Client {
    fn handshake(&mut self) -> Result<(), Box<dyn Error>> {
        let mut stepped = self.dtls.do_handshake(&self.socket, &[]).map(drop);
        loop {
            if let Err(error) = stepped {
                self.explain(&error)?;
            }
            if self.dtls.is_connection_encrypted() {
                return Ok(());
            }
            let next = self.dtls.next_timeout().ok_or("the handshake is over")?;
            stepped = match self.receive(next)? {
                Some(datagram) => self.dtls.do_handshake(&self.socket, &datagram).map(drop),
                None => self.dtls.handle_timeout(&self.socket).map(drop),
            };
        }
    }

    /// Ends with `error`, unless the handshake goes on all the same.
    fn explain(&mut self, error: &Failure) -> Result<(), String> {
        match error.kind() {
            // A datagram that the socket refused comes again.
            DtlsError::UnderlyingSocketError => Ok(()),
            DtlsError::PeerVerificationError => {
                let objections: Vec<_> = self
                    .dtls
                    .peer_verification_errors()
                    .iter()
                    .map(|objection| objection.error_string())
                    .collect();
                Err(format!("not the right server: {}", objections.join(" ")))
            }
            _ => Err(error.error_string()),
        }
    }

    /// Sends `ping` until an answer comes.
    fn ping(&mut self, ping: &str) -> Result<(), Box<dyn Error>> {
        let end = Instant::now() + self.patience;
        let resend = self.patience / 5;
        while Instant::now() < end {
            let sent = self
                .dtls
                .write_datagram_encrypted(&self.socket, ping.as_bytes());
            match sent {
                Err(error) if error.kind() != DtlsError::UnderlyingSocketError => {
                    return Err(error.error_string().into());
                }
                // What is lost is sent again below.
                _ => println!("sent: {ping}"),
            }
            if let Some(answer) = self.answer(Instant::now() + resend)? {
                println!("answer: {}", String::from_utf8_lossy(&answer));
                return Ok(());
            }
        }
        Err("no answer".into())
    }

    /// The next message of the server, if it comes in time.
    fn answer(&mut self, until: Instant) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        if let Some(early) = self.dtls.take_messages().into_iter().next() {
            return Ok(Some(early));
        }
        while let Some(datagram) = self.receive(until)? {
            let decrypted = self
                .dtls
                .decrypt_datagram(&self.socket, &datagram)
                .map_err(|error| error.error_string())?;
            if let Some(message) = decrypted.into_iter().next() {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The next datagram, if it comes in time.
    fn receive(&self, until: Instant) -> Result<Option<Vec<u8>>, io::Error> {
        let mut buffer = vec![0; 65_536];
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(wait))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    buffer.truncate(length);
                    return Ok(Some(buffer));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                // Nobody listens there yet; a handshake tries again.
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused
                        && !self.dtls.is_connection_encrypted() => {}
                Err(error) => return Err(error),
            }
        }
    }
}
