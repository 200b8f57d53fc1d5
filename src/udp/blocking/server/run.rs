//! The loop: receive, tell the handler, send, wait.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::core::Left;
use super::handler::{End, Handler, Peer};
use super::{Server, Shared};
use crate::endpoint::{ConnectionHandle, EndpointEvent, Handled};
use crate::error::{Error, SendError};
use crate::sys::ssl::MAX_MESSAGE;
use crate::types::CloseReason;
use crate::udp::socket::Batch;

/// Calls of the system that send, in one turn of the loop: so that receiving has its turn as well.
const SENDS_PER_TURN: usize = 256;
/// Events told in one turn.
const EVENTS_PER_TURN: usize = 4096;
/// A batch of at least so many datagrams is followed by another without waiting in between.
const BUSY: usize = 8;
/// How often receiving may fail in a row before the loop gives up, and how long it waits after each failure.
const MAX_FAILURES: u32 = 100;
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// See [`Server::run`].
pub(super) fn run(server: &Server, handler: &mut impl Handler) -> io::Result<()> {
    let shared = &*server.shared;
    let _running: MutexGuard<'_, ()> = match shared.runner.try_lock() {
        Ok(guard) => guard,
        // What ran before ended by a panic of ours, and left nothing behind in there.
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(ErrorKind::ResourceBusy.into()),
    };
    Loop {
        server,
        shared,
        handler,
        batch: shared.socket.batch(),
        message: vec![0; MAX_MESSAGE],
        foreign: Vec::new(),
        errors: Vec::new(),
        failures: 0,
    }
    .run()
}

struct Loop<'a, H> {
    server: &'a Server,
    shared: &'a Shared,
    handler: &'a mut H,
    batch: Batch,
    message: Vec<u8>,
    /// Which datagrams of the batch are the program's, and which errors to tell.
    foreign: Vec<usize>,
    errors: Vec<Error>,
    /// To receive, in a row.
    failures: u32,
}

