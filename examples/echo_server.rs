//! Answers every message with itself, to many peers over one socket.
//!
//! Try it with the `echo_client` example, or with `openssl s_client -dtls1_2`.

#[path = "common/certificates.rs"]
mod certificates;
#[path = "common/psk.rs"]
mod psk;
#[path = "common/report.rs"]
mod report;
#[path = "common/settings.rs"]
mod settings;

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::udp::blocking::{End, Handler, Peer, Server, ServerConfig, ServerError};
use openssl_dtls::{
    ClientCertificates, CloseReason, ConnectionHandle, Context, EndpointConfig, Identity, Mtu, Psk,
    PskLookup, TransportConfig,
};

use crate::certificates::Authority;
use crate::settings::Settings;

/// How long a peer may be silent.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// Answers every DTLS message with itself.
#[derive(Parser)]
#[command(group = ArgGroup::new("credentials").required(true).args(["cert", "psk", "self_signed"]))]
struct Arguments {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// The server's certificate and those above it, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Require client certificates of these authorities, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
    /// A pre-shared key: an identity, and the key in hexadecimal digits
    #[arg(long, value_name = "ID:HEX", value_parser = psk::parse)]
    psk: Option<Psk>,
    /// What to send to clients that are to choose their pre-shared key by it
    #[arg(long, value_name = "TEXT", requires = "psk")]
    psk_hint: Option<String>,
    /// Make a certificate for localhost, which no client can verify
    #[arg(long)]
    self_signed: bool,
    /// Accept DTLS 1.0 too, which is not secure any more
    #[arg(long = "dtls1.0")]
    dtls1_0: bool,
    /// The largest datagram to send, in bytes of UDP payload
    #[arg(long, value_name = "N", value_parser = parse_mtu)]
    mtu: Option<Mtu>,
    #[command(flatten)]
    settings: Settings,
    /// Serve one peer and exit
    #[arg(long)]
    once: bool,
    /// How many connections there may be
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// How many handshakes may be under way, from everywhere and from one network
    #[arg(long, value_name = "N")]
    max_handshakes: Option<usize>,
    /// Print counts every so many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    stats: Option<u64>,
    /// Say nothing about peers
    #[arg(long)]
    quiet: bool,
}

