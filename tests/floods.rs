//! Floods and crowds, with the server, the attacker and the honest client in processes of their own.
//!
//! Small by default, so that each takes seconds. With `OPENSSL_DTLS_FULL=1` they have their full size; run them in release then,
//! one after the other: `OPENSSL_DTLS_FULL=1 cargo test --release --test floods -- --test-threads 1 --nocapture`. The examples
//! `echo_server` and `load` must be built with the same profile.
#![cfg(all(feature = "udp", target_os = "linux"))]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use openssl_dtls::udp::blocking::{Client, ClientError};
use openssl_dtls::{Context, Psk, TransportConfig};

const IDENTITY: &[u8] = b"sensor:7";
const KEY: &[u8] = b"sixteen byte  ky";
/// Within this the honest client has its answer, however hard the flood: fixed beforehand.
const DEADLINE: Duration = Duration::from_secs(30);
/// No process is waited for longer.
const PATIENCE: Duration = Duration::from_secs(600);
const MIB: u64 = 1024 * 1024;

fn is_full() -> bool {
    std::env::var_os("OPENSSL_DTLS_FULL").is_some_and(|value| value == "1")
}

/// One of two sizes.
fn size<T>(small: T, full: T) -> T {
    if is_full() { full } else { small }
}

fn psk_argument() -> String {
    format!("{}:{}", String::from_utf8_lossy(IDENTITY), hex::encode(KEY))
}

/// The binary of an example, which cargo builds beside the tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let build: PathBuf = tests.ancestors().nth(2).unwrap().into();
    let path = build.join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    Command::new(path)
}

