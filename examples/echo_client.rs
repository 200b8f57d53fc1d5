//! Sends messages and waits for each to come back.

#[path = "common/psk.rs"]
mod psk;
#[path = "common/report.rs"]
mod report;

use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use openssl_dtls::udp::blocking::{Client, ClientError};
use openssl_dtls::{Context, Identity, Psk, ServerName, TransportConfig};

/// Sends messages over DTLS and waits for each to come back.
///
/// Without --message it sends the lines of standard input. It exits with 0 only if each message came back and the close went
/// out.
#[derive(Parser)]
#[command(group = ArgGroup::new("trust").required(true).args(["ca", "insecure", "psk"]))]
struct Arguments {
    /// The server
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_host)]
    connect: Target,
    /// The name the server's certificate must have [default: HOST]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    server_name: Option<ServerName>,
    /// The authorities to trust, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate: anybody on the path can be the server
    #[arg(long)]
    insecure: bool,
    /// A pre-shared key: an identity, and the key in hexadecimal digits
    #[arg(long, value_name = "ID:HEX", value_parser = psk::parse)]
    psk: Option<Psk>,
    /// A certificate to show to the server and those above it, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// A message to send; may be given many times
    #[arg(long = "message", value_name = "TEXT")]
    messages: Vec<String>,
    /// How long to wait for the handshake and for each message, in seconds
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    timeout: Duration,
}

#[derive(Clone)]
struct Target {
    host: String,
    port: u16,
}

fn parse_host(given: &str) -> Result<Target, String> {
    let (host, port) = given.rsplit_once(':').ok_or("expected HOST:PORT")?;
    // An IPv6 address comes in brackets.
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        return Err("expected HOST:PORT".to_owned());
    }
    let port = port
        .parse()
        .map_err(|_| "the port must be a number up to 65535")?;
    let host = host.to_owned();
    Ok(Target { host, port })
}

fn parse_name(given: &str) -> Result<ServerName, String> {
    ServerName::try_from(given).map_err(|error| error.to_string())
}

fn parse_seconds(given: &str) -> Result<Duration, String> {
    let seconds = given.parse().map_err(|_| "expected a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err("expected a number of seconds above zero".to_owned()),
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_client: {}", report::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Target { host, port } = &arguments.connect;
    let server_name = match &arguments.server_name {
        Some(name) => Some(name.clone()),
        // Pre-shared keys need no name.
        None if arguments.psk.is_some() => None,
        None => Some(ServerName::try_from(host.as_str())?),
    };
    let context = context(arguments)?;
    let client = Client::connect(&context, (host.as_str(), *port), server_name)?;
    if let Some(info) = client.handshake_info() {
        println!(
            "connected to {}: {}",
            client.peer_addr(),
            report::agreed(&info)
        );
    }

    client.set_read_timeout(Some(arguments.timeout));
    if arguments.messages.is_empty() {
        for line in std::io::stdin().lock().lines() {
            exchange(&client, &line?)?;
        }
    } else {
        for message in &arguments.messages {
            exchange(&client, message)?;
        }
    }

    client.close()?;
    if !client.stats().close_notify_sent {
        return Err("the close did not go out".into());
    }
    println!("closed");
    Ok(())
}

fn context(arguments: &Arguments) -> Result<Context, Box<dyn Error>> {
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
    let transport = TransportConfig::new().handshake_timeout(arguments.timeout);
    Ok(builder.transport(transport).build()?)
}

/// Sends one message and waits until it comes back. UDP may lose it, which is an error here.
fn exchange(client: &Client, message: &str) -> Result<(), Box<dyn Error>> {
    client.send(message.as_bytes())?;
    let mut answer = vec![0; 16_384];
    let length = match client.recv(&mut answer) {
        Ok(Some(length)) => length,
        Ok(None) => return Err("the server closed".into()),
        Err(ClientError::TimedOut) => return Err(format!("{message:?} did not come back").into()),
        Err(error) => return Err(error.into()),
    };
    let answer = &answer[..length];
    if answer != message.as_bytes() {
        let answer = String::from_utf8_lossy(answer);
        return Err(format!("{message:?} came back as {answer:?}").into());
    }
    println!("{message}");
    Ok(())
}