fn parse_mtu(given: &str) -> Result<Mtu, String> {
    let bytes = given.parse().map_err(|_| "expected a number of bytes")?;
    Mtu::new(bytes).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("echo_server: {}", report::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Serves; with `--once` answers whether that one peer closed in an orderly way.
fn run(arguments: Arguments) -> Result<bool, Box<dyn Error>> {
    let context = context(&arguments)?;
    let mut endpoint = EndpointConfig::new().idle_timeout(Some(LONGEST_SILENCE));
    if let Some(connections) = arguments.max_connections {
        endpoint = endpoint.max_connections(connections);
    }
    if let Some(handshakes) = arguments.max_handshakes {
        endpoint = endpoint
            .max_half_open(handshakes)
            .max_half_open_per_prefix(handshakes);
    }
    let config = ServerConfig::new().endpoint(endpoint);
    let server = Server::bind(arguments.listen, &context, config).map_err(|error| match error {
        ServerError::Io(error) => format!("cannot listen on {}: {error}", arguments.listen).into(),
        error => Box::<dyn Error>::from(error),
    })?;
    println!("listening on {}", server.local_addr()?);
    if let Some(seconds) = arguments.stats {
        let server = server.clone();
        thread::spawn(move || print_stats(&server, Duration::from_secs(seconds)));
    }
    let mut echo = Echo {
        server: server.clone(),
        once: arguments.once,
        quiet: arguments.quiet,
        ended: None,
    };
    server.run(&mut echo)?;
    Ok(echo.ended == Some(true))
}

/// Answers every message, and says so.
struct Echo {
    server: Server,
    once: bool,
    quiet: bool,
    /// How the first peer that is gone went: in an orderly way or not.
    ended: Option<bool>,
}

impl Echo {
    fn say(&self, handle: ConnectionHandle, what: impl FnOnce() -> String) {
        if self.quiet {
            return;
        }
        // A handshake that was given up for others has no address any more.
        match self.server.path(handle) {
            Some(path) => println!("{} {}", path.peer, what()),
            None => println!("a peer {}", what()),
        }
    }

    fn end(&mut self, handle: ConnectionHandle, end: End<'_>) {
        let orderly = matches!(end, End::Closed(CloseReason::Peer | CloseReason::Local));
        self.say(handle, || match end {
            End::Closed(CloseReason::IdleTimeout) => "silent for too long".to_owned(),
            End::Closed(CloseReason::Peer | CloseReason::Local) => {
                let stats = self.server.connection_stats(handle).unwrap_or_default();
                format!("closed after {} messages", stats.messages_sent)
            }
            End::Closed(reason) => format!("gave way: {reason:?}"),
            End::Failed(error) => format!("failed: {}", report::chain(error)),
            _ => "gone".to_owned(),
        });
        if matches!(
            end,
            End::Closed(CloseReason::Replaced | CloseReason::Evicted)
        ) {
            // Another handshake goes on in its place.
            return;
        }
        self.ended.get_or_insert(orderly);
        if self.once {
            self.server.stop();
        }
    }
}

impl Handler for Echo {
    fn connected(&mut self, peer: &mut Peer<'_>) {
        self.say(peer.handle(), || match peer.handshake_info() {
            Some(info) => format!("connected: {}", report::agreed(&info)),
            None => "connected".to_owned(),
        });
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: &[u8]) {
        let sent = peer.send(message);
        self.say(peer.handle(), || match sent {
            Ok(()) => format!("echo of {} bytes", message.len()),
            Err(error) => format!("no echo: {}", report::chain(&error)),
        });
    }

    fn closed(&mut self, handle: ConnectionHandle, end: End<'_>) {
        self.end(handle, end);
    }

    fn handshake_failed(&mut self, handle: ConnectionHandle, end: End<'_>) {
        self.end(handle, end);
    }
}

/// Prints one line of counts every `interval`.
fn print_stats(server: &Server, interval: Duration) {
    loop {
        thread::sleep(interval);
        let stats = server.stats();
        let (endpoint, udp) = (&stats.endpoint, &stats.udp);
        println!(
            "stats: received {} datagrams {} bytes, sent {} datagrams {} bytes, cookies sent {} accepted {} rejected {}, \
             handshakes begun {} completed {} failed {} timed out {} evicted {}, connections {} half-open {}, \
             messages received {} sent {}, dropped {}",
            udp.datagrams_received,
            udp.bytes_received,
            udp.datagrams_sent,
            udp.bytes_sent,
            endpoint.cookies_sent,
            endpoint.cookies_accepted,
            endpoint.cookies_rejected,
            endpoint.accepted.begun,
            endpoint.accepted.completed,
            endpoint.accepted.failed,
            endpoint.accepted.timed_out,
            endpoint.accepted.evicted,
            endpoint.connections,
            endpoint.half_open,
            endpoint.messages_received,
            endpoint.messages_sent,
            endpoint.drops.total(),
        );
    }
}

fn context(arguments: &Arguments) -> Result<Context, Box<dyn Error>> {
    let mut builder = match (&arguments.cert, &arguments.key, &arguments.psk) {
        (Some(cert), Some(key), _) => Context::server(Identity::from_files(cert, key)?),
        (_, _, Some(psk)) => {
            let mut look_up = PskLookup::single(psk.clone());
            if let Some(hint) = &arguments.psk_hint {
                look_up = look_up.with_hint(hint.as_bytes())?;
            }
            Context::server(look_up)
        }
        _ => Context::server(self_signed()?),
    };
    if let Some(authorities) = &arguments.client_ca {
        builder = builder
            .trust_file(authorities)
            .client_certificates(ClientCertificates::Required);
    }
    if arguments.settings.fingerprint.is_some() {
        builder = builder.client_certificates(ClientCertificates::Required);
    }
    builder = arguments.settings.apply(builder);
    if arguments.dtls1_0 {
        builder = builder.dangerous().allow_dtls1_0();
    }
    let mut transport = TransportConfig::new();
    if let Some(mtu) = arguments.mtu {
        transport = transport.mtu(mtu);
    }
    Ok(builder.transport(transport).build()?)
}

fn self_signed() -> Result<Identity, Box<dyn Error>> {
    let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let identity = Authority::new("echo_server")?.issue("localhost", &addresses)?;
    let digest = identity.certificate().digest(MessageDigest::sha256())?;
    println!("certificate with SHA-256 digest {}", hex::encode(digest));
    Ok(identity)
}
