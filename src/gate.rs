//! The record gate: reads headers before libssl does, drops what can hurt it, and says why.
//!
//! libssl trusts what is in the clear: one forged datagram of 14 bytes ends a handshake for good. The gate judges each record on
//! its own, never changes a byte, and keeps no more than this struct.

use crate::types::{Alert, DropReason, Role};
use crate::wire::{ClientHello, Fragment, Record, content, message, split_fragment, split_record};

/// How far a handshake record's number may lie above all before it. A peer that resends for minutes stays below.
const MAX_SEQUENCE_LEAD: u64 = 1024;
/// How far a ChangeCipherSpec's number may lie above that of the handshake messages it follows. libssl drops what is 64 below the
/// highest number it has seen, so more would let a forged one shut out the real messages.
const MAX_CIPHER_SPEC_LEAD: u64 = 16;
/// ChangeCipherSpecs that pass in one retransmission interval.
const MAX_CIPHER_SPECS: u8 = 8;
/// Records of the next epoch that pass in one interval while libssl can only keep them.
const MAX_EARLY_RECORDS: u8 = 8;
/// The same once the keys may be there: libssl then reads them at once.
const MAX_KEYED_RECORDS: u8 = 64;
/// Handshake messages a peer can send: with every optional message there are nine.
const MAX_MESSAGES: usize = 16;
/// The `message_seq` a ServerHello can have: 0, and one more for each HelloVerifyRequest.
const MAX_SERVER_HELLO_SEQ: u16 = 3;
/// Bytes that all messages together may claim beside a certificate list.
const MAX_DECLARED: u32 = 96 * 1024;

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Give it to libssl. `handshake` tells that it holds well-formed messages of the handshake, in the clear.
    Pass { handshake: bool },
    /// Drop and count it.
    Drop(DropReason),
    /// An alert that ends the handshake, if it is the peer's; anybody can have sent it.
    Hold(Alert),
}

/// The gate of one handshake. What comes after it needs no memory: see [`judge_established`].
#[derive(Debug)]
pub(crate) struct Gate {
    role: Role,
    max_certificate_list: u32,
    /// The highest number of a handshake record that passed in epoch 0.
    highest: Option<u64>,
    /// `message_seq` of the hello that all others follow: the ClientHello at a server, the ServerHello at a client.
    hello_seq: Option<u16>,
    /// Type and length of the first fragment of each message that passed.
    messages: [(u8, u32); MAX_MESSAGES],
    /// Bytes that the messages that passed claim to have.
    declared: u32,
    /// At a server: a ServerHello went out, so the ClientHello is complete.
    hello_answered: bool,
    /// At a client: a HelloVerifyRequest passed.
    verify_seen: bool,
    /// At a client: nothing but a HelloVerifyRequest may pass before one has.
    verify_first: bool,
    cipher_spec_seen: bool,
    cipher_specs: u8,
    next_epoch_records: u8,
}

/// How long a message may be.
enum MaxLen {
    Bytes(u32),
    CertificateList,
}

/// What a role receives in the clear, and where: so many messages after the hello.
struct Rule {
    receiver: Role,
    message_type: u8,
    places: core::ops::RangeInclusive<u16>,
    max_len: MaxLen,
}

const fn rule(
    receiver: Role,
    message_type: u8,
    places: core::ops::RangeInclusive<u16>,
    max_len: MaxLen,
) -> Rule {
    Rule {
        receiver,
        message_type,
        places,
        max_len,
    }
}

/// RFC 5246, 7.3, with the lengths libssl takes (statem_clnt.c and statem_srvr.c, `max_message_size`), or less where no honest peer
/// comes near them. Finished comes encrypted.
const RULES: [Rule; 12] = [
    rule(
        Role::Server,
        message::CLIENT_HELLO,
        0..=0,
        MaxLen::Bytes(65_536),
    ),
    rule(
        Role::Server,
        message::CERTIFICATE,
        1..=1,
        MaxLen::CertificateList,
    ),
    rule(
        Role::Server,
        message::CLIENT_KEY_EXCHANGE,
        1..=2,
        MaxLen::Bytes(2_048),
    ),
    rule(
        Role::Server,
        message::CERTIFICATE_VERIFY,
        3..=3,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::SERVER_HELLO,
        0..=0,
        MaxLen::Bytes(20_000),
    ),
    rule(
        Role::Client,
        message::CERTIFICATE,
        1..=1,
        MaxLen::CertificateList,
    ),
    rule(
        Role::Client,
        message::CERTIFICATE_STATUS,
        2..=2,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::SERVER_KEY_EXCHANGE,
        1..=3,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::CERTIFICATE_REQUEST,
        1..=4,
        MaxLen::CertificateList,
    ),
    rule(
        Role::Client,
        message::SERVER_HELLO_DONE,
        1..=5,
        MaxLen::Bytes(0),
    ),
    rule(
        Role::Client,
        message::NEW_SESSION_TICKET,
        1..=6,
        MaxLen::Bytes(16_384),
    ),
    rule(
        Role::Client,
        message::HELLO_VERIFY_REQUEST,
        0..=0,
        MaxLen::Bytes(258),
    ),
];

