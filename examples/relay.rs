//! Stands between plain UDP and DTLS, datagram for datagram, each peer on a socket of its own.
//!
//! As a terminator, in front of a server that speaks plain UDP; as its mirror (`--originate`), in front of clients that do:
//!
//! ```text
//! plain client --UDP--> relay --originate ==DTLS==> relay --UDP--> plain server
//! ```

#[path = "common/psk.rs"]
mod psk;
#[path = "common/report.rs"]
mod report;
#[path = "common/settings.rs"]
mod settings;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use clap::Parser;
use openssl_dtls::udp::blocking::{Client, ClientError, End, Handler, Peer, Server, ServerConfig};
use openssl_dtls::{
    ConnectionHandle, Context, EndpointConfig, Identity, Psk, PskLookup, ServerName,
    TransportConfig,
};

use crate::settings::Settings;

/// How long a peer may be silent in both directions.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// How often a thread that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(250);
/// More peers than this wait until others have gone.
const MOST_PEERS: usize = 1024;
/// Datagrams that wait for a handshake.
const MOST_WAITING: usize = 16;
/// Room for the largest message, in bytes.
const LARGEST_MESSAGE: usize = 16_384;

/// Relays between DTLS and plain UDP, datagram for datagram.
///
/// Takes DTLS and passes it on as plain UDP, with --cert and --key or with --psk. With --originate it takes plain UDP and
/// passes it on as DTLS, with --ca, --psk, --fingerprint or --insecure.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Where to pass it on
    #[arg(long, value_name = "HOST:PORT")]
    upstream: String,
    /// Take plain UDP and pass it on as DTLS
    #[arg(long)]
    originate: bool,
    /// The certificate to show and those above it, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A pre-shared key: an identity, and the key in hexadecimal digits
    #[arg(long, value_name = "ID:HEX", value_parser = psk::parse)]
    psk: Option<Psk>,
    /// The authorities to trust, PEM
    #[arg(long, value_name = "FILE", requires = "originate")]
    ca: Option<PathBuf>,
    /// Take any certificate: anybody on the path can be the server
    #[arg(long, requires = "originate", conflicts_with = "ca")]
    insecure: bool,
    /// The name the server's certificate must have [default: HOST]
    #[arg(long, value_name = "NAME", requires = "originate", value_parser = parse_name)]
    server_name: Option<ServerName>,
    #[command(flatten)]
    settings: Settings,
}

fn parse_name(given: &str) -> Result<ServerName, String> {
    ServerName::try_from(given).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = if arguments.originate {
        originate(&arguments)
    } else {
        terminate(&arguments)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {}", report::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn resolve(host: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let mut found = host
        .to_socket_addrs()
        .map_err(|error| format!("cannot resolve {host}: {error}"))?;
    Ok(found
        .next()
        .ok_or_else(|| format!("no address for {host}"))?)
}

/// Errors that say something about one datagram, or that nothing came, but not about the socket.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
    )
}

/// Takes DTLS and passes it on as plain UDP.
fn terminate(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let builder = match (&arguments.cert, &arguments.key, &arguments.psk) {
        (Some(cert), Some(key), None) => Context::server(Identity::from_files(cert, key)?),
        (None, _, Some(psk)) => Context::server(PskLookup::single(psk.clone())),
        (Some(cert), Some(key), Some(psk)) => Context::server((
            Identity::from_files(cert, key)?,
            PskLookup::single(psk.clone()),
        )),
        _ => return Err("a certificate and its key or a pre-shared key is needed".into()),
    };
    let transport = TransportConfig::new().allow_oversize(true);
    let context = arguments
        .settings
        .apply(builder)
        .transport(transport)
        .build()?;
    let upstream = resolve(&arguments.upstream)?;
    let endpoint = EndpointConfig::new()
        .idle_timeout(Some(LONGEST_SILENCE))
        .max_connections(MOST_PEERS);
    let config = ServerConfig::new().endpoint(endpoint);
    let server = Server::bind(arguments.listen, &context, config)?;
    println!("listening on {}", server.local_addr()?);
    let mut links = Links {
        upstream,
        open: HashMap::new(),
    };
    Ok(server.run(&mut links)?)
}

/// The plain sockets of a terminator, one for each connection.
struct Links {
    upstream: SocketAddr,
    open: HashMap<ConnectionHandle, Link>,
}

