//! The relay, between plain UDP and DTLS.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openssl_dtls::udp::blocking::Client;
use openssl_dtls::{Context, Psk};

use crate::{PSK, Server, certificate, run, stderr, stdout, talk};

/// No test waits longer for anything; nothing is decided by it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A server that speaks plain UDP and answers each datagram with itself, until one says that it is the last. Its thread answers
/// how many peers it had.
fn plain_echo() -> (String, std::thread::JoinHandle<usize>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut peers = HashSet::new();
        let mut datagram = vec![0; 65_535];
        loop {
            let (length, from) = socket.recv_from(&mut datagram).unwrap();
            peers.insert(from);
            socket.send_to(&datagram[..length], from).unwrap();
            if &datagram[..length] == b"the last" {
                return peers.len();
            }
        }
    });
    (address, thread)
}

#[test]
fn relay_stands_between_plain_datagrams_on_both_sides() {
    let (upstream, echo) = plain_echo();
    let terminator = Server::of("relay", &["--psk", PSK, "--upstream", &upstream]);
    let address = terminator.address();
    let arguments = ["--originate", "--psk", PSK, "--upstream", &address];
    let originator = Server::of("relay", &arguments);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(originator.address()).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket
        })
        .collect();
    let mut datagram = vec![0; 65_535];
    for round in 0..3 {
        // The larger ones are left to IP to cut.
        for (client, length) in clients.iter().zip([1, 1000, 9000]) {
            let message = vec![round; length];
            client.send(&message).unwrap();
            let length = client.recv(&mut datagram).unwrap();
            assert!(datagram[..length] == message, "{length} bytes");
        }
    }
    clients[0].send(b"the last").unwrap();
    let length = clients[0].recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"the last");
    assert_eq!(echo.join().unwrap(), clients.len());
}

#[test]
fn relay_serves_clients_that_speak_dtls() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let (upstream, echo) = plain_echo();
    let arguments = ["--cert", &cert, "--key", &key, "--upstream", &upstream];
    let relay = Server::of("relay", &arguments);
    let arguments = ["--ca", &cert, "--server-name", "localhost"];
    for last in ["not yet", "the last"] {
        let printed = talk(&relay, &[&arguments[..], &["--message", last]].concat());
        assert!(
            printed.ends_with(&format!("hello\n{last}\nclosed\n")),
            "{printed}"
        );
    }
    assert_eq!(echo.join().unwrap(), 2);
}

#[test]
fn relay_tells_what_it_lacks() {
    for arguments in [
        &["--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9"][..],
        &[
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "nowhere",
            "--psk",
            PSK,
        ],
        &[
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "127.0.0.1:9",
            "--originate",
        ],
    ] {
        let output = run("relay", arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
        assert!(
            stderr(&output).starts_with("relay: "),
            "{}",
            stderr(&output)
        );
    }
}

/// Starts libcoap's server without DTLS on a free port, and answers its address.
fn coap_server() -> (Killed, String) {
    for _ in 0..10 {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut child = Command::new("coap-server-notls")
            .args(["-A", "127.0.0.1", "-p", &port, "-v", "7"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let server = Killed(child);
        let ready = |line: &std::io::Result<String>| {
            line.as_ref().is_ok_and(|line| line.contains("created UDP"))
        };
        let mut lines = lines.take_while(Result::is_ok);
        if lines.any(|line| ready(&line)) {
            // Its output is read on, so that it never waits for us.
            std::thread::spawn(move || lines.count());
            return (server, format!("127.0.0.1:{port}"));
        }
    }
    panic!("no port stays free");
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

#[test]
fn relay_stands_in_front_of_a_coap_server_without_dtls() {
    let tools = [
        "coap-server-notls",
        "coap-client-openssl",
        "coap-client-notls",
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |tool: &&str| std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    if !tools.iter().all(is_there) {
        assert!(
            std::env::var_os("CI").is_none(),
            "libcoap's tools are missing"
        );
        println!("skipped: libcoap's tools are not installed");
        return;
    }
    let (_server, upstream) = coap_server();
    let psk = format!("sensor-7:{}", hex::encode("sixteen byte key"));
    let relay = Server::of("relay", &["--psk", &psk, "--upstream", &upstream]);
    let expect_answer = |command: &mut Command| {
        let output = command.output().unwrap();
        let printed = stdout(&output);
        assert!(
            printed.contains("This is a test server made with libcoap"),
            "{command:?}: {printed}{}",
            stderr(&output)
        );
    };
    let uri = format!("coaps://{}/", relay.address());
    let mut client = Command::new("coap-client-openssl");
    expect_answer(client.args(["-u", "sensor-7", "-k", "sixteen byte key", "-B", "20", &uri]));

    // And the mirror of it, for a client without DTLS.
    let address = relay.address();
    let mirror = Server::of(
        "relay",
        &["--originate", "--psk", &psk, "--upstream", &address],
    );
    let uri = format!("coap://{}/", mirror.address());
    expect_answer(Command::new("coap-client-notls").args(["-B", "20", &uri]));
}

/// Starts coturn without DTLS on a free port, and answers its address.
fn turn_server(directory: &tempfile::TempDir) -> (Killed, String) {
    let file = |name: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, "").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (config, pid, database) = (file("turn.conf"), file("turn.pid"), file("turn.db"));
    for _ in 0..10 {
        let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut child = Command::new("turnserver")
            .args(["-c", &config, "--pidfile", &pid, "--userdb", &database])
            .args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1"])
            .args(["--listening-port", &port, "--realm", "example.org"])
            .args(["--no-tcp", "--no-tls", "--no-dtls", "--no-cli"])
            .args(["--log-file", "stdout", "--simple-log", "--verbose"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let server = Killed(child);
        // The last thing it says before it serves.
        let ready = "SQLite DB connection success";
        if lines.any(|line| line.is_ok_and(|line| line.contains(ready))) {
            // It goes on talking, and must not find its outlet closed.
            std::thread::spawn(move || lines.for_each(drop));
            return (server, format!("127.0.0.1:{port}"));
        }
    }
    panic!("no port stays free");
}

#[test]
fn relay_stands_in_front_of_a_stun_server_without_dtls() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|directory| directory.join("turnserver").is_file()) {
        assert!(std::env::var_os("CI").is_none(), "coturn is missing");
        println!("skipped: coturn is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (_server, upstream) = turn_server(&directory);
    let relay = Server::of("relay", &["--psk", PSK, "--upstream", &upstream]);

    let (identity, key) = PSK.rsplit_once(':').unwrap();
    let psk = Psk::new(identity.as_bytes(), &hex::decode(key).unwrap()).unwrap();
    let context = Context::client().psk(psk).build().unwrap();
    let client = Client::connect(&context, relay.address(), None).unwrap();
    client.set_read_timeout(Some(DEADLINE));
    // A binding request without attributes, and its answer (RFC 8489, 5): type, length, magic cookie, transaction.
    let magic_and_transaction = b"\x21\x12\xa4\x42twelve bytes";
    let request = [&[0, 1, 0, 0], &magic_and_transaction[..]].concat();
    client.send(&request).unwrap();
    let mut answer = [0; 1500];
    let length = client.recv(&mut answer).unwrap().unwrap();
    assert_eq!(answer[..2], [1, 1], "{:?}", &answer[..length]);
    assert_eq!(answer[4..20], magic_and_transaction[..]);
}