impl Gate {
    /// A gate in front of `role`, which takes certificate lists of at most `max_certificate_list` bytes.
    pub(crate) fn new(role: Role, max_certificate_list: usize) -> Gate {
        Gate {
            role,
            max_certificate_list: u32::try_from(max_certificate_list).unwrap_or(u32::MAX),
            highest: None,
            hello_seq: None,
            messages: [(0, 0); MAX_MESSAGES],
            declared: 0,
            hello_answered: false,
            verify_seen: false,
            verify_first: false,
            cipher_spec_seen: false,
            cipher_specs: 0,
            next_epoch_records: 0,
        }
    }

    /// The gate for a client's next try after this one.
    ///
    /// A server that asked for a cookie does so again; whatever comes before that answers the try that failed.
    pub(crate) fn for_next_try(&self) -> Gate {
        let verify_first = self.verify_seen || self.verify_first;
        Gate {
            verify_first,
            ..Gate::new(self.role, self.max_certificate_list as usize)
        }
    }

    /// A listener took this ClientHello already.
    pub(crate) fn hello_taken(&mut self, hello: &ClientHello<'_>) {
        self.highest = Some(hello.record.sequence);
        self.hello_seq = Some(hello.message_seq);
        self.remember(hello.message_seq, message::CLIENT_HELLO, hello.length);
    }

    /// A retransmission interval went by: what was allowed once is allowed again.
    pub(crate) fn interval_passed(&mut self) {
        self.cipher_specs = 0;
        self.next_epoch_records = 0;
    }

    /// Sees each datagram libssl sends.
    pub(crate) fn outbound(&mut self, datagram: &[u8]) {
        if self.role == Role::Client || self.hello_answered {
            return;
        }
        self.hello_answered = split_record(datagram).is_ok_and(|(record, _)| {
            record.content_type == content::HANDSHAKE
                && record.payload().first() == Some(&message::SERVER_HELLO)
        });
    }

