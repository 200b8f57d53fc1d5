//! Answers every message with itself, to many peers over one socket.
//!
//! Try it with the `echo_client` example, or with `openssl s_client -dtls1_2`.

#[path = "common/certificates.rs"]
mod certificates;
#[path = "common/echo.rs"]
mod echo;
#[path = "common/psk.rs"]
mod psk;
#[path = "common/report.rs"]
mod report;

use std::cell::Cell;
use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::{ClientCertificates, Context, Identity, Mtu, Psk, PskLookup, TransportConfig};

use crate::certificates::Authority;
use crate::echo::{EchoServer, Notice};

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
    /// Make a certificate for localhost, which no client can verify
    #[arg(long)]
    self_signed: bool,
    /// Accept DTLS 1.0 too, which is not secure any more
    #[arg(long = "dtls1.0")]
    dtls1_0: bool,
    /// The largest datagram to send, in bytes of UDP payload
    #[arg(long, value_name = "N", value_parser = parse_mtu)]
    mtu: Option<Mtu>,
    /// Serve one peer and exit
    #[arg(long)]
    once: bool,
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
    let socket = UdpSocket::bind(arguments.listen)
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    println!("listening on {}", socket.local_addr()?);

    // How the first peer that is gone went: in an orderly way or not.
    let ended = Cell::new(None);
    let end = |orderly| ended.set(ended.get().or(Some(orderly)));
    let mut server = EchoServer::new(socket, &context, |peer, notice| {
        let line = match notice {
            Notice::Connected(info) => format!("connected: {}", report::agreed(info)),
            Notice::Message(message) => format!("echo of {} bytes", message.len()),
            Notice::NotSent(error) => format!("no echo: {}", report::chain(&error)),
            Notice::Closed(stats) => {
                end(true);
                let sent = stats.messages_sent;
                format!("closed after {sent} messages")
            }
            Notice::Failed(error) => {
                end(false);
                format!("failed: {}", report::chain(&error))
            }
            Notice::Silent => {
                end(false);
                "silent for too long".to_owned()
            }
        };
        println!("{peer} {line}");
    })?;
    loop {
        server.turn(Duration::from_secs(1))?;
        if let (true, Some(orderly)) = (arguments.once, ended.get()) {
            return Ok(orderly);
        }
    }
}

fn context(arguments: &Arguments) -> Result<Context, Box<dyn Error>> {
    let mut builder = match (&arguments.cert, &arguments.key, &arguments.psk) {
        (Some(cert), Some(key), _) => Context::server(Identity::from_files(cert, key)?),
        (_, _, Some(psk)) => Context::server(PskLookup::single(psk.clone())),
        _ => Context::server(self_signed()?),
    };
    if let Some(authorities) = &arguments.client_ca {
        builder = builder
            .trust_file(authorities)
            .client_certificates(ClientCertificates::Required);
    }
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
