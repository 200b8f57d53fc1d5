//! The record gate: reads headers before libssl does, drops what can hurt it, and says why.
//!
//! libssl trusts what is in the clear: one forged datagram of 14 bytes ends a handshake for good. The gate judges each record on
//! its own and never changes a byte. It passes each handshake message once, whole and in its turn, and nothing that libssl would
//! not take at that moment: libssl counts the number even of a record it has no use for as seen, and drops the real one that
//! bears it. What comes too early waits here, within bounds.

mod messages;
mod rules;
mod waiting;
mod window;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::waiting::{Key, Waiting, covers};
use self::window::Window;
use crate::types::{Alert, DropReason, Drops, Role};
use crate::wire::{self, ClientHello, Record, content, message, split_fragment, split_record};

/// How far a record's number may lie above all that passed, apart from records that wait. libssl drops what lies 64 below the
/// highest number it has seen, so more would let a forged copy of a real message shut out the other real ones.
const SEQUENCE_LEAD: u64 = 32;
/// What the lead grows to while nothing arrives: the peer goes on counting, and its records may all be lost.
const MAX_SEQUENCE_LEAD: u64 = 1 << 16;
/// Bytes of payload that a record in the clear has at most (RFC 6347, 4.1): libssl ends the handshake over a longer one.
const MAX_PLAINTEXT: usize = 1 << 14;
/// Handshake messages a peer can send: with every optional message and a few HelloVerifyRequests there are a dozen.
const MAX_MESSAGES: usize = 16;
/// Bytes of records that wait beside those of a certificate list.
const MAX_WAITING: usize = 64 * 1024;
/// Records of the next epoch that wait for their keys, and their bytes.
const MAX_EARLY_RECORDS: usize = 16;
const MAX_EARLY_BYTES: usize = 24 * 1024;
/// A client's Certificate message of so many bytes has no certificate in it.
const EMPTY_CERTIFICATE_LIST: u32 = 3;

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Give it to libssl, and tell [`Gate::taken`] if libssl read it.
    Pass,
    /// It waits here: its turn has not come.
    Keep,
    /// Drop and count it.
    Drop(DropReason),
    /// An alert that ends the handshake, if it is the peer's; anybody can have sent it.
    Hold(Alert),
    /// A server that got a cookie asks for another one, if it is the peer's.
    AskedAgain,
}

/// The gate of one handshake. What comes after it needs no memory: see [`judge_established`].
#[derive(Debug)]
pub(crate) struct Gate {
    role: Role,
    max_certificate_list: u32,
    /// What libssl has seen in epoch 0.
    window: Window,
    /// How far above `window` a number may lie.
    lead: u64,
    /// The version that was agreed on; libssl drops records of any other.
    version: Option<u16>,
    suite: Option<u16>,
    /// `message_seq` of the message that libssl waits for.
    due: u16,
    /// `message_seq` of the hello that all others follow: the ClientHello at a server, the ServerHello at a client.
    hello_seq: Option<u16>,
    /// Of the last message that passed.
    rank: Option<usize>,
    /// The messages that passed, by `message_seq`.
    passed: [Option<Passed>; MAX_MESSAGES],
    /// Records whose turn has not come.
    waiting: Waiting,
    /// Records whose turn has come.
    ready: VecDeque<Box<[u8]>>,
    /// A message whose first fragment libssl has already, at a server: its ClientHello.
    begun: Option<(Key, Vec<(u32, u32)>)>,
    /// At a client: nothing but a HelloVerifyRequest may pass before one has.
    verify_first: bool,
    /// Digests of the ServerHellos that came, and how many of them came in earlier tries.
    hellos: Vec<u64>,
    stale_hellos: usize,
    /// Session id of the ClientHello that was sent.
    session_id: Vec<u8>,
    /// At a client: the server takes up the session that was offered.
    is_resumed: bool,
    /// At a client: a NewSessionTicket comes before the ChangeCipherSpec.
    is_ticket_promised: bool,
    /// This end has sent its ChangeCipherSpec.
    cipher_spec_sent: bool,
    /// libssl has the peer's.
    cipher_spec_taken: bool,
    /// The peer's, which came too early.
    cipher_spec: Option<Box<[u8]>>,
    /// Records of the next epoch, which came before their keys.
    early: VecDeque<Box<[u8]>>,
    early_bytes: usize,
    /// A message passed since the last interval.
    has_progressed: bool,
    /// Somebody sent another version of a message that passed.
    is_contradicted: bool,
    /// What was dropped after it had waited.
    drops: Option<Box<Drops>>,
}

