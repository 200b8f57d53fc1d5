//! Many clients in one thread, each over a socket of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use openssl_dtls::{Connection, Context, Event, ServerName};

/// Room for the largest UDP datagram, in bytes.
const LARGEST_DATAGRAM: usize = 65_535;

/// What the swarm does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) server_name: Option<ServerName>,
    pub(crate) connections: usize,
    /// Handshakes under way at the same time.
    pub(crate) at_once: usize,
    /// How many of a hundred clients fall silent once they have returned their cookie.
    pub(crate) stall: usize,
    /// Messages of each client, one after the other, and bytes of each.
    pub(crate) messages: u64,
    pub(crate) size: usize,
    /// How long to be idle after the messages, before one more.
    pub(crate) hold: Option<Duration>,
    /// How long a handshake and an answer may take.
    pub(crate) handshake_timeout: Duration,
    pub(crate) answer_timeout: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What the first handshake agreed on.
    pub(crate) agreed: Option<String>,
    pub(crate) handshakes: Vec<Duration>,
    pub(crate) handshakes_took: Duration,
    pub(crate) failures: Vec<String>,
    pub(crate) stalled: usize,
    pub(crate) round_trips: Vec<Duration>,
    pub(crate) messages_took: Duration,
    pub(crate) lost: u64,
    /// Of the message after the idle time.
    pub(crate) held: usize,
    pub(crate) held_lost: usize,
    /// Datagrams this host had no room for.
    pub(crate) not_sent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshaking,
    /// Waits for the answer to its message of this number.
    Asking(u64),
    Idle,
    /// Waits for the answer to the message after the idle time.
    AskingAgain,
    Stalled,
    Done,
}

struct Client {
    socket: UdpSocket,
    connection: Connection,
    state: State,
    stalls: bool,
    begun: Instant,
    deadline: Instant,
}

pub(crate) struct Swarm<'a, P> {
    plan: Plan,
    context: &'a Context,
    poll: Poll,
    clients: Vec<Client>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Handshakes under way.
    under_way: usize,
    /// Clients that neither wait for anything nor will.
    settled: usize,
    begun: Instant,
    first_message: Instant,
    buffer: Vec<u8>,
    outcome: Outcome,
    progress: P,
}

impl<'a, P: FnMut(u64)> Swarm<'a, P> {
    /// `progress` hears how many handshakes and messages are done.
    pub(crate) fn new(plan: Plan, context: &'a Context, progress: P) -> io::Result<Self> {
        Ok(Swarm {
            clients: Vec::with_capacity(plan.connections),
            plan,
            context,
            poll: Poll::new()?,
            timers: BinaryHeap::new(),
            under_way: 0,
            settled: 0,
            begun: Instant::now(),
            first_message: Instant::now(),
            buffer: vec![0; LARGEST_DATAGRAM],
            outcome: Outcome::default(),
            progress,
        })
    }

    pub(crate) fn run(mut self) -> Result<Outcome, Box<dyn Error>> {
        let mut events = Events::with_capacity(1024);
        self.run_until_settled(&mut events)?;
        self.outcome.messages_took = self.first_message.elapsed();
        if let Some(hold) = self.plan.hold {
            std::thread::sleep(hold);
            self.ask_again();
            self.run_until_settled(&mut events)?;
        }
        for client in &mut self.clients {
            if client.state != State::Stalled {
                client.connection.close();
                self.outcome.not_sent += flush(client);
            }
        }
        Ok(self.outcome)
    }

    fn run_until_settled(&mut self, events: &mut Events) -> Result<(), Box<dyn Error>> {
        loop {
            while self.clients.len() < self.plan.connections && self.under_way < self.plan.at_once {
                self.begin()?;
            }
            if self.settled == self.plan.connections {
                return Ok(());
            }
            let next = self.timers.peek().map(|Reverse((at, _))| *at);
            let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &*events {
                self.receive(event.token().0);
            }
            self.time_out();
            let done = self.outcome.handshakes.len() + self.outcome.round_trips.len();
            (self.progress)(done as u64 + self.outcome.lost);
        }
    }

    fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        let index = self.clients.len();
        let host = match self.plan.to {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        };
        let mut socket = UdpSocket::bind(host.parse()?)?;
        socket.connect(self.plan.to)?;
        let registry = self.poll.registry();
        registry.register(&mut socket, Token(index), Interest::READABLE)?;
        let now = Instant::now();
        let name = self.plan.server_name.clone();
        let connection = Connection::client(self.context, self.plan.to, name, now)?;
        self.clients.push(Client {
            socket,
            connection,
            state: State::Handshaking,
            stalls: (index * self.plan.stall) % 100 + self.plan.stall > 99,
            begun: now,
            deadline: now + self.plan.handshake_timeout,
        });
        self.under_way += 1;
        self.after_call(index);
        Ok(())
    }

    fn receive(&mut self, index: usize) {
        loop {
            let Some(client) = self.clients.get_mut(index) else {
                return;
            };
            let length = match client.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Also what ICMP said of an earlier datagram: the deadline decides.
                Err(_) => return,
            };
            if matches!(client.state, State::Stalled | State::Done) {
                continue;
            }
            let now = Instant::now();
            let outcome = client
                .connection
                .handle_datagram(now, &self.buffer[..length]);
            if client.stalls {
                // The cookie goes back, and that is all.
                self.outcome.not_sent += flush(client);
                client.state = State::Stalled;
                self.outcome.stalled += 1;
                self.under_way -= 1;
                self.settled += 1;
                continue;
            }
            match outcome {
                Ok(()) => self.after_call(index),
                Err(error) => self.fail(index, &error),
            }
        }
    }

    fn time_out(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, index))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(client) = self.clients.get_mut(index) else {
                continue;
            };
            match client.state {
                State::Handshaking => {
                    let outcome = client.connection.handle_timeout(now);
                    if client.deadline <= now {
                        self.fail(index, &openssl_dtls::Error::HandshakeTimeout);
                    } else if let Err(error) = outcome {
                        self.fail(index, &error);
                    } else {
                        self.after_call(index);
                    }
                }
                State::Asking(number) if client.deadline <= now => {
                    self.outcome.lost += 1;
                    self.ask(index, number + 1);
                }
                State::AskingAgain if client.deadline <= now => {
                    self.outcome.held_lost += 1;
                    self.settle(index, State::Done);
                }
                _ => {}
            }
        }
    }

    /// Sends what waits, and goes on with what happened.
    fn after_call(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        self.outcome.not_sent += flush(client);
        while let Some(event) = client.connection.poll_event() {
            match event {
                Event::Connected => {
                    self.outcome.handshakes.push(client.begun.elapsed());
                    self.outcome.handshakes_took = self.begun.elapsed();
                    self.under_way -= 1;
                    if let (None, Some(info)) =
                        (&self.outcome.agreed, client.connection.handshake_info())
                    {
                        self.outcome.agreed = Some(crate::report::agreed(info));
                        self.first_message = Instant::now();
                    }
                    self.ask(index, 0);
                    return self.after_call(index);
                }
                Event::Closed(reason) => {
                    return self.fail_with(index, format!("closed: {reason:?}"));
                }
                _ => {}
            }
        }
        loop {
            let Some(client) = self.clients.get_mut(index) else {
                return;
            };
            let Ok(Some(length)) = client.connection.recv(&mut self.buffer) else {
                break;
            };
            let number = self.buffer[..length]
                .first_chunk()
                .map(|bytes| u64::from_be_bytes(*bytes));
            match client.state {
                State::Asking(asked) if number == Some(asked) => {
                    self.outcome.round_trips.push(client.begun.elapsed());
                    self.ask(index, asked + 1);
                }
                State::AskingAgain if number == Some(self.plan.messages) => {
                    self.outcome.held += 1;
                    self.settle(index, State::Done);
                }
                // An answer that was given up for lost.
                _ => {}
            }
        }
        self.set_timer(index);
    }

    /// Sends the message of this number, or is done with them.
    fn ask(&mut self, index: usize, number: u64) {
        if number >= self.plan.messages {
            return self.settle(index, State::Idle);
        }
        if self.send(index, number) {
            if let Some(client) = self.clients.get_mut(index) {
                client.state = State::Asking(number);
            }
            self.set_timer(index);
        }
    }

    /// One more message of everybody who is idle.
    fn ask_again(&mut self) {
        for index in 0..self.clients.len() {
            if self.clients[index].state != State::Idle {
                continue;
            }
            self.settled -= 1;
            if self.send(index, self.plan.messages) {
                self.clients[index].state = State::AskingAgain;
                self.set_timer(index);
            }
            // What has come so far, so that no queue runs over.
            self.receive(index);
        }
    }

    fn send(&mut self, index: usize, number: u64) -> bool {
        let Some(client) = self.clients.get_mut(index) else {
            return false;
        };
        let mut message = vec![0; self.plan.size];
        message[..8].copy_from_slice(&number.to_be_bytes());
        client.begun = Instant::now();
        client.deadline = client.begun + self.plan.answer_timeout;
        let sent = client.connection.send(&message);
        self.outcome.not_sent += flush(client);
        match sent {
            Ok(()) => true,
            Err(error) => {
                self.fail_with(index, error.to_string());
                false
            }
        }
    }

    fn set_timer(&mut self, index: usize) {
        let Some(client) = self.clients.get(index) else {
            return;
        };
        if matches!(
            client.state,
            State::Handshaking | State::Asking(_) | State::AskingAgain
        ) {
            let timer = client.connection.poll_timeout();
            let at = timer.map_or(client.deadline, |at| at.min(client.deadline));
            self.timers.push(Reverse((at, index)));
        }
    }

    fn settle(&mut self, index: usize, state: State) {
        if let Some(client) = self.clients.get_mut(index) {
            client.state = state;
            client.connection.release_buffers();
            self.settled += 1;
        }
    }

    fn fail(&mut self, index: usize, error: &dyn Error) {
        self.fail_with(index, crate::report::chain(error));
    }

    fn fail_with(&mut self, index: usize, why: String) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        self.outcome.not_sent += flush(client);
        match client.state {
            State::Handshaking => self.under_way -= 1,
            State::Stalled | State::Done => return,
            State::Idle => self.settled -= 1,
            State::Asking(_) | State::AskingAgain => {}
        }
        self.outcome.failures.push(why);
        self.settle(index, State::Done);
    }
}

/// Sends what waits, and answers how many datagrams this host had no room for.
fn flush(client: &mut Client) -> u64 {
    let mut not_sent = 0;
    while let Some(transmit) = client.connection.poll_transmit() {
        not_sent += u64::from(client.socket.send(transmit.contents).is_err());
    }
    not_sent
}