/// A running `echo_server`, killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    /// The last line of counts.
    counts: Arc<Mutex<(u64, String)>>,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let mut child = example("echo_server")
            .args(["--listen", "127.0.0.1:0", "--psk", &psk_argument()])
            .args(["--quiet", "--stats", "1"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on ").unwrap();
        let address = address.parse().unwrap();
        let counts = Arc::new(Mutex::new((0, String::new())));
        let latest = counts.clone();
        // Ends with the server.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut latest = latest.lock().unwrap();
                latest.0 += 1;
                latest.1 = line;
            }
        });
        Server {
            child,
            address,
            counts,
        }
    }

    /// Counts that were taken after this was called.
    fn counts(&self) -> String {
        let begun = Instant::now();
        let before = self.counts.lock().unwrap().0;
        loop {
            let (number, line) = self.counts.lock().unwrap().clone();
            // The next line may have been on its way already.
            if number >= before + 2 {
                return line;
            }
            assert!(begun.elapsed() < PATIENCE, "the server prints no counts");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Bytes of resident memory.
    fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    /// Milliseconds of processor time.
    fn cpu(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split(' ').collect();
        let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
        ticks * 10
    }

    fn load(&self, arguments: &[&str]) -> Command {
        let mut load = example("load");
        load.args(["--connect", &self.address.to_string()])
            .args(["--psk", &psk_argument()])
            .args(arguments);
        load
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// The number behind `what` in a line of counts.
fn count(counts: &str, what: &str) -> u64 {
    let at = counts
        .find(what)
        .unwrap_or_else(|| panic!("{what}: {counts}"));
    let rest = counts[at + what.len()..].trim_start();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Completes a handshake and gets a message back, or fails within [`DEADLINE`].
fn be_served(context: &Context, address: SocketAddr) -> Result<Duration, ClientError> {
    let begun = Instant::now();
    let client = Client::connect(context, address, None)?;
    // Datagrams may be lost in a flood; what a program would do is to ask again.
    client.set_read_timeout(Some(Duration::from_millis(500)));
    let mut buffer = [0; 64];
    loop {
        client.send(b"anybody there?")?;
        match client.recv(&mut buffer) {
            Ok(length) => {
                assert_eq!(length, Some(14));
                return Ok(begun.elapsed());
            }
            Err(ClientError::TimedOut) if begun.elapsed() < DEADLINE => {}
            Err(error) => return Err(error),
        }
    }
}

fn honest_context() -> Context {
    let transport = TransportConfig::new()
        .handshake_timeout(DEADLINE)
        .retransmission(Duration::from_millis(200), Duration::from_secs(2));
    let psk = Psk::new(IDENTITY, KEY).unwrap();
    Context::client()
        .psk(psk)
        .transport(transport)
        .build()
        .unwrap()
}

fn wait_for(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

fn text(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Floods a server, with an honest client during and after it. Answers the server's counts.
fn flood(kind: &str, datagrams: u64, may_grow: u64) -> String {
    let server = Server::start(&[]);
    let context = honest_context();
    be_served(&context, server.address).expect("served before the flood");
    let before = server.memory();
    let cpu = server.cpu();
    let (mut peak, mut served, mut longest) = (before, 0, Duration::ZERO);
    let mut told = String::new();
    let begun = Instant::now();
    // A flood that was over before the client was served is followed by another.
    while served == 0 {
        assert!(begun.elapsed() < PATIENCE);
        let mut attacker = server
            .load(&[kind, &datagrams.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        while attacker.try_wait().unwrap().is_none() {
            let took = be_served(&context, server.address).expect("served during the flood");
            longest = longest.max(took);
            served += u32::from(attacker.try_wait().unwrap().is_none());
            peak = peak.max(server.memory());
        }
        let output = wait_for(attacker);
        assert!(output.status.success(), "{}", text(&output));
        told.push_str(&text(&output));
    }
    let counts = server.counts();
    let after = server.memory();
    peak = peak.max(after);
    let took = be_served(&context, server.address).expect("served after the flood");
    println!(
        "{kind}: {told}  {served} clients served during it, the slowest within {longest:?}, one after it within {took:?}\n  \
         memory {} KiB before, {} KiB at peak, {} KiB after; {} ms of processor time\n  {counts}",
        before / 1024,
        peak / 1024,
        after / 1024,
        server.cpu() - cpu,
    );
    assert!(peak - before <= may_grow, "{} bytes more", peak - before);
    counts
}

/// Nothing is sent to an address that is not proved but answers no longer than the questions.
fn assert_not_amplified(counts: &str) {
    let [received, sent] = ["received", "sent"].map(|what| {
        let rest = &counts[counts.find(what).unwrap()..];
        // "received 7 datagrams 1211 bytes"
        count(rest, "datagrams")
    });
    assert!(sent <= received, "{counts}");
}

#[test]
fn hellos_without_cookies() {
    let counts = flood("--spoof-hellos", size(20_000, 1_000_000), 4 * MIB);
    assert!(count(&counts, "cookies sent") > 0);
    assert_not_amplified(&counts);
}

#[test]
fn hellos_with_wrong_cookies() {
    let counts = flood("--wrong-cookies", size(20_000, 1_000_000), 4 * MIB);
    assert!(count(&counts, "rejected") > 0);
    assert_not_amplified(&counts);
}

#[test]
fn garbage() {
    let counts = flood("--garbage", size(20_000, 1_000_000), 4 * MIB);
    assert!(count(&counts, "dropped") > 0);
}

#[test]
fn half_open_clients() {
    // 512 of one network at most, each with what libssl holds for a handshake.
    let counts = flood("--half-open", size(2_000, 20_000), 512 * 160 * 1024);
    assert!(count(&counts, "evicted") > 0);
    assert!(count(&counts, "half-open") <= 512);
}

#[test]
fn crowd_with_stallers() {
    let connections = size(100, 1000).to_string();
    for stall in ["0", "10"] {
        let server = Server::start(&["--max-handshakes", "4096"]);
        let output = server
            .load(&["--connections", &connections, "--messages", "1"])
            .args(["--stall", stall, "--timeout", "30"])
            .output()
            .unwrap();
        println!(
            "{connections} at once, {stall} % stalling: {}",
            text(&output)
        );
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn idle_connections_hear_again() {
    let connections: u64 = size(100, 10_000);
    // Buffers are given back after five idle seconds.
    let hold = size("1", "10");
    let server = Server::start(&["--max-connections", "20000"]);
    let before = server.memory();
    let mut load = server
        .load(&["--connections", &connections.to_string()])
        .args(["--at-once", "100", "--messages", "1", "--hold", hold])
        .args(["--timeout", "30"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut peak, mut idle) = (before, before);
    while load.try_wait().unwrap().is_none() {
        let memory = server.memory();
        // The least since the peak is what is left when all are idle.
        idle = if memory >= peak {
            memory
        } else {
            idle.min(memory)
        };
        peak = peak.max(memory);
        thread::sleep(Duration::from_millis(100));
    }
    let output = wait_for(load);
    println!(
        "{connections} idle: memory {} KiB before, {} KiB at peak, {} KiB idle; of each {} bytes at peak, {} idle\n{}",
        before / 1024,
        peak / 1024,
        idle / 1024,
        (peak - before) / connections,
        (idle - before) / connections,
        text(&output)
    );
    assert!(output.status.success(), "{}", text(&output));
    let expected = format!("after the idle time: {connections} came back, 0 lost");
    assert!(text(&output).contains(&expected), "{}", text(&output));
    assert!((peak - before) / connections < 160 * 1024);
}

#[test]
fn simultaneous_clients() {
    let connections = size("50", "400");
    let server = Server::start(&[]);
    let output = server
        .load(&["--connections", connections, "--messages", "10"])
        .args(["--timeout", "30"])
        .output()
        .unwrap();
    println!("{connections} at once: {}", text(&output));
    assert!(output.status.success(), "{}", text(&output));
}

/// The command line tool, if it is there.
fn openssl() -> Option<String> {
    let output = Command::new("openssl").arg("version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn simultaneous_openssl_clients() {
    let Some(version) = openssl() else {
        assert!(std::env::var_os("CI").is_none(), "no openssl command");
        println!("skipped: there is no openssl command");
        return;
    };
    let connections = size(8, 400);
    let server = Server::start(&[]);
    let begun = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            let mut child = Command::new("openssl")
                .args(["s_client", "-dtls1_2", "-quiet", "-connect"])
                .arg(server.address.to_string())
                .args(["-psk_identity", std::str::from_utf8(IDENTITY).unwrap()])
                .args(["-psk", &hex::encode(KEY)])
                .args([
                    "-cipher",
                    "PSK-AES128-GCM-SHA256:ECDHE-PSK-CHACHA20-POLY1305",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let line = format!("from client {number}\n");
            child
                .stdin
                .as_mut()
                .unwrap()
                .write_all(line.as_bytes())
                .unwrap();
            (child, line)
        })
        .collect();
    let mut lost = Vec::new();
    for (mut child, line) in clients {
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut echo = String::new();
        // A client whose handshake fails ends, and its output with it.
        lines.read_line(&mut echo).unwrap();
        if echo != line {
            lost.push(line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!(
        "{connections} clients of {}: {} lost, {:?}",
        version.trim(),
        lost.len(),
        begun.elapsed()
    );
    assert!(lost.is_empty(), "{lost:?}");
    let counts = server.counts();
    assert_eq!(count(&counts, "completed"), connections);
}
