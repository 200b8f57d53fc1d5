//! The C ABI: the header against the code, and programs in C and C++ that use it.

#![cfg(feature = "capi")]

mod c_source;
#[path = "it/interop/peer.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod peer;

/// What [`peer`] finds in the tests it was made for.
mod loopback {
    /// Long enough for a slow machine; nothing waits that long where all is well.
    pub(crate) const DEADLINE: std::time::Duration = std::time::Duration::from_secs(120);
}

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use c_source::{c_arguments, declare, split_arguments, split_at_closing};
use openssl_dtls::capi;
use peer::Peer;

const SOURCES: &[&str] = &[
    include_str!("../src/capi/mod.rs"),
    include_str!("../src/capi/by_handle.rs"),
    include_str!("../src/capi/connection.rs"),
    include_str!("../src/capi/context.rs"),
    include_str!("../src/capi/cookie.rs"),
    include_str!("../src/capi/endpoint.rs"),
    include_str!("../src/capi/error.rs"),
    include_str!("../src/capi/info.rs"),
    include_str!("../src/capi/limits.rs"),
    include_str!("../src/capi/listener.rs"),
];
const HEADER: &str = include_str!("../src/capi/openssl_dtls.h");

/// Every exported function: its name, arguments and answer, in Rust's spelling.
fn functions() -> BTreeMap<String, (Vec<String>, String)> {
    let mut found = BTreeMap::new();
    for source in SOURCES {
        for item in source.split("#[unsafe(no_mangle)]").skip(1) {
            let (_, function) = item
                .split_once("extern \"C\" fn ")
                .expect("a function follows");
            let (name, rest) = function.split_once('(').expect("it has arguments");
            let (arguments, rest) = split_at_closing(rest);
            let (answer, _) = rest.split_once('{').expect("it has a body");
            let answer = answer.trim().strip_prefix("->").unwrap_or("()").trim();
            let answer = answer.replace("core::ffi::", "");
            let arguments = arguments
                .replace("core::ffi::", "")
                .replace("socket2::", "");
            found.insert(name.to_owned(), (split_arguments(&arguments), answer));
        }
    }
    found
}

/// Every constant, and its value.
fn constants() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in SOURCES.iter().flat_map(|source| source.lines()) {
        let line = line.trim();
        if let Some((name, rest)) = line
            .strip_prefix("pub const ODTLS_")
            .and_then(|line| line.split_once(": "))
        {
            let (_, value) = rest.split_once(" = ").expect("it has a value");
            let value = value
                .trim_end_matches(';')
                .replace(
                    "CookieSecret::LEN",
                    &openssl_dtls::CookieSecret::LEN.to_string(),
                )
                .replace("u32::MAX", "4294967295u");
            found.insert(format!("ODTLS_{name}"), value);
        } else if let Some((name, rest)) = line
            .strip_prefix("ODTLS_")
            .and_then(|line| line.split_once(" = "))
        {
            // A line of the table of results: `NAME = value, c"text";`.
            let (value, _) = rest.split_once(", c\"").expect("it has a text");
            found.insert(format!("ODTLS_{name}"), value.to_owned());
        }
    }
    found
}

/// The names in the header that begin with `prefix` and stand before `follows`.
fn header_names(prefix: &str, follows: char) -> Vec<&'static str> {
    HEADER
        .match_indices(prefix)
        .map(|(at, _)| &HEADER[at..])
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
            rest[end..].starts_with(follows).then_some(&rest[..end])
        })
        .collect()
}

#[test]
fn header_declares_what_the_code_exports_and_nothing_else() {
    let functions = functions();
    assert!(functions.len() > 35, "{} functions found", functions.len());
    let declared = header_names("odtls_", '(');
    for name in functions.keys() {
        assert!(
            declared.contains(&name.as_str()),
            "{name} is not in the header"
        );
    }
    for name in declared {
        assert!(functions.contains_key(name), "{name} is in the header only");
    }
    let constants = constants();
    for line in HEADER.lines() {
        let name = line.trim().strip_prefix("#define ").unwrap_or(line.trim());
        let Some(name) = name.strip_prefix("ODTLS_") else {
            continue;
        };
        let end = name
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(name.len());
        let name = format!("ODTLS_{}", &name[..end]);
        assert!(
            constants.contains_key(&name),
            "{name} is in the header only"
        );
    }
}