/// What is remembered of a message that passed.
#[derive(Debug, Clone, Copy)]
struct Passed {
    key: Key,
    /// Of a message that came in one record.
    digest: Option<u64>,
}

impl Gate {
    /// A gate in front of `role`, which takes certificate lists of at most `max_certificate_list` bytes.
    pub(crate) fn new(role: Role, max_certificate_list: usize) -> Gate {
        Gate {
            role,
            max_certificate_list: u32::try_from(max_certificate_list).unwrap_or(u32::MAX),
            window: Window::default(),
            lead: SEQUENCE_LEAD,
            version: None,
            suite: None,
            due: 0,
            hello_seq: None,
            rank: None,
            passed: [None; MAX_MESSAGES],
            waiting: Waiting::new(max_certificate_list.saturating_add(MAX_WAITING)),
            ready: VecDeque::new(),
            begun: None,
            verify_first: false,
            hellos: Vec::new(),
            stale_hellos: 0,
            session_id: Vec::new(),
            is_resumed: false,
            is_ticket_promised: false,
            cipher_spec_sent: false,
            cipher_spec_taken: false,
            cipher_spec: None,
            early: VecDeque::new(),
            early_bytes: 0,
            has_progressed: false,
            is_contradicted: false,
            drops: None,
        }
    }

    /// The gate for a client's next try after this one.
    ///
    /// A server that asked for a cookie does so again; whatever comes before that answers the try that failed. So does, behind it,
    /// a flight whose ServerHello has come already.
    pub(crate) fn for_next_try(&self) -> Gate {
        Gate {
            verify_first: self.verify_first || self.verify_seen(),
            hellos: self.hellos.clone(),
            stale_hellos: self.hellos.len(),
            ..Gate::new(self.role, self.max_certificate_list as usize)
        }
    }

    /// A listener took this ClientHello already, or its first fragment.
    pub(crate) fn hello_taken(&mut self, hello: &ClientHello<'_>) {
        self.window.mark(hello.record.sequence);
        self.due = hello.message_seq;
        let Ok((fragment, _)) = split_fragment(hello.record.payload()) else {
            return;
        };
        if fragment.is_whole() {
            self.advance(&fragment, Some(fragment.body));
        } else {
            self.begun = Some((Key::of(&fragment), vec![fragment.span()]));
        }
    }

    /// A retransmission interval went by. The peer sends again what waits here, and its record numbers may be far ahead.
    pub(crate) fn interval_passed(&mut self) {
        self.lead = if self.has_progressed {
            SEQUENCE_LEAD
        } else {
            (self.lead * 2).min(MAX_SEQUENCE_LEAD)
        };
        self.has_progressed = false;
        self.count(DropReason::TooManyEarlyRecords, self.early.len() as u64);
        self.early.clear();
        self.early_bytes = 0;
        // It may have been a forger who asked.
        self.verify_first = false;
    }

    /// Whether somebody sent another version of a message that passed: if nothing goes on, the wrong one has.
    pub(crate) fn is_contradicted(&self) -> bool {
        self.is_contradicted
    }

    /// Bytes of payload that an encrypted record has at least.
    pub(crate) fn shortest_record(&self) -> usize {
        self.suite.map_or(rules::SHORTEST, rules::shortest_record)
    }

    /// What was dropped after it had waited, since the last call.
    pub(crate) fn take_drops(&mut self) -> Option<Box<Drops>> {
        self.drops.take()
    }

    /// Sees each datagram libssl sends.
    pub(crate) fn outbound(&mut self, mut datagram: &[u8]) {
        while let Ok((record, rest)) = split_record(datagram) {
            datagram = rest;
            match (record.content_type, record.epoch) {
                (content::CHANGE_CIPHER_SPEC, 0) => self.cipher_spec_sent = true,
                (content::HANDSHAKE, 0) => self.outbound_message(&record),
                _ => {}
            }
        }
    }

    fn outbound_message(&mut self, record: &Record<'_>) {
        let Ok((fragment, _)) = split_fragment(record.payload()) else {
            return;
        };
        match (fragment.message_type, fragment.offset) {
            (message::SERVER_HELLO, 0) => {
                self.version = Some(record.version);
                self.suite = wire::server_hello(fragment.body).map(|hello| hello.suite);
            }
            (message::CLIENT_HELLO, 0) => {
                if let Ok(hello) = wire::first_client_hello(record.bytes) {
                    self.session_id = hello.session_id().to_vec();
                }
            }
            _ => {}
        }
    }

