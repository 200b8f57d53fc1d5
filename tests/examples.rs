//! The examples' own binaries, as a user starts them.
#![cfg(feature = "udp")]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use openssl_dtls::openssl::asn1::Asn1Time;
use openssl_dtls::openssl::ec::{EcGroup, EcKey};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkey::PKey;
use openssl_dtls::openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl_dtls::openssl::x509::{X509, X509Name};

/// No test waits longer for anything; nothing is decided by it.
const DEADLINE: Duration = Duration::from_secs(60);
const PSK: &str = "sensor:7:736978746565206279746520206b6579";

/// The binary of an example, which cargo builds beside the tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let build: PathBuf = tests.ancestors().nth(2).unwrap().into();
    let path = build
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is not built: cargo build --examples",
        path.display()
    );
    Command::new(path)
}

fn run(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running example that listens, killed when dropped.
struct Server {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        Self::of("echo_server", arguments)
    }

    fn of(name: &str, arguments: &[&str]) -> Server {
        let mut child = example(name)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some(address) = line.strip_prefix("listening on 127.0.0.1:") {
                break address.trim().parse().unwrap();
            }
        };
        Server { child, lines, port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits for its end; answers its status and what it printed after its address.
    fn end(mut self) -> (ExitStatus, String) {
        let mut printed = String::new();
        self.lines.read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap(), printed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// A certificate for `localhost` that is its own authority, and its key, in files.
fn certificate(directory: &tempfile::TempDir) -> [String; 2] {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "localhost")
        .unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    let authority = BasicConstraints::new().ca().build().unwrap();
    builder.append_extension(authority).unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let write = |name: &str, pem: Vec<u8>| {
        let path = directory.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    };
    [
        write("cert.pem", builder.build().to_pem().unwrap()),
        write("key.pem", key.private_key_to_pem_pkcs8().unwrap()),
    ]
}

#[test]
fn demo_succeeds_over_its_lossy_network() {
    let output = run("demo", &[]);
    let printed = stdout(&output);
    assert!(output.status.success(), "{printed}{}", stderr(&output));
    for expected in [
        "DTLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "peer verified as \"server.example\"",
        "certificate of \"client.example\"",
        "\"good night\" came back",
        "datagrams lost",
        "flights retransmitted",
        "client: closed",
        "server: the client closed",
    ] {
        assert!(printed.contains(expected), "{expected:?} in\n{printed}");
    }
}

#[test]
fn messages_come_back_with_certificates_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let server = Server::start(&[
        "--cert",
        &cert,
        "--key",
        &key,
        "--client-ca",
        &cert,
        "--once",
    ]);
    let address = server.address();
    let arguments = [
        "--connect",
        &address,
        "--server-name",
        "localhost",
        "--ca",
        &cert,
        "--cert",
        &cert,
        "--key",
        &key,
        "--message",
        "one",
        "--message",
        "two words",
    ];
    let output = run("echo_client", &arguments);
    let printed = stdout(&output);
    assert!(output.status.success(), "{printed}{}", stderr(&output));
    assert!(
        printed.contains("peer verified as \"localhost\""),
        "{printed}"
    );
    assert!(printed.ends_with("one\ntwo words\nclosed\n"), "{printed}");
    let (status, printed) = server.end();
    assert!(status.success(), "{printed}");
    assert!(
        printed.contains("certificate of \"localhost\""),
        "{printed}"
    );
    assert!(printed.contains("closed after 2 messages"), "{printed}");
}

#[test]
fn lines_of_standard_input_come_back_with_a_psk() {
    let server = Server::start(&["--psk", PSK, "--mtu", "300", "--once"]);
    let mut client = example("echo_client")
        .args(["--connect", &server.address(), "--psk", PSK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(b"first line\nsecond line\n").unwrap();
    drop(stdin);
    let output = client.wait_with_output().unwrap();
    let printed = stdout(&output);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.ends_with("first line\nsecond line\nclosed\n"),
        "{printed}"
    );
    let (status, printed) = server.end();
    assert!(status.success(), "{printed}");
    assert!(printed.contains("PSK identity \"sensor:7\""), "{printed}");
}

#[test]
fn peers_are_served_one_after_the_other() {
    let server = Server::start(&["--self-signed", "--dtls1.0"]);
    for _ in 0..2 {
        let arguments = [
            "--connect",
            &server.address(),
            "--insecure",
            "--message",
            "hello",
        ];
        let output = run("echo_client", &arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).contains("DTLS 1.2"), "{}", stdout(&output));
    }
}

/// Runs `echo_client` against `server` with one message, which must come back, and answers what it printed.
fn talk(server: &Server, arguments: &[&str]) -> String {
    let address = server.address();
    let mut all = vec!["--connect", &address, "--message", "hello"];
    all.extend(arguments);
    let output = run("echo_client", &all);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn suites_protocols_and_profiles_are_agreed_on() {
    let server = Server::start(&[
        "--self-signed",
        "--once",
        "--alpn",
        "coap,h3",
        "--srtp",
        "SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80",
        "--security-level",
        "1",
    ]);
    let printed = talk(
        &server,
        &[
            "--insecure",
            "--cipher",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "--security-level",
            "2",
            "--alpn",
            "h3",
            "--srtp",
            "SRTP_AES128_CM_SHA1_80",
        ],
    );
    let (status, told) = server.end();
    assert!(status.success(), "{told}");
    for printed in [printed, told] {
        for expected in [
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "protocol \"h3\"",
            "SRTP profile \"SRTP_AES128_CM_SHA1_80\"",
        ] {
            assert!(printed.contains(expected), "{expected}: {printed}");
        }
    }
    let output = run(
        "echo_client",
        &[
            "--connect",
            "127.0.0.1:9",
            "--insecure",
            "--srtp",
            "SRTP_ROT13",
        ],
    );
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn peers_are_pinned_by_their_fingerprints() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let pem = std::fs::read(&cert).unwrap();
    let digest = X509::from_pem(&pem)
        .unwrap()
        .digest(MessageDigest::sha256());
    let fingerprint = hex::encode(digest.unwrap());
    let identity = ["--cert", &cert, "--key", &key];
    let pinned = ["--fingerprint", &fingerprint];
    let server = Server::start(&[&identity[..], &pinned[..]].concat());
    talk(&server, &[&identity[..], &pinned[..]].concat());

    let other = "00".repeat(32);
    let address = server.address();
    let arguments = ["--connect", &address, "--fingerprint", &other];
    let output = run("echo_client", &[&arguments[..], &identity[..]].concat());
    assert!(!output.status.success(), "{}", stdout(&output));
    // A client that shows nothing is not the pinned one.
    let arguments = ["--connect", &address, "--fingerprint", &fingerprint];
    let output = run("echo_client", &arguments);
    assert!(!output.status.success(), "{}", stdout(&output));
}

#[test]
fn hints_are_sent_to_clients_with_a_psk() {
    let server = Server::start(&["--psk", PSK, "--psk-hint", "plant 2", "--once"]);
    let printed = talk(&server, &["--psk", PSK]);
    assert!(printed.contains("PSK identity \"sensor:7\""), "{printed}");
}

#[test]
fn sessions_are_saved_and_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("session");
    let path = path.to_str().unwrap();
    let arguments = ["--insecure", "--session", path];
    let required = [&arguments[..], &["--require-resumption"]].concat();
    let server = Server::start(&["--self-signed"]);
    let first = talk(&server, &arguments);
    assert!(!first.contains(", resumed"), "{first}");
    for _ in 0..2 {
        let printed = talk(&server, &required);
        assert!(printed.contains(", resumed"), "{printed}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    // Another server, with other keys.
    let server = Server::start(&["--self-signed"]);
    let address = server.address();
    let mut all = vec!["--connect", &address, "--message", "hello"];
    all.extend(&required);
    let output = run("echo_client", &all);
    assert!(!output.status.success(), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("not resumed"),
        "{}",
        stderr(&output)
    );
    talk(&server, &arguments);
    talk(&server, &required);
}

#[test]
fn keys_are_logged_where_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (ours, theirs) = (path("client.log"), path("server.log"));
    let server = Server::start(&["--self-signed", "--once", "--keylog", &theirs]);
    talk(&server, &["--insecure", "--keylog", &ours]);
    server.end();
    let ours = std::fs::read_to_string(ours).unwrap();
    assert!(ours.starts_with("CLIENT_RANDOM "), "{ours}");
    assert_eq!(ours, std::fs::read_to_string(theirs).unwrap());
}

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

#[test]
fn failures_are_told_with_an_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, _] = certificate(&directory);
    let server = Server::start(&["--self-signed", "--once"]);
    let address = server.address();
    let arguments = [
        "--connect",
        &address,
        "--server-name",
        "localhost",
        "--ca",
        &cert,
        "--message",
        "secret",
    ];
    let output = run("echo_client", &arguments);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("the peer's certificate was refused"),
        "{told}"
    );
    let (status, printed) = server.end();
    assert_eq!(status.code(), Some(1), "{printed}");
    assert!(printed.contains("unknown_ca"), "{printed}");

    // Nobody answers.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let arguments = ["--connect", &address, "--insecure", "--timeout", "0.2"];
    let output = run("echo_client", &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("timed out"), "{}", stderr(&output));

    for arguments in [
        ["--listen", &address, "--psk", PSK].as_slice(),
        &[
            "--listen",
            "127.0.0.1:0",
            "--cert",
            "missing.pem",
            "--key",
            "missing.pem",
        ],
    ] {
        let output = run("echo_server", arguments);
        assert_eq!(output.status.code(), Some(1));
        let told = stderr(&output);
        assert!(told.starts_with("echo_server: cannot "), "{told}");
    }
}

