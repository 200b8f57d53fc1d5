//! A process that is talked to, and that does not outlive its test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::loopback::DEADLINE;

/// How often a peer that lost the race for its port is started again.
const TRIES: usize = 10;
/// What is kept of each of its outputs, in bytes.
const MOST_OUTPUT: usize = 256 * 1024;

/// A running process; killed when dropped, also by a panic.
pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Arc<Output>,
    command: String,
}

/// What the process printed, on both of its outputs.
#[derive(Default)]
struct Output {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    text: Vec<u8>,
    /// Outputs that ended.
    ended: usize,
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Peer {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let (out, err) = (output.clone(), output.clone());
        thread::spawn(move || out.collect(stdout));
        thread::spawn(move || err.collect(stderr));
        Peer {
            stdin: child.stdin.take(),
            child,
            output,
            command: format!("{command:?}"),
        }
    }

    /// Starts a server that cannot be given port 0: on ports that are free a moment before, until it prints `ready`.
    pub(crate) fn start_on_free_port(
        command: impl Fn(u16) -> Command,
        ready: &str,
    ) -> (Peer, SocketAddr) {
        for _ in 0..TRIES {
            let address = free_address();
            let peer = Peer::start(&mut command(address.port()));
            let is_lost = |text: &str| text.to_lowercase().contains("in use");
            let decided = peer.wait_for(|text| text.contains(ready) || is_lost(text));
            assert!(decided, "{}", peer.describe());
            if !is_lost(&peer.printed()) {
                return (peer, address);
            }
        }
        panic!("no port stays free");
    }

    /// Waits until `text` was printed, at any time.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        let found = self.wait_for(|printed| printed.contains(text));
        assert!(found, "{text:?} was not printed by {}", self.describe());
    }

    /// Waits for a line with `start` in it, and answers what follows on it.
    #[track_caller]
    pub(crate) fn rest_of_line(&self, start: &str) -> String {
        let mut rest = None;
        self.wait_for(|printed| {
            let line = printed
                .split_once(start)
                .and_then(|(_, rest)| rest.split_once('\n'));
            rest = line.map(|(line, _)| line.trim().to_owned());
            rest.is_some()
        });
        rest.unwrap_or_else(|| panic!("no line with {start:?} of {}", self.describe()))
    }

    /// Writes to its standard input.
    #[track_caller]
    pub(crate) fn say(&mut self, text: &str) {
        let written = self.stdin.as_mut().map(|stdin| {
            stdin
                .write_all(text.as_bytes())
                .and_then(|()| stdin.flush())
        });
        assert!(matches!(written, Some(Ok(()))), "{}", self.describe());
    }

    /// Ends its standard input.
    pub(crate) fn say_no_more(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn exit(&mut self) -> ExitStatus {
        // Its outputs end with it, so this seldom waits for long.
        self.wait_for(|_| false);
        self.child.wait().expect("it is a child")
    }

    /// Tells it nothing, and waits for its end.
    #[track_caller]
    pub(crate) fn exit_at_once(&mut self) -> ExitStatus {
        self.say_no_more();
        self.exit()
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().text).into_owned()
    }

    /// Waits until what was printed is `enough`, or until nothing more can come.
    fn wait_for(&self, mut enough: impl FnMut(&str) -> bool) -> bool {
        let deadline = Instant::now() + DEADLINE;
        let mut printed = self.output.lock();
        loop {
            if enough(&String::from_utf8_lossy(&printed.text)) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if printed.ended == 2 || left == Duration::ZERO {
                return false;
            }
            printed = self
                .output
                .changed
                .wait_timeout(printed, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn describe(&self) -> String {
        format!("{}, which printed:\n{}", self.command, self.printed())
    }
}

impl Output {
    fn lock(&self) -> std::sync::MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect(&self, mut from: impl Read) {
        let mut buffer = [0; 4096];
        let mut kept = 0;
        // An output that cannot be read has ended.
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            // Some repeat themselves for ever, on one of their outputs.
            if kept < MOST_OUTPUT {
                kept += length;
                self.lock().text.extend_from_slice(&buffer[..length]);
                self.changed.notify_all();
            }
        }
        self.lock().ended += 1;
        self.changed.notify_all();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// An address on loopback that nobody has at this moment, nor the ports beside it. It is none of those that a system gives to
/// sockets that ask for any.
fn free_address() -> SocketAddr {
    loop {
        let port = fastrand::u16(20_000..32_000);
        let is_free = |port| {
            let address = (Ipv4Addr::LOCALHOST, port);
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        };
        if (port - 1..=port + 1).all(is_free) {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
}
