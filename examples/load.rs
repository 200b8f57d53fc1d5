//! Opens many connections to an echo server, and measures.
//!
//! Try it with the `echo_server` example.

#[path = "common/psk.rs"]
mod psk;
#[path = "common/report.rs"]
mod report;
#[path = "common/spoof.rs"]
mod spoof;
#[path = "common/swarm.rs"]
mod swarm;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Parser};
use indicatif::{ProgressBar, ProgressStyle};
use openssl_dtls::{Connection, Context, Psk, ServerName, TransportConfig};

use crate::spoof::Kind;
use crate::swarm::{Outcome, Plan, Swarm};

/// Opens many DTLS connections to an echo server, sends messages over each, and prints rates, times and losses.
///
/// Each connection has a socket of its own, so the limit on open files must be above their number. It exits with 0 only if no
/// handshake failed and every message came back. The floods are for tests, and take a loopback address only.
#[derive(Parser)]
#[command(group = ArgGroup::new("trust").required(true).args(["ca", "insecure", "psk"]))]
#[command(group = ArgGroup::new("flood").args(["spoof_hellos", "wrong_cookies", "garbage", "half_open"]))]
struct Arguments {
    /// The server
    #[arg(long, value_name = "ADDR:PORT")]
    connect: SocketAddr,
    /// The name the server's certificate must have
    #[arg(long, value_name = "NAME", default_value = "localhost", value_parser = parse_name)]
    server_name: ServerName,
    /// The authorities to trust, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate: anybody on the path can be the server
    #[arg(long)]
    insecure: bool,
    /// A pre-shared key: an identity, and the key in hexadecimal digits
    #[arg(long, value_name = "ID:HEX", value_parser = psk::parse)]
    psk: Option<Psk>,
    /// How many connections
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_count)]
    connections: usize,
    /// How many handshakes at once [default: all]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    at_once: Option<usize>,
    /// How many messages over each connection, one after the other
    #[arg(long, value_name = "M", default_value = "10")]
    messages: u64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = parse_size)]
    size: usize,
    /// How many of a hundred clients fall silent in the middle of their handshake
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u8).range(..=100))]
    stall: u8,
    /// Be idle for so many seconds after the messages, then send one more over each connection
    #[arg(long, value_name = "S")]
    hold: Option<u64>,
    /// How long a handshake may take, in seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = parse_seconds)]
    handshake_timeout: Duration,
    /// After how long a message is taken for lost, in seconds
    #[arg(long, value_name = "S", default_value = "5", value_parser = parse_seconds)]
    timeout: Duration,
    /// Instead: send so many hellos without a cookie, from many ports
    #[arg(long, value_name = "N")]
    spoof_hellos: Option<u64>,
    /// Instead: send so many hellos with wrong cookies, from many ports
    #[arg(long, value_name = "N")]
    wrong_cookies: Option<u64>,
    /// Instead: send so many datagrams of garbage, from many ports
    #[arg(long, value_name = "N")]
    garbage: Option<u64>,
    /// Instead: begin so many handshakes from many ports, return the cookie, and fall silent
    #[arg(long, value_name = "N")]
    half_open: Option<u64>,
}

fn parse_name(given: &str) -> Result<ServerName, String> {
    ServerName::try_from(given).map_err(|error| error.to_string())
}

fn parse_count(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("expected a number from 1 to 1,000,000".to_owned()),
    }
}

/// Each message begins with its number.
fn parse_size(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(size @ 8..=16_384) => Ok(size),
        _ => Err("expected a number from 8 to 16,384".to_owned()),
    }
}