    /// Judges one record from the peer.
    pub(crate) fn inbound(&mut self, record: &Record<'_>) -> Verdict {
        #[cfg(test)]
        if bypass::is_on() {
            return Verdict::Pass;
        }
        let verdict = match record.epoch {
            _ if record.payload().is_empty() => Err(DropReason::BadLength),
            0 => self.in_the_clear(record),
            1 => self.encrypted(record),
            // Keys change a second time only in a renegotiation, which is never done.
            _ => Err(DropReason::BadEpoch),
        };
        verdict.unwrap_or_else(Verdict::Drop)
    }

    /// The next record whose turn has come, to be given to libssl as one that passed.
    pub(crate) fn release(&mut self) -> Option<Box<[u8]>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            let (too_old, message) = self.waiting.take_complete(&self.window);
            self.count(DropReason::Replayed, too_old);
            match message {
                Some((key, records)) => self.make_ready(key, records),
                None => break,
            }
        }
        if self.expects_cipher_spec()
            && let Some(record) = self.cipher_spec.take()
        {
            let sequence = split_record(&record).map(|(record, _)| record.sequence);
            if sequence.is_ok_and(|sequence| self.window.takes(sequence)) {
                return Some(record);
            }
            self.count(DropReason::Replayed, 1);
        }
        if !self.cipher_spec_taken {
            return None;
        }
        while let Some(record) = self.early.pop_front() {
            // Its suite was not known when it came.
            match split_record(&record)
                .map(|(record, _)| judge_encrypted(&record, self.shortest_record(), self.version))
            {
                Ok(Ok(())) => return Some(record),
                Ok(Err(reason)) | Err(reason) => self.count(reason, 1),
            }
        }
        None
    }

    /// libssl read a record that passed or was released.
    pub(crate) fn taken(&mut self, record: &Record<'_>) {
        #[cfg(test)]
        if bypass::is_on() {
            return;
        }
        if record.epoch != 0 {
            return;
        }
        self.window.mark(record.sequence);
        if record.content_type == content::CHANGE_CIPHER_SPEC {
            self.cipher_spec_taken = true;
            return;
        }
        let mut payload = record.payload();
        while let Ok((fragment, rest)) = split_fragment(payload) {
            payload = rest;
            if fragment.message_seq != self.due {
                continue;
            }
            if fragment.is_whole() {
                self.advance(&fragment, Some(fragment.body));
            } else if let Some((_, spans)) = &mut self.begun {
                // A repeated span adds nothing, and there are only so many others.
                if !spans.contains(&fragment.span()) {
                    spans.push(fragment.span());
                }
                if covers(fragment.length, spans.clone()) {
                    self.begun = None;
                    self.advance(&fragment, None);
                }
            }
        }
    }

    /// libssl has not read a record that was released: it waits for something else.
    pub(crate) fn put_back(&mut self, record: Box<[u8]>) {
        self.ready.push_front(record);
    }

    fn encrypted(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        let shortest = self.shortest_record();
        judge_encrypted(record, shortest, self.version)?;
        if self.cipher_spec_taken && self.ready.is_empty() && self.early.is_empty() {
            return Ok(Verdict::Pass);
        }
        let length = record.bytes.len();
        if self.early.len() >= MAX_EARLY_RECORDS || self.early_bytes + length > MAX_EARLY_BYTES {
            return Err(DropReason::TooManyEarlyRecords);
        }
        self.early_bytes += length;
        self.early.push_back(record.bytes.into());
        Ok(Verdict::Keep)
    }

    fn in_the_clear(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        if record.payload().len() > MAX_PLAINTEXT {
            return Err(DropReason::BadLength);
        }
        match record.content_type {
            // The peer's own would be encrypted.
            content::ALERT if self.cipher_spec_taken => Err(DropReason::UnprovenAlert),
            // libssl takes alerts of any version.
            content::ALERT => alert(record.payload()),
            content::CHANGE_CIPHER_SPEC | content::HANDSHAKE => {
                if self
                    .version
                    .is_some_and(|version| version != record.version)
                {
                    return Err(DropReason::BadVersion);
                }
                let lead = self.lead + self.waiting.len() as u64;
                if record.sequence > self.window.highest() + lead {
                    return Err(DropReason::SequenceTooFar);
                }
                if !self.window.takes(record.sequence) {
                    return Err(DropReason::Replayed);
                }
                if record.content_type == content::HANDSHAKE {
                    self.handshake(record)
                } else {
                    self.change_cipher_spec(record)
                }
            }
            _ => Err(DropReason::BadContentType),
        }
    }

    /// It passes when libssl waits for it and not before: libssl would drop it and not take another of its number.
    fn change_cipher_spec(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        if record.payload() != [1] {
            return Err(DropReason::BadLength);
        }
        if self.cipher_spec_taken {
            return Err(DropReason::RepeatedMessage);
        }
        if self.expects_cipher_spec() && self.ready.is_empty() {
            return Ok(Verdict::Pass);
        }
        let repeated = self.cipher_spec.replace(record.bytes.into());
        self.count(DropReason::RepeatedMessage, repeated.is_some().into());
        Ok(Verdict::Keep)
    }

    /// Whether libssl would take a ChangeCipherSpec now (statem_clnt.c and statem_srvr.c, `read_transition`).
    fn expects_cipher_spec(&self) -> bool {
        if self.cipher_spec_taken || self.hello_seq.is_none() {
            return false;
        }
        match self.role {
            Role::Client => {
                let is_its_turn = self.is_resumed || self.cipher_spec_sent;
                is_its_turn
                    && (!self.is_ticket_promised || self.has_passed(message::NEW_SESSION_TICKET))
            }
            Role::Server => {
                let certificate = self.passed_key(message::CERTIFICATE);
                let is_proved = certificate.is_none_or(|key| key.length <= EMPTY_CERTIFICATE_LIST)
                    || self.has_passed(message::CERTIFICATE_VERIFY);
                self.cipher_spec_sent || self.has_passed(message::CLIENT_KEY_EXCHANGE) && is_proved
            }
        }
    }

    fn passed_key(&self, message_type: u8) -> Option<Key> {
        let mut passed = self.passed.iter().flatten().map(|passed| passed.key);
        passed.find(|key| key.message_type == message_type)
    }

    fn has_passed(&self, message_type: u8) -> bool {
        self.passed_key(message_type).is_some()
    }

    fn verify_seen(&self) -> bool {
        self.has_passed(message::HELLO_VERIFY_REQUEST)
    }

    fn count(&mut self, reason: DropReason, number: u64) {
        if number > 0 {
            self.drops.get_or_insert_default().add_many(reason, number);
        }
    }
}