/// Tells its thread to end when it goes.
struct Link {
    socket: Arc<UdpSocket>,
    over: Arc<AtomicBool>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Link {
    /// A socket towards `upstream`, and a thread that brings back what comes from there.
    fn new(upstream: SocketAddr, server: &Server, handle: ConnectionHandle) -> io::Result<Link> {
        let any = match upstream {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = Arc::new(UdpSocket::bind(any)?);
        socket.connect(upstream)?;
        socket.set_read_timeout(Some(LOOK))?;
        let link = Link {
            socket: socket.clone(),
            over: Arc::default(),
        };
        let (server, over) = (server.clone(), link.over.clone());
        thread::spawn(move || {
            let mut datagram = vec![0; LARGEST_MESSAGE];
            while !over.load(Ordering::Relaxed) {
                match socket.recv(&mut datagram) {
                    Ok(0) => {}
                    Ok(length) => {
                        if let Err(error) = server.send(handle, &datagram[..length]) {
                            println!("dropped {length} bytes: {}", report::chain(&error));
                        }
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        println!("no more from upstream: {error}");
                        server.close(handle);
                        break;
                    }
                }
            }
        });
        Ok(link)
    }
}

impl Handler for Links {
    fn connected(&mut self, peer: &mut Peer<'_>) {
        match Link::new(self.upstream, peer.server(), peer.handle()) {
            Ok(link) => {
                self.open.insert(peer.handle(), link);
                if let (Some(path), Some(info)) = (peer.path(), peer.handshake_info()) {
                    println!("{} connected: {}", path.peer, report::agreed(&info));
                }
            }
            Err(error) => {
                println!("no socket for a connection: {error}");
                peer.close();
            }
        }
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: &[u8]) {
        if let Some(link) = self.open.get(&peer.handle())
            && let Err(error) = link.socket.send(message)
        {
            println!("dropped {} bytes: {error}", message.len());
        }
    }

    fn closed(&mut self, handle: ConnectionHandle, _end: End<'_>) {
        self.open.remove(&handle);
        println!("closed, {} open", self.open.len());
    }
}

/// What every connection of an originator is made with.
struct Origin {
    context: Context,
    upstream: String,
    server_name: Option<ServerName>,
    socket: UdpSocket,
}

/// Takes plain UDP and passes it on as DTLS.
fn originate(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut builder = Context::client();
    if let Some(authorities) = &arguments.ca {
        builder = builder.trust_file(authorities);
    }
    if let Some(psk) = &arguments.psk {
        builder = builder.psk(psk.clone());
    }
    if arguments.insecure {
        builder = builder.dangerous().no_verification();
    }
    if let (Some(cert), Some(key)) = (&arguments.cert, &arguments.key) {
        builder = builder.identity(Identity::from_files(cert, key)?);
    }
    let transport = TransportConfig::new().allow_oversize(true);
    let server_name = match &arguments.server_name {
        Some(name) => Some(name.clone()),
        None if arguments.ca.is_none() => None,
        None => {
            let host = arguments.upstream.rsplit_once(':').map(|(host, _)| host);
            Some(ServerName::try_from(host.ok_or("expected HOST:PORT")?)?)
        }
    };
    let origin = Arc::new(Origin {
        context: arguments
            .settings
            .apply(builder)
            .transport(transport)
            .build()?,
        upstream: arguments.upstream.clone(),
        server_name,
        socket: UdpSocket::bind(arguments.listen)?,
    });
    println!("listening on {}", origin.socket.local_addr()?);
    let mut peers: HashMap<SocketAddr, SyncSender<Vec<u8>>> = HashMap::new();
    let mut datagram = vec![0; LARGEST_MESSAGE];
    loop {
        let (length, from) = match origin.socket.recv_from(&mut datagram) {
            Ok(received) => received,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let message = datagram[..length].to_vec();
        let message = match peers.get(&from).map(|peer| peer.try_send(message)) {
            Some(Ok(()) | Err(TrySendError::Full(_))) => continue,
            // Its connection is over, and so is its thread.
            Some(Err(TrySendError::Disconnected(message))) => message,
            None => datagram[..length].to_vec(),
        };
        peers.remove(&from);
        if peers.len() >= MOST_PEERS {
            // An empty message is not passed on, and finds out who is gone.
            peers.retain(|_, peer| {
                !matches!(
                    peer.try_send(Vec::new()),
                    Err(TrySendError::Disconnected(_))
                )
            });
        }
        if peers.len() < MOST_PEERS {
            let (sender, receiver) = mpsc::sync_channel(MOST_WAITING);
            // The channel is empty and its other end is here.
            sender.try_send(message)?;
            peers.insert(from, sender);
            let origin = origin.clone();
            thread::spawn(move || match carry(&origin, from, &receiver) {
                Ok(()) => println!("{from} is gone"),
                Err(error) => println!("{from} failed: {}", report::chain(&error)),
            });
        }
    }
}

/// Serves one plain peer until it is silent, or its connection over.
fn carry(
    origin: &Origin,
    from: SocketAddr,
    messages: &Receiver<Vec<u8>>,
) -> Result<(), ClientError> {
    let name = origin.server_name.clone();
    let client = Client::connect(&origin.context, origin.upstream.as_str(), name)?;
    if let Some(info) = client.handshake_info() {
        println!("{from} connected: {}", report::agreed(&info));
    }
    let heard = AtomicBool::new(false);
    thread::scope(|scope| {
        let back = scope.spawn(|| {
            let mut message = vec![0; LARGEST_MESSAGE];
            while let Some(length) = client.recv(&mut message)? {
                heard.store(true, Ordering::Relaxed);
                origin.socket.send_to(&message[..length], from)?;
            }
            Ok::<(), ClientError>(())
        });
        let mut silence = Duration::ZERO;
        while silence < LONGEST_SILENCE && !back.is_finished() {
            match messages.recv_timeout(LOOK) {
                Ok(message) if message.is_empty() => {}
                Ok(message) => {
                    silence = Duration::ZERO;
                    if let Err(error) = client.send(&message) {
                        println!("dropped {} bytes: {}", message.len(), report::chain(&error));
                    }
                }
                Err(_) => silence += LOOK,
            }
            if heard.swap(false, Ordering::Relaxed) {
                silence = Duration::ZERO;
            }
        }
        let closed = client.close();
        match back.join() {
            Ok(outcome) => outcome.and(closed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