#[test]
fn load_measures_and_loses_nothing() {
    let server = Server::start(&["--psk", PSK]);
    let address = server.address();
    let output = run(
        "load",
        &[
            "--connect",
            &address,
            "--psk",
            PSK,
            "--connections",
            "20",
            "--messages",
            "5",
            "--stall",
            "10",
            "--hold",
            "0",
        ],
    );
    let told = stdout(&output);
    assert!(output.status.success(), "{told}{}", stderr(&output));
    for expected in [
        "handshakes: 18 completed, 0 failed, 2 stalled on purpose",
        "messages: 90 came back, 0 lost",
        "after the idle time: 18 came back, 0 lost",
        "99 % below",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn load_tells_what_failed() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let output = run(
        "load",
        &[
            "--connect",
            &address,
            "--insecure",
            "--connections",
            "3",
            "--handshake-timeout",
            "0.2",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(told.contains("0 completed, 3 failed"), "{told}");
    assert!(told.contains("3 failed: the handshake timed out"), "{told}");
}

#[test]
fn floods_are_for_loopback_only() {
    for kind in [
        "--spoof-hellos",
        "--wrong-cookies",
        "--garbage",
        "--half-open",
    ] {
        let output = run(
            "load",
            &["--connect", "192.0.2.1:1", "--insecure", kind, "1"],
        );
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("loopback"), "{kind}");
    }
}

#[test]
fn usage_errors_are_told() {
    for (name, arguments, expected) in [
        ("demo", &["--fast"][..], "unexpected argument '--fast'"),
        ("echo_server", &[], "--listen <ADDR:PORT>"),
        (
            "echo_server",
            &["--listen", "127.0.0.1:0"],
            "<--cert <FILE>|--psk <ID:HEX>|--self-signed>",
        ),
        (
            "echo_server",
            &["--listen", "127.0.0.1", "--self-signed"],
            "--listen <ADDR:PORT>",
        ),
        (
            "echo_server",
            &["--listen", "127.0.0.1:0", "--cert", "cert.pem"],
            "--key <FILE>",
        ),
        (
            "echo_server",
            &["--listen", "127.0.0.1:0", "--self-signed", "--psk", PSK],
            "cannot be used with",
        ),
        (
            "echo_server",
            &["--listen", "127.0.0.1:0", "--self-signed", "--mtu", "100"],
            "outside 256 to 4096",
        ),
        ("echo_client", &[], "--connect <HOST:PORT>"),
        (
            "echo_client",
            &["--connect", "localhost:1"],
            "<--ca <FILE>|--insecure|--psk <ID:HEX>|--fingerprint <SHA256>>",
        ),
        ("load", &["--insecure"], "--connect <ADDR:PORT>"),
        (
            "load",
            &["--connect", "127.0.0.1:1", "--insecure", "--size", "7"],
            "a number from 8 to 16,384",
        ),
        (
            "load",
            &[
                "--connect",
                "127.0.0.1:1",
                "--insecure",
                "--connections",
                "0",
            ],
            "a number from 1",
        ),
        (
            "echo_client",
            &["--connect", "localhost", "--insecure"],
            "expected HOST:PORT",
        ),
        (
            "echo_client",
            &["--connect", "localhost:1", "--psk", "name"],
            "expected ID:HEX",
        ),
        (
            "echo_client",
            &["--connect", "localhost:1", "--psk", "name:xyz"],
            "hexadecimal",
        ),
        (
            "echo_client",
            &["--connect", "localhost:1", "--insecure", "--timeout", "0"],
            "a number of seconds above zero",
        ),
    ] {
        let output = run(name, arguments);
        let told = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{name} {arguments:?}: {told}"
        );
        assert!(told.contains(expected), "{name} {arguments:?}: {told}");
    }
    for name in ["demo", "echo_server", "echo_client", "load"] {
        let output = run(name, &["--help"]);
        assert!(output.status.success());
        assert!(stdout(&output).contains("Usage: "));
    }
}

#[test]
fn secure_udp_examples_talk_with_a_pre_shared_key() {
    let server = Server::of("secure_udp_server", &["--psk", PSK, "--clients", "1"]);
    let address = server.address();
    let client = run(
        "secure_udp_client",
        &["--connect", &address, "--psk", PSK, "--interval", "0.01"],
    );
    let printed = stdout(&client);
    assert!(client.status.success(), "{printed}{}", stderr(&client));
    assert!(printed.contains("connected to 127.0.0.1:"), "{printed}");
    assert_eq!(
        printed.matches("answer: to 127.0.0.1:").count(),
        3,
        "{printed}"
    );
    assert!(printed.ends_with("closed\n"), "{printed}");
    let (status, printed) = server.end();
    assert!(status.success());
    assert!(printed.contains("please accept ping 3"), "{printed}");
    assert!(printed.contains("left"), "{printed}");
}

#[test]
fn secure_udp_examples_verify_each_other_s_claims() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(&directory);
    let server = Server::of(
        "secure_udp_server",
        &[
            "--cert",
            &cert,
            "--key",
            &key,
            "--psk",
            PSK,
            "--clients",
            "1",
        ],
    );
    let address = server.address();
    let connect = ["--connect", &address, "--timeout", "5"];
    let with = |more: &[&str]| {
        let arguments: Vec<&str> = connect.iter().chain(more).copied().collect();
        run("secure_udp_client", &arguments)
    };
    // Another name, and another key.
    let refused = with(&["--ca", &cert, "--server-name", "elsewhere.example"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("not the right server"),
        "{}",
        stderr(&refused)
    );
    let refused = with(&["--psk", "sensor:8:00112233445566778899aabbccddeeff"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("unknown_psk_identity"),
        "{}",
        stderr(&refused)
    );

    let client = with(&["--ca", &cert, "--server-name", "localhost", "--pings", "1"]);
    assert!(client.status.success(), "{}", stderr(&client));
    let (status, printed) = server.end();
    assert!(status.success());
    assert!(printed.contains("alert bad_certificate"), "{printed}");
    assert!(printed.contains("identity is unknown"), "{printed}");
    assert!(printed.contains("please accept ping 1"), "{printed}");
}