/// Judges one record from the peer once the handshake is complete: everything is encrypted, in records of `shortest` bytes of
/// payload at least.
pub(crate) fn judge_established(record: &Record<'_>, shortest: usize) -> Verdict {
    #[cfg(test)]
    if bypass::is_on() {
        return Verdict::Pass;
    }
    let verdict = match record.epoch {
        _ if record.payload().is_empty() => Err(DropReason::BadLength),
        0 => Err(stale(record)),
        1 => judge_encrypted(record, shortest, None),
        _ => Err(DropReason::BadEpoch),
    };
    match verdict {
        Ok(()) => Verdict::Pass,
        Err(reason) => Verdict::Drop(reason),
    }
}

fn judge_encrypted(
    record: &Record<'_>,
    shortest: usize,
    version: Option<u16>,
) -> Result<(), DropReason> {
    if record.content_type == content::CHANGE_CIPHER_SPEC {
        return Err(DropReason::UnexpectedMessage);
    }
    if version.is_some_and(|version| version != record.version) {
        return Err(DropReason::BadVersion);
    }
    if record.payload().len() < shortest {
        return Err(DropReason::BadLength);
    }
    Ok(())
}

/// Why a record in the clear is dropped once keys are there.
fn stale(record: &Record<'_>) -> DropReason {
    match (record.content_type, record.payload().first()) {
        (content::ALERT, _) => DropReason::UnprovenAlert,
        (content::HANDSHAKE, Some(&(message::HELLO_REQUEST | message::CLIENT_HELLO))) => {
            DropReason::RepeatedHello
        }
        _ => DropReason::BadEpoch,
    }
}

/// An alert in the clear: one that ends the handshake waits, every other is dropped, since libssl answers it.
fn alert(payload: &[u8]) -> Result<Verdict, DropReason> {
    const WARNING: u8 = 1;
    const FATAL: u8 = 2;
    match *payload {
        [FATAL, description] => Ok(Verdict::Hold(Alert(description))),
        [WARNING, description] if Alert(description) == Alert::CLOSE_NOTIFY => {
            Ok(Verdict::Hold(Alert::CLOSE_NOTIFY))
        }
        _ => Err(DropReason::UnprovenAlert),
    }
}

/// Lets a test show what the gate is there for.
#[cfg(test)]
pub(crate) mod bypass {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether records of this thread go around the gate.
    pub(crate) fn is_on() -> bool {
        ON.get()
    }

    /// Runs `test` with every gate of this thread open.
    pub(crate) fn with<R>(test: impl FnOnce() -> R) -> R {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(false);
            }
        }
        ON.set(true);
        let _off = Off;
        test()
    }
}