impl<H: Handler> Loop<'_, H> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            if self.shared.stopped.load(Ordering::Acquire) {
                // What the system has no room for waits for the next run, or for nobody.
                self.shared
                    .core()
                    .flush(&self.shared.socket, SENDS_PER_TURN);
                return Ok(());
            }
            let busy = self.receive()?;
            self.time_out();
            let told_all = self.tell();
            let left = self
                .shared
                .core()
                .flush(&self.shared.socket, SENDS_PER_TURN);
            let now = Instant::now();
            let (next, drained) = {
                let core = self.shared.core();
                (core.next_timeout(), core.is_drained(now))
            };
            if drained && told_all {
                return Ok(());
            }
            let at_once = busy || !told_all || left == Left::More;
            if at_once && !self.shared.waker.is_rung() {
                continue;
            }
            let mut timeout = next.map(|at| at.saturating_duration_since(now));
            if at_once {
                timeout = Some(Duration::ZERO);
            }
            if let Left::For(pause) = left {
                timeout = Some(timeout.map_or(pause, |timeout| timeout.min(pause)));
            }
            self.wait(timeout, left == Left::UntilWritable)?;
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, writable: bool) -> io::Result<()> {
        let ready = self
            .shared
            .socket
            .wait(&self.shared.waker, writable, timeout)?;
        if ready.woken {
            self.shared.waker.hear();
            if std::mem::take(&mut self.shared.core().wake_handler) {
                self.guard(None, |handler, server| handler.woken(server));
            }
        }
        Ok(())
    }

    /// Takes one batch in, and answers whether there is likely another.
    fn receive(&mut self) -> io::Result<bool> {
        match self.shared.socket.receive(&mut self.batch) {
            Ok(()) => self.failures = 0,
            // An interface that is down comes up again.
            Err(_) if self.failures < MAX_FAILURES => {
                self.failures += 1;
                thread::sleep(AFTER_FAILURE);
            }
            Err(error) => return Err(error),
        }
        let peers = self.shared.socket.take_icmp_peers();
        if !peers.is_empty() {
            self.shared.core().count_icmp(peers);
        }
        if self.batch.is_empty() {
            return Ok(false);
        }
        let mut count = 0;
        {
            let now = Instant::now();
            let mut core = self.shared.core();
            for (index, (path, datagram)) in self.batch.datagrams().enumerate() {
                count += 1;
                let handled = quietly(&self.shared.callback_panics, || {
                    core.endpoint.handle_datagram(now, path, datagram)
                });
                match handled {
                    Some(Ok(Handled::Consumed)) | None => {}
                    Some(Ok(Handled::Foreign)) => self.foreign.push(index),
                    Some(Err(error)) => self.errors.push(error),
                }
            }
        }
        self.tell_foreign();
        for error in std::mem::take(&mut self.errors) {
            self.shared.troubles.fetch_add(1, Ordering::Relaxed);
            self.guard(None, |handler, _| handler.trouble(&error));
        }
        Ok(count >= BUSY)
    }

    fn time_out(&mut self) {
        let mut core = self.shared.core();
        let now = Instant::now();
        if core.next_timeout().is_some_and(|at| at <= now) {
            // Each panic ends one connection, so this ends.
            while quietly(&self.shared.callback_panics, || {
                core.endpoint.handle_timeout(now);
            })
            .is_none()
            {}
        }
    }

    /// Hands out the datagrams of the batch that are not DTLS.
    fn tell_foreign(&mut self) {
        if self.foreign.is_empty() {
            return;
        }
        let mut wanted = self.foreign.iter().copied().peekable();
        for (index, (path, datagram)) in self.batch.datagrams().enumerate() {
            if wanted.next_if_eq(&index).is_some() {
                let (server, handler) = (self.server, &mut *self.handler);
                if let Err(panic) = caught(|| handler.foreign(server, path, datagram)) {
                    report(self.shared, handler, None, panic);
                }
            }
        }
        self.foreign.clear();
    }

    /// Tells what has happened, and answers whether that was all.
    fn tell(&mut self) -> bool {
        for _ in 0..EVENTS_PER_TURN {
            let (handle, event, was_established) = {
                let mut core = self.shared.core();
                let Some((handle, event)) = core.endpoint.poll_event() else {
                    return true;
                };
                let connection = core.endpoint.connection(handle);
                let established = connection.is_some_and(|it| it.handshake_info().is_some());
                if matches!(event, EndpointEvent::Closed(_) | EndpointEvent::Failed(_)) {
                    core.forget_icmp(handle);
                }
                (handle, event, established)
            };
            match event {
                EndpointEvent::Connected => {
                    self.with_peer(handle, |handler, peer| handler.connected(peer));
                }
                EndpointEvent::Readable => self.tell_messages(handle),
                EndpointEvent::MtuChanged(mtu) => {
                    self.with_peer(handle, |handler, peer| handler.mtu_changed(peer, mtu));
                }
                EndpointEvent::Closed(reason) => {
                    self.tell_end(handle, End::Closed(reason), was_established);
                }
                EndpointEvent::Failed(error) => {
                    self.tell_end(handle, End::Failed(&error), was_established);
                }
            }
        }
        false
    }

    fn tell_end(&mut self, handle: ConnectionHandle, end: End<'_>, was_established: bool) {
        self.guard(None, |handler, _| {
            if was_established {
                handler.closed(handle, end);
            } else {
                handler.handshake_failed(handle, end);
            }
        });
    }

    fn tell_messages(&mut self, handle: ConnectionHandle) {
        let mut message = std::mem::take(&mut self.message);
        loop {
            let received = self.shared.core().endpoint.recv(handle, &mut message);
            // The buffer has room for the largest message there is.
            let Ok(Some(length)) = received else {
                break;
            };
            let message = message.get(..length).unwrap_or_default();
            if !self.with_peer(handle, |handler, peer| handler.message(peer, message)) {
                break;
            }
        }
        self.message = message;
    }

    /// Calls the handler for one peer, and answers whether its connection goes on.
    fn with_peer(
        &mut self,
        handle: ConnectionHandle,
        call: impl FnOnce(&mut H, &mut Peer<'_>),
    ) -> bool {
        let mut peer = Peer::new(self.server, handle);
        let went_well = self.guard(Some(handle), |handler, _| call(handler, &mut peer));
        if went_well && !peer.is_closed() {
            return true;
        }
        {
            let mut core = self.shared.core();
            core.endpoint.close(handle);
            // Its messages as well, and its last event, which is told here.
            core.endpoint.forget(handle);
            core.forget_icmp(handle);
        }
        self.tell_end(handle, End::Closed(CloseReason::Local), true);
        false
    }

    /// Calls the handler, and answers whether it did not panic.
    fn guard(
        &mut self,
        handle: Option<ConnectionHandle>,
        call: impl FnOnce(&mut H, &Server),
    ) -> bool {
        let (server, handler) = (self.server, &mut *self.handler);
        match caught(|| call(handler, server)) {
            Ok(()) => true,
            Err(panic) => {
                report(self.shared, handler, handle, panic);
                false
            }
        }
    }
}

impl Server {
    /// As [`send`](Self::send), by the thread that will send at the end of its turn.
    pub(super) fn send_from_loop(
        &self,
        handle: ConnectionHandle,
        message: &[u8],
    ) -> Result<(), SendError> {
        let mut core = self.shared.core();
        let sent = core.endpoint.send(handle, message);
        if !matches!(sent, Err(SendError::Full)) {
            return sent;
        }
        core.flush(&self.shared.socket, usize::MAX);
        core.endpoint.send(handle, message)
    }
}

type Panic = Box<dyn Any + Send>;

/// Runs `call`, whose panic leaves what it touched as whole as any early return does.
fn caught<R>(call: impl FnOnce() -> R) -> Result<R, Panic> {
    catch_unwind(AssertUnwindSafe(call))
}

/// Runs `call`, and counts a panic instead of telling it.
fn quietly<R>(panics: &AtomicU64, call: impl FnOnce() -> R) -> Option<R> {
    match caught(call) {
        Ok(answer) => Some(answer),
        Err(panic) => {
            panics.fetch_add(1, Ordering::Relaxed);
            dispose(panic);
            None
        }
    }
}

/// Counts the handler's panic, and tells it.
fn report(
    shared: &Shared,
    handler: &mut impl Handler,
    handle: Option<ConnectionHandle>,
    panic: Panic,
) {
    shared.handler_panics.fetch_add(1, Ordering::Relaxed);
    quietly(&shared.handler_panics, || {
        handler.panicked(handle, &*panic);
    });
    dispose(panic);
}

/// Drops what a panic carried, which may panic in turn.
fn dispose(panic: Panic) {
    if let Err(another) = caught(move || drop(panic)) {
        std::mem::forget(another);
    }
}
