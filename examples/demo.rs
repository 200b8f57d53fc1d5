//! A server and a client in one process, over loopback UDP and a stretch of network that loses datagrams on purpose.
//!
//! Needs no arguments and no files: it makes an authority and certificates in memory.

#[path = "common/certificates.rs"]
mod certificates;
#[path = "common/echo.rs"]
mod echo;
#[path = "common/relay.rs"]
mod relay;
#[path = "common/report.rs"]
mod report;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use openssl_dtls::udp::blocking::{Client, ClientError};
use openssl_dtls::{ClientCertificates, Context, ServerName, TransportConfig};

use crate::certificates::Authority;
use crate::echo::{EchoServer, Notice};
use crate::relay::Relay;

const LOSS: f64 = 0.2;
const SEED: u64 = 1;
/// DTLS repeats its handshake, but not the messages of its users: the client does, so often, ...
const TRIES: u32 = 20;
/// ... when this long nothing came back.
const PATIENCE: Duration = Duration::from_millis(200);
const MESSAGES: [&str; 6] = [
    "21.5 degrees",
    "21.6 degrees",
    "21.4 degrees",
    "the door is open",
    "the door is closed",
    "good night",
];

/// Runs a DTLS server and a client in one process, over UDP on this machine, and loses datagrams between them on purpose.
#[derive(Parser)]
struct Arguments {}

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", report::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    println!("linked with {}", openssl_dtls::openssl::version::version());
    let authority = Authority::new("demo authority")?;
    // A loopback network answers at once, so there is no need to wait a whole second before a flight is sent again.
    let transport = TransportConfig::new()
        .retransmission(Duration::from_millis(200), Duration::from_millis(800));
    let server_context = Context::server(authority.issue("server.example", &[])?)
        .trust_certificate(authority.certificate.clone())
        .client_certificates(ClientCertificates::Required)
        .transport(transport.clone())
        .build()?;
    let client_context = Context::client()
        .identity(authority.issue("client.example", &[])?)
        .trust_certificate(authority.certificate.clone())
        .transport(transport)
        .build()?;

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    let (stop, stopped) = mpsc::channel();
    let server = thread::spawn(move || serve(socket, &server_context, &stopped));
    let relay = Relay::new(address, LOSS, SEED)?;
    println!(
        "server on {address}, behind a network that loses {:.0} % each way",
        LOSS * 100.0
    );

    let outcome = talk(&client_context, &relay);
    if outcome.is_err() {
        // Nobody will close that connection.
        drop(stop);
    }
    let served = server.join().map_err(|_| "the server panicked")?;
    outcome?;
    served?;
    Ok(())
}

/// The client's side: connects, exchanges messages, closes.
fn talk(context: &Context, relay: &Relay) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let name = ServerName::try_from("server.example")?;
    let client = Client::connect(context, relay.address(), Some(name))?;
    let info = client
        .handshake_info()
        .ok_or("the handshake left nothing to tell")?;
    let elapsed = begin.elapsed().as_millis();
    println!(
        "client: connected in {elapsed} ms: {}",
        report::agreed(&info)
    );
    let handshake = client.stats();
    let handshake_losses = relay.losses();

    client.set_read_timeout(Some(PATIENCE));
    let mut sent_again = 0;
    for message in MESSAGES {
        let tries = exchange(&client, message)?;
        println!("client: {message:?} came back, at try {tries}");
        sent_again += tries - 1;
    }

    let losses = relay.losses();
    for (direction, handshake, all) in [
        ("server", handshake_losses[0], losses[0]),
        ("client", handshake_losses[1], losses[1]),
    ] {
        println!(
            "to the {direction}: {} of {} datagrams lost, {} of {} of them in the handshake",
            all.0, all.1, handshake.0, handshake.1
        );
    }
    println!(
        "client: {} flights retransmitted in the handshake, {sent_again} messages sent again",
        handshake.retransmissions
    );
    if losses.iter().all(|(lost, _)| *lost == 0) {
        return Err("the network lost nothing".into());
    }

    // Nothing repeats a close, so let this one through.
    relay.stop_losing();
    client.close()?;
    if !client.stats().close_notify_sent {
        return Err("the close did not go out".into());
    }
    println!("client: closed");
    Ok(())
}

/// Sends a message until it comes back, and answers how often.
fn exchange(client: &Client, message: &str) -> Result<u32, Box<dyn Error>> {
    let mut answer = [0; 1024];
    for tries in 1..=TRIES {
        client.send(message.as_bytes())?;
        loop {
            match client.recv(&mut answer) {
                Ok(Some(length)) if answer[..length] == *message.as_bytes() => return Ok(tries),
                // The answer to an earlier message, which was sent twice and came late.
                Ok(Some(_)) => {}
                Ok(None) => return Err("the server closed".into()),
                Err(ClientError::TimedOut) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Err(format!("{message:?} never came back").into())
}

/// The server's side: until its peer closes, or until `stopped` says that it will not.
fn serve(socket: UdpSocket, context: &Context, stopped: &mpsc::Receiver<()>) -> Result<(), String> {
    let ended = std::cell::RefCell::new(None);
    let tell = |_: SocketAddr, notice: Notice<'_>| match notice {
        Notice::Connected(info) => println!("server: connected: {}", report::agreed(info)),
        Notice::Message(message) => {
            println!("server: got {:?}", String::from_utf8_lossy(message));
        }
        Notice::NotSent(error) => println!("server: no echo: {}", report::chain(&error)),
        Notice::Closed(stats) => {
            println!(
                "server: the client closed, after {} messages and {} flights retransmitted",
                stats.messages_received, stats.retransmissions
            );
            ended.replace(Some(Ok(())));
        }
        // A handshake that failed leaves its address free, and the client tries again.
        Notice::Failed(error) => println!("server: failed: {}", report::chain(&error)),
        Notice::Silent => {
            ended.replace(Some(Err("the client fell silent".to_owned())));
        }
    };
    let mut server =
        EchoServer::new(socket, context, tell).map_err(|error| report::chain(&*error))?;
    loop {
        server
            .turn(Duration::from_millis(100))
            .map_err(|error| report::chain(&error))?;
        if let Some(ended) = ended.take() {
            return ended;
        }
        if let Err(mpsc::TryRecvError::Disconnected) = stopped.try_recv() {
            return Err("the client gave up".to_owned());
        }
    }
}