    /// Judges one record from the peer.
    pub(crate) fn inbound(&mut self, record: &Record<'_>) -> Verdict {
        #[cfg(test)]
        if bypass::is_on() {
            return Verdict::Pass { handshake: false };
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

    fn encrypted(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        let verdict = encrypted(record)?;
        let limit = if self.cipher_spec_seen {
            MAX_KEYED_RECORDS
        } else {
            MAX_EARLY_RECORDS
        };
        if self.next_epoch_records >= limit {
            return Err(DropReason::TooManyEarlyRecords);
        }
        self.next_epoch_records += 1;
        Ok(verdict)
    }

    fn in_the_clear(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        match record.content_type {
            content::HANDSHAKE => self.handshake(record),
            content::ALERT => alert(record.payload()),
            content::CHANGE_CIPHER_SPEC => self.change_cipher_spec(record),
            _ => Err(DropReason::BadContentType),
        }
    }

    fn change_cipher_spec(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        if record.payload() != [1] {
            return Err(DropReason::BadLength);
        }
        let Some(highest) = self.highest else {
            return Err(DropReason::UnexpectedMessage);
        };
        if record.sequence > highest + MAX_CIPHER_SPEC_LEAD {
            return Err(DropReason::SequenceTooFar);
        }
        if self.cipher_specs >= MAX_CIPHER_SPECS {
            return Err(DropReason::UnexpectedMessage);
        }
        self.cipher_specs += 1;
        self.cipher_spec_seen = true;
        Ok(Verdict::Pass { handshake: false })
    }

    /// A record can hold several fragments; one bad one drops it, and only a good one is remembered.
    fn handshake(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        let highest = self.highest.unwrap_or(0);
        if record.sequence > highest + MAX_SEQUENCE_LEAD {
            return Err(DropReason::SequenceTooFar);
        }
        let mut payload = record.payload();
        let mut answered = self.is_answered();
        while !payload.is_empty() {
            let (fragment, rest) = split_fragment(payload)?;
            self.check(&fragment)?;
            answered |= is_first_answer(&fragment);
            if !answered {
                return Err(DropReason::UnexpectedMessage);
            }
            payload = rest;
        }
        let mut payload = record.payload();
        while let Ok((fragment, rest)) = split_fragment(payload) {
            self.take(&fragment);
            payload = rest;
        }
        self.highest = Some(highest.max(record.sequence));
        Ok(Verdict::Pass { handshake: true })
    }

    /// Whether more of the peer's messages than the first can come now.
    ///
    /// A client that starts anew from its old address still gets the flight that answers the hello it sent before. That flight
    /// comes behind a HelloVerifyRequest, as its numbers show; the new hello has none yet.
    fn is_answered(&self) -> bool {
        self.role == Role::Server || self.verify_seen || self.hello_seq.is_some()
    }

    fn check(&self, fragment: &Fragment<'_>) -> Result<(), DropReason> {
        let &Fragment {
            message_type,
            length,
            message_seq,
            ..
        } = fragment;
        if self.role == Role::Client && message_type == message::HELLO_REQUEST {
            return Err(DropReason::RepeatedHello);
        }
        let rule = RULES
            .iter()
            .find(|rule| rule.receiver == self.role && rule.message_type == message_type)
            .ok_or(DropReason::UnexpectedMessage)?;
        let max_len = match rule.max_len {
            MaxLen::Bytes(bytes) => bytes,
            MaxLen::CertificateList => self.max_certificate_list,
        };
        if length > max_len {
            return Err(DropReason::MessageTooLong);
        }
        match message_type {
            // Each starts its own count, and libssl tells the repeated one by it.
            message::HELLO_VERIFY_REQUEST if self.hello_seq.is_some() || message_seq > 1 => {
                return Err(DropReason::UnexpectedMessage);
            }
            message::HELLO_VERIFY_REQUEST => return Ok(()),
            message::CLIENT_HELLO if self.hello_answered => {
                return Err(DropReason::RepeatedHello);
            }
            message::CLIENT_HELLO if self.hello_seq.is_some_and(|seq| seq != message_seq) => {
                return Err(DropReason::RepeatedHello);
            }
            _ => {}
        }
        if self.verify_first && !self.verify_seen {
            return Err(DropReason::UnexpectedMessage);
        }
        if !self.is_plausible(rule, message_seq) {
            return Err(DropReason::UnexpectedMessage);
        }
        match self.messages.get(usize::from(message_seq)) {
            None => Err(DropReason::UnexpectedMessage),
            Some(&(0, _)) if self.declared.saturating_add(length) > self.max_declared() => {
                Err(DropReason::MessageTooLong)
            }
            Some(&(0, _)) => Ok(()),
            // libssl ends the handshake over two lengths of one message.
            Some(&known) if known != (message_type, length) => Err(DropReason::Contradiction),
            Some(_) => Ok(()),
        }
    }

    /// Whether a message can have this number: counted from the hello, or from any hello there could be while none has come.
    fn is_plausible(&self, rule: &Rule, message_seq: u16) -> bool {
        let last_hello = match self.role {
            Role::Client => MAX_SERVER_HELLO_SEQ,
            Role::Server => 1,
        };
        let hellos = match self.hello_seq {
            Some(seq) => seq..=seq,
            None => 0..=last_hello,
        };
        (hellos.start() + rule.places.start()..=hellos.end() + rule.places.end())
            .contains(&message_seq)
    }

    fn max_declared(&self) -> u32 {
        self.max_certificate_list.saturating_add(MAX_DECLARED)
    }

    fn take(&mut self, fragment: &Fragment<'_>) {
        let &Fragment {
            message_type,
            length,
            message_seq,
            ..
        } = fragment;
        match message_type {
            message::HELLO_VERIFY_REQUEST => {
                self.verify_seen = true;
                return;
            }
            message::CLIENT_HELLO | message::SERVER_HELLO => self.hello_seq = Some(message_seq),
            _ => {}
        }
        self.remember(message_seq, message_type, length);
    }

    fn remember(&mut self, message_seq: u16, message_type: u8, length: u32) {
        if let Some(slot @ (0, _)) = self.messages.get_mut(usize::from(message_seq)) {
            *slot = (message_type, length);
            self.declared = self.declared.saturating_add(length);
        }
    }
}

/// Judges one record from the peer once the handshake is complete: everything is encrypted.
pub(crate) fn judge_established(record: &Record<'_>) -> Verdict {
    #[cfg(test)]
    if bypass::is_on() {
        return Verdict::Pass { handshake: false };
    }
    let verdict = match record.epoch {
        _ if record.payload().is_empty() => Err(DropReason::BadLength),
        0 => Err(stale(record)),
        1 => encrypted(record),
        _ => Err(DropReason::BadEpoch),
    };
    verdict.unwrap_or_else(Verdict::Drop)
}

fn encrypted(record: &Record<'_>) -> Result<Verdict, DropReason> {
    if record.content_type == content::CHANGE_CIPHER_SPEC {
        return Err(DropReason::UnexpectedMessage);
    }
    Ok(Verdict::Pass { handshake: false })
}

/// Whether this is what a client's first hello is answered with.
fn is_first_answer(fragment: &Fragment<'_>) -> bool {
    match fragment.message_type {
        message::HELLO_VERIFY_REQUEST => true,
        message::SERVER_HELLO => fragment.message_seq == 0,
        _ => false,
    }
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
