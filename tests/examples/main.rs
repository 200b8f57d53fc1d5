//! The examples' own binaries, as a user starts them.
#![cfg(feature = "udp")]

mod echo;
mod load;
mod relay;
mod secure_udp;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use openssl_dtls::openssl::asn1::Asn1Time;
use openssl_dtls::openssl::ec::{EcGroup, EcKey};
use openssl_dtls::openssl::hash::MessageDigest;
use openssl_dtls::openssl::nid::Nid;
use openssl_dtls::openssl::pkey::PKey;
use openssl_dtls::openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl_dtls::openssl::x509::{X509, X509Name};

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