#[test]
fn header_agrees_with_the_code() {
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/src/capi/openssl_dtls.h");
    let mut program = format!("#include \"{header}\"\n");
    for (name, (arguments, answer)) in functions() {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("sockaddr", "struct sockaddr"))
            .collect();
        let declarator = format!("{name}({})", c_arguments(&arguments));
        writeln!(program, "{};", declare(&answer, &declarator)).unwrap();
    }
    let constants = constants();
    assert!(constants.len() > 50, "{} constants found", constants.len());
    for (name, value) in constants {
        writeln!(program, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    macro_rules! check_struct {
        ($name:ident: $($field:ident),+) => {
            let size = size_of::<capi::$name>();
            let name = stringify!($name);
            writeln!(program, "_Static_assert(sizeof({name}) == {size}, \"{name}\");").unwrap();
            $(
                let (field, offset) = (stringify!($field), offset_of!(capi::$name, $field));
                writeln!(program, "_Static_assert(offsetof({name}, {field}) == {offset}, \"{field}\");").unwrap();
            )+
            // Exhaustive, so that a new field cannot be forgotten here.
            let _ = |value: capi::$name| { let capi::$name { $($field: _),+ } = value; };
        };
    }
    check_struct!(odtls_event: kind, value);
    check_struct!(odtls_stats: size, datagrams_received, bytes_received, datagrams_sent, bytes_sent, messages_received,
        message_bytes_received, messages_sent, message_bytes_sent, retransmissions, handshake_restarts, drops);
    check_struct!(odtls_transport_options: size, mtu, allow_oversize, first_retransmission_ms, max_retransmission_ms,
        handshake_timeout_ms, handshake_tries, receive_queue, send_queue);
    check_struct!(odtls_context_options: size, certificate_pem, certificate_pem_len, private_key_pem, private_key_pem_len,
        certificate_file, private_key_file, trust_pem, trust_pem_len, trust_file, trust_directory, psk_identity,
        psk_identity_len, psk_key, psk_key_len, psk_lookup, psk_lookup_data, psk_lookup_free, cipher_list, groups,
        signature_algorithms, transport, trust_system, client_certificates, dangerous, security_level_plus_one);
    check_struct!(odtls_endpoint_options: size, max_connections, max_half_open, max_half_open_per_prefix, max_send_bytes,
        max_receive_bytes, max_replies, ipv4_prefix, ipv6_prefix, handshake_timeout_ms, idle_timeout_ms,
        client_idle_timeout_ms, release_buffers_after_ms, linger_ms, hand_out_foreign);
    check_struct!(odtls_endpoint_stats: size, datagrams_received, bytes_received, datagrams_sent, bytes_sent,
        foreign_datagrams, cookies_sent, cookies_accepted, cookies_rejected, handshakes_accepted, handshakes_completed,
        handshakes_failed, refused, messages_received, messages_sent, retransmissions, drops, connections, established,
        half_open, queued_send_bytes, queued_receive_bytes);
    c_source::check(&program);
}

/// The library, built as its documentation says, in a directory of its own.
fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        let features = if cfg!(feature = "vendored") {
            "capi,vendored"
        } else {
            "capi"
        };
        let output = Command::new(env!("CARGO"))
            .args(["rustc", "--lib", "--locked", "--features", features])
            .args(["--crate-type", "cdylib,staticlib"])
            .args([
                "--",
                "-C",
                "link-arg=-Wl,-soname,libopenssl_dtls.so.0,-z,nodelete",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", &target)
            // The sanitizer of a test run is not for the library alone.
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let directory = target.join("debug");
        let name = directory.join("libopenssl_dtls.so.0");
        if !name.exists() {
            std::os::unix::fs::symlink("libopenssl_dtls.so", &name).unwrap_or_default();
        }
        Library { directory }
    })
}

