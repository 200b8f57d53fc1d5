//! Sends messages and waits for each to come back.

#[path = "common/psk.rs"]
mod psk;
#[path = "common/report.rs"]
mod report;
#[path = "common/settings.rs"]
mod settings;

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use openssl_dtls::udp::blocking::{Client, ClientError};
use openssl_dtls::{Context, Identity, Psk, SavedSession, ServerName, TransportConfig};

use crate::settings::Settings;

/// Sends messages over DTLS and waits for each to come back.
///
/// Without --message it sends the lines of standard input. It exits with 0 only if each message came back and the close went
/// out.
#[derive(Parser)]
#[command(group = ArgGroup::new("trust").required(true).args(["ca", "insecure", "psk", "fingerprint"]))]
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
    #[command(flatten)]
    settings: Settings,
    /// Resume the connection that is saved in this file, if it is there, and save this one
    #[arg(long, value_name = "FILE")]
    session: Option<PathBuf>,
    /// Fail if the connection is not resumed
    #[arg(long, requires = "session")]
    require_resumption: bool,
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
        // Pre-shared keys and fingerprints need no name.
        None if arguments.psk.is_some() || arguments.settings.fingerprint.is_some() => None,
        None => Some(ServerName::try_from(host.as_str())?),
    };
    let context = context(arguments)?;
    let address = (host.as_str(), *port);
    let client = match saved(arguments)? {
        Some(session) => Client::connect_resuming(&context, address, server_name, &session)?,
        None => Client::connect(&context, address, server_name)?,
    };
    let info = client.handshake_info();
    if let Some(info) = &info {
        println!(
            "connected to {}: {}",
            client.peer_addr(),
            report::agreed(info)
        );
    }

    if arguments.require_resumption && !info.is_some_and(|info| info.is_resumed()) {
        return Err("the connection was not resumed".into());
    }
    if let (Some(path), Some(session)) = (&arguments.session, client.saved_session()) {
        save(path, &session)?;
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

/// The session in the file, if there is one.
fn saved(arguments: &Arguments) -> Result<Option<SavedSession>, Box<dyn Error>> {
    let Some(path) = &arguments.session else {
        return Ok(None);
    };
    match std::fs::read(path) {
        Ok(bytes) => {
            let session = SavedSession::from_bytes(&bytes);
            Ok(Some(
                session.map_err(|error| format!("{}: {error}", path.display()))?,
            ))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
    }
}

/// Writes a session, for its owner alone: it is as secret as the connection.
fn save(path: &Path, session: &SavedSession) -> Result<(), Box<dyn Error>> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(&session.to_bytes()));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
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
    builder = arguments.settings.apply(builder);
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