fn parse_seconds(given: &str) -> Result<Duration, String> {
    let seconds = given.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a number of seconds above zero".to_owned())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {}", report::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Answers whether nothing failed and nothing was lost.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let context = context(arguments)?;
    let floods = [
        (Kind::Hellos, arguments.spoof_hellos),
        (Kind::WrongCookies, arguments.wrong_cookies),
        (Kind::Garbage, arguments.garbage),
        (Kind::HalfOpen, arguments.half_open),
    ];
    for (kind, count) in floods {
        if let Some(count) = count {
            flood(arguments, &context, kind, count)?;
            return Ok(true);
        }
    }
    let plan = Plan {
        to: arguments.connect,
        server_name: Some(arguments.server_name.clone()),
        connections: arguments.connections,
        at_once: arguments.at_once.unwrap_or(arguments.connections),
        stall: arguments.stall.into(),
        messages: arguments.messages,
        size: arguments.size,
        hold: arguments.hold.map(Duration::from_secs),
        handshake_timeout: arguments.handshake_timeout,
        answer_timeout: arguments.timeout,
    };
    let bar = bar(arguments.connections as u64 * (1 + arguments.messages))?;
    let outcome = Swarm::new(plan, &context, |done| bar.set_position(done))?.run()?;
    bar.finish_and_clear();
    print(&outcome);
    Ok(outcome.failures.is_empty() && outcome.lost == 0 && outcome.held_lost == 0)
}

fn context(arguments: &Arguments) -> Result<Context, Box<dyn Error>> {
    let mut builder = Context::client()
        .transport(TransportConfig::new().handshake_timeout(arguments.handshake_timeout));
    if let Some(psk) = &arguments.psk {
        builder = builder.psk(psk.clone());
    }
    if let Some(authorities) = &arguments.ca {
        builder = builder.trust_file(authorities);
    }
    if arguments.insecure {
        builder = builder.dangerous().no_verification();
    }
    Ok(builder.build()?)
}

fn flood(
    arguments: &Arguments,
    context: &Context,
    kind: Kind,
    count: u64,
) -> Result<(), Box<dyn Error>> {
    let name = Some(arguments.server_name.clone());
    let to = arguments.connect;
    let mut client = Connection::client(context, to, name, Instant::now())?;
    let hello = client
        .poll_transmit()
        .map(|transmit| transmit.contents.to_vec())
        .ok_or("libssl made no hello")?;
    let bar = bar(count)?;
    let sent = spoof::flood(kind, to, &hello, count, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    let rate = sent.datagrams as f64 / sent.elapsed.as_secs_f64();
    println!(
        "sent {} datagrams with {} bytes in {:.2} s, {rate:.0} per second; this host had no room for {}",
        sent.datagrams,
        sent.bytes,
        sent.elapsed.as_secs_f64(),
        sent.refused
    );
    if kind == Kind::HalfOpen {
        println!("left {} handshakes half-open", sent.half_open);
    }
    Ok(())
}

/// On a terminal only.
fn bar(length: u64) -> Result<ProgressBar, Box<dyn Error>> {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len}, {per_sec}, {eta}")?;
    Ok(ProgressBar::new(length).with_style(style))
}

fn print(outcome: &Outcome) {
    if let Some(agreed) = &outcome.agreed {
        println!("{agreed}");
    }
    let count = outcome.handshakes.len();
    let took = outcome.handshakes_took.as_secs_f64();
    println!(
        "handshakes: {count} completed, {} failed, {} stalled on purpose, in {took:.2} s, {:.0} per second",
        outcome.failures.len(),
        outcome.stalled,
        count as f64 / took
    );
    print_times("  time", &outcome.handshakes);
    let count = outcome.round_trips.len();
    let took = outcome.messages_took.as_secs_f64();
    println!(
        "messages: {count} came back, {} lost, in {took:.2} s, {:.0} per second",
        outcome.lost,
        count as f64 / took
    );
    print_times("  round trip", &outcome.round_trips);
    if outcome.held + outcome.held_lost > 0 {
        println!(
            "after the idle time: {} came back, {} lost",
            outcome.held, outcome.held_lost
        );
    }
    if outcome.not_sent > 0 {
        println!("this host had no room for {} datagrams", outcome.not_sent);
    }
    let mut failures = outcome.failures.clone();
    failures.sort();
    for same in failures.chunk_by(|one, other| one == other) {
        println!("{} failed: {}", same.len(), same[0]);
    }
}

fn print_times(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort();
    let Some(longest) = times.last() else {
        return;
    };
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{what}: half below {:.3} ms, 90 % below {:.3} ms, 99 % below {:.3} ms, longest {:.3} ms",
        percentile(50),
        percentile(90),
        percentile(99),
        longest.as_secs_f64() * 1e3
    );
}