struct Library {
    directory: PathBuf,
}

/// Whether libssl is part of the library, and not shared with the program.
fn is_self_contained() -> bool {
    cfg!(feature = "vendored") || std::env::var_os("OPENSSL_STATIC").is_some()
}

impl Library {
    /// Compiles `source`, which links with the library and with libssl, and answers the program; `None` if there is no such compiler.
    fn compile(&self, compiler: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
        if !c_source::has_program(compiler) {
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let stem = Path::new(source).file_stem().unwrap().to_string_lossy();
        let program = self
            .directory
            .join(format!("{stem}-{compiler}{}", flags.concat()));
        // Other tests may compile and run the same program meanwhile.
        let unfinished = program.with_extension(std::process::id().to_string());
        let mut command = Command::new(compiler);
        let standard = if source.ends_with(".cpp") {
            "-std=c++11"
        } else {
            "-std=c99"
        };
        command.args([
            standard,
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-gdwarf-4",
        ]);
        command.arg("-D_POSIX_C_SOURCE=200809L").args(flags);
        command.arg("-I").arg(root.join("src/capi"));
        c_source::include_openssl(&mut command);
        command.arg(root.join(source)).arg("-o").arg(&unfinished);
        if is_self_contained() {
            command.arg(self.directory.join("libopenssl_dtls.a"));
            command.args(["-lpthread", "-ldl", "-lm"]);
        } else {
            command.arg("-L").arg(&self.directory).arg("-lopenssl_dtls");
            // Goes before what the test runner names as places for libraries.
            command.arg("-Wl,--disable-new-dtags");
            command.arg(format!("-Wl,-rpath,{}", self.directory.display()));
            command.args(["-lssl", "-lcrypto"]);
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::fs::rename(&unfinished, &program).unwrap();
        Some(program)
    }
}

/// Runs a program to its end and answers what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}

/// Runs `source` as it is, under valgrind, and with the address sanitizer, compiled by each of `compilers`.
fn run_in_every_way(source: &str, compilers: [&str; 2], says: &str) {
    let library = library();
    for compiler in compilers {
        let Some(program) = library.compile(compiler, source, &[]) else {
            continue;
        };
        assert!(run(&mut Command::new(&program)).contains(says));
        for way in [Way::Valgrind, Way::Sanitizer] {
            if let Some(mut command) = way.command(compiler, source) {
                assert!(run(&mut command).contains(says));
            }
        }
    }
}

/// How a program is run: as it is, under valgrind, or compiled with the address sanitizer.
#[derive(Clone, Copy)]
enum Way {
    Valgrind,
    Sanitizer,
}

impl Way {
    /// The command that runs `source`, compiled by `compiler`; `None` if a tool is missing.
    fn command(self, compiler: &str, source: &str) -> Option<Command> {
        match self {
            Way::Valgrind => {
                let program = library().compile(compiler, source, &[])?;
                if !c_source::has_program("valgrind") {
                    return None;
                }
                let mut valgrind = Command::new("valgrind");
                valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
                valgrind.args([
                    "--show-leak-kinds=definite",
                    "--errors-for-leak-kinds=definite",
                ]);
                valgrind.arg(program);
                Some(valgrind)
            }
            Way::Sanitizer => {
                let program = library().compile(compiler, source, &["-fsanitize=address"])?;
                Some(Command::new(program))
            }
        }
    }
}

const C_SERVER: &str = "examples/c/echo_server.c";
const CPP_CLIENT: &str = "examples/c/echo_client.cpp";
const PSK_IDENTITY: &str = "sensor";
const PSK_KEY: &str = "0123456789abcdef";

/// Ends a server that was started from an example, in order.
fn stop(mut server: Peer) {
    let killed = Command::new("kill").arg(server.id().to_string()).status();
    assert!(killed.unwrap().success());
    let status = server.exit();
    assert!(status.success(), "{status}: {}", server.printed());
}

/// The server in C serves the client in C++ and `openssl s_client`, each twice, and ends in order.
fn serve_everyone(way: Way, c: &str, cpp: &str) {
    let (Some(mut server), Some(_)) = (way.command(c, C_SERVER), way.command(cpp, CPP_CLIENT))
    else {
        return;
    };
    server.args(["127.0.0.1", "0", "--psk", PSK_IDENTITY, PSK_KEY]);
    let server = Peer::start(&mut server);
    let port = server.rest_of_line("listening on");
    let key = hex::encode(PSK_KEY);
    for round in ["one", "two"] {
        let mut client = way.command(cpp, CPP_CLIENT).unwrap();
        client.args([
            "127.0.0.1",
            &port,
            "--psk",
            PSK_IDENTITY,
            PSK_KEY,
            round,
            "and more",
        ]);
        assert_eq!(run(&mut client), format!("{round}\nand more\n"));

        if !c_source::has_program("openssl") {
            continue;
        }
        let mut s_client = Command::new("openssl");
        s_client.args([
            "s_client",
            "-dtls1_2",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ]);
        s_client.args(["-psk_identity", PSK_IDENTITY, "-psk", &key, "-quiet"]);
        let mut s_client = Peer::start(&mut s_client);
        s_client.say("by hand\n");
        s_client.expect("by hand\n");
    }
    server.expect("connected with TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256");
    stop(server);
}

#[test]
fn server_in_c_serves_many_peers_under_valgrind() {
    serve_everyone(Way::Valgrind, "gcc", "g++");
}

#[test]
fn server_in_c_serves_many_peers_under_the_address_sanitizer() {
    serve_everyone(Way::Sanitizer, "clang", "clang++");
}

/// The client in C++ speaks to `openssl s_server`.
fn speak_to_s_server(way: Way, cpp: &str) {
    if way.command(cpp, CPP_CLIENT).is_none() || !c_source::has_program("openssl") {
        return;
    }
    let key = hex::encode(PSK_KEY);
    let command = |port: u16| {
        let mut s_server = Command::new("openssl");
        s_server.args([
            "s_server",
            "-dtls1_2",
            "-4",
            "-accept",
            &port.to_string(),
            "-nocert",
        ]);
        s_server.args(["-psk_identity", PSK_IDENTITY, "-psk", &key, "-listen"]);
        s_server
    };
    let (mut s_server, address) = Peer::start_on_free_port(command, "ACCEPT");
    let mut client = way.command(cpp, CPP_CLIENT).unwrap();
    client.args([
        "127.0.0.1",
        &address.port().to_string(),
        "--psk",
        PSK_IDENTITY,
        PSK_KEY,
        "over to you\n",
    ]);
    let mut client = Peer::start(&mut client);
    s_server.expect("over to you\n");
    s_server.say("over to you\n");
    let status = client.exit();
    assert!(status.success(), "{status}: {}", client.printed());
    client.expect("over to you\n");
}

#[test]
fn client_in_cpp_speaks_to_openssl_under_valgrind() {
    speak_to_s_server(Way::Valgrind, "g++");
}

#[test]
fn client_in_cpp_speaks_to_openssl_under_the_address_sanitizer() {
    speak_to_s_server(Way::Sanitizer, "clang++");
}

#[test]
fn objects_do_what_the_header_says() {
    run_in_every_way(
        "tests/capi_programs/objects.c",
        ["gcc", "clang"],
        "objects: ok",
    );
}

#[test]
fn wrapper_for_cpp_throws_and_frees() {
    run_in_every_way(
        "tests/capi_programs/wrapper.cpp",
        ["g++", "clang++"],
        "wrapper: ok",
    );
}

#[test]
fn application_keeps_its_context_and_its_one_libssl() {
    if cfg!(feature = "vendored") {
        eprintln!("skipped: with the bundled OpenSSL no SSL_CTX may be shared");
        return;
    }
    let says = if is_self_contained() {
        "adopt: ok, 0 libssl mapped"
    } else {
        "adopt: ok, 1 libssl mapped"
    };
    run_in_every_way("tests/capi_programs/adopt.c", ["gcc", "clang"], says);
}
