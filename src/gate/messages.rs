//! Judges handshake messages in the clear: each passes once, whole and in its turn.

use std::hash::{DefaultHasher, Hasher};

use super::rules::{self, MaxLen};
use super::waiting::{self, Held, Key};
use super::{Gate, MAX_MESSAGES, Passed, Verdict};
use crate::types::{DropReason, Role};
use crate::wire::{self, Fragment, Record, message, split_fragment, split_record};

/// HelloVerifyRequests that a client answers in one try, if their numbers go on.
const MAX_VERIFY_REQUESTS: u16 = 3;
/// ServerHellos that are remembered from one try to the next.
const MAX_HELLOS: usize = 8;

/// What a fragment is to this handshake.
enum Age {
    /// It is due, or may become so.
    New,
    /// Its message has passed.
    Old,
}

impl Gate {
    /// Notes a ServerHello; refuses one of an earlier try, and until there is a new one what may belong to it.
    fn check_try(&mut self, fragment: &Fragment<'_>) -> Result<(), DropReason> {
        if fragment.message_type == message::SERVER_HELLO {
            let digest = digest(fragment.body);
            match self.hellos.iter().position(|known| *known == digest) {
                Some(index) if index < self.stale_hellos => {
                    return Err(DropReason::UnexpectedMessage);
                }
                None if self.hellos.len() < MAX_HELLOS => self.hellos.push(digest),
                _ => {}
            }
        } else if self.stale_hellos > 0 && self.hello_seq.is_none() {
            return Err(DropReason::UnexpectedMessage);
        }
        Ok(())
    }

    /// A record holds one fragment, or several whole messages that follow each other.
    pub(super) fn handshake(&mut self, record: &Record<'_>) -> Result<Verdict, DropReason> {
        let (fragment, rest) = split_fragment(record.payload())?;
        if rest.is_empty() && fragment.message_type == message::HELLO_VERIFY_REQUEST {
            return self.hello_verify_request(&fragment);
        }
        self.check_try(&fragment)?;
        let mut answered = self.is_answered() || is_first_answer(&fragment);
        if rest.is_empty() && !fragment.is_whole() {
            return match self.check(&fragment)? {
                _ if !answered => Err(DropReason::UnexpectedMessage),
                Age::Old => Err(DropReason::RepeatedMessage),
                Age::New if self.has_begun(&fragment) => Ok(Verdict::Pass),
                Age::New => Ok(self.keep(record, &fragment)),
            };
        }
        let mut first: Option<Fragment<'_>> = None;
        let mut next = None;
        let mut payload = record.payload();
        while !payload.is_empty() {
            let (fragment, rest) = split_fragment(payload)?;
            payload = rest;
            if !fragment.is_whole() || fragment.message_type == message::HELLO_VERIFY_REQUEST {
                return Err(DropReason::BadFragment);
            }
            answered |= is_first_answer(&fragment);
            match self.check(&fragment)? {
                _ if !answered => return Err(DropReason::UnexpectedMessage),
                Age::Old if first.is_none() => continue,
                Age::New if next.is_none_or(|next| next == fragment.message_seq) => {}
                _ => return Err(DropReason::UnexpectedMessage),
            }
            next = Some(fragment.message_seq + 1);
            first.get_or_insert(fragment);
        }
        match first {
            None => Err(DropReason::RepeatedMessage),
            Some(first) if self.is_due(&first) => Ok(Verdict::Pass),
            Some(first) => Ok(self.keep(record, &first)),
        }
    }

    /// Whether more of the peer's messages than the first can come now.
    ///
    /// A client that starts anew from its old address still gets the flight that answers the hello it sent before. That flight
    /// comes behind a HelloVerifyRequest, as its numbers show; the new hello has none yet.
    fn is_answered(&self) -> bool {
        self.role == Role::Server || self.verify_seen() || self.hello_seq.is_some()
    }

    /// Each HelloVerifyRequest starts the server's count again, so that libssl takes one for the answer to its first hello only.
    fn hello_verify_request(&mut self, fragment: &Fragment<'_>) -> Result<Verdict, DropReason> {
        if self.role == Role::Server || self.hello_seq.is_some() {
            return Err(DropReason::UnexpectedMessage);
        }
        if !fragment.is_whole() {
            return Err(DropReason::BadFragment);
        }
        let (_, rule) = self.rule(fragment)?;
        self.check_length(fragment, rule)?;
        let seen = self.passed.iter().flatten();
        let is_repeated = seen
            .filter(|passed| passed.key.message_type == message::HELLO_VERIFY_REQUEST)
            .any(|passed| passed.digest == Some(digest(fragment.body)));
        match fragment.message_seq.cmp(&self.due) {
            _ if is_repeated => Err(DropReason::RepeatedMessage),
            core::cmp::Ordering::Less => Ok(Verdict::AskedAgain),
            core::cmp::Ordering::Equal if self.due < MAX_VERIFY_REQUESTS => Ok(Verdict::Pass),
            _ => Err(DropReason::UnexpectedMessage),
        }
    }

    fn is_due(&self, fragment: &Fragment<'_>) -> bool {
        fragment.message_seq == self.due && self.ready.is_empty()
    }

    fn has_begun(&self, fragment: &Fragment<'_>) -> bool {
        let begun = self.begun.as_ref();
        let is_same = begun.is_some_and(|(key, spans)| {
            *key == Key::of(fragment) && spans.len() < waiting::MAX_RECORDS
        });
        is_same && self.ready.is_empty()
    }

    fn keep(&mut self, record: &Record<'_>, fragment: &Fragment<'_>) -> Verdict {
        let removed = self.waiting.push(record, fragment, self.due);
        self.count(DropReason::ReassemblyFull, removed);
        Verdict::Keep
    }

    fn rule(&self, fragment: &Fragment<'_>) -> Result<(usize, &'static rules::Rule), DropReason> {
        if self.role == Role::Client && fragment.message_type == message::HELLO_REQUEST {
            return Err(DropReason::RepeatedHello);
        }
        rules::find(self.role, fragment.message_type).ok_or(DropReason::UnexpectedMessage)
    }

    fn check_length(&self, fragment: &Fragment<'_>, rule: &rules::Rule) -> Result<(), DropReason> {
        let max_len = match rule.max_len {
            MaxLen::Bytes(bytes) => bytes,
            MaxLen::CertificateList => self.max_certificate_list,
        };
        if fragment.length > max_len {
            return Err(DropReason::MessageTooLong);
        }
        Ok(())
    }

    fn check(&mut self, fragment: &Fragment<'_>) -> Result<Age, DropReason> {
        let (rank, rule) = self.rule(fragment)?;
        self.check_length(fragment, rule)?;
        if self.verify_first && !self.verify_seen() {
            return Err(DropReason::UnexpectedMessage);
        }
        let seq = fragment.message_seq;
        if seq < self.due {
            return self.check_old(fragment);
        }
        if fragment.message_type == message::CLIENT_HELLO && self.hello_seq.is_some() {
            return Err(DropReason::RepeatedHello);
        }
        // Messages are counted from the hello, and come in their order.
        let hello = self.hello_seq.unwrap_or(self.due);
        let is_in_place = rule.places.contains(&seq.wrapping_sub(hello));
        let is_in_order = self.rank.is_none_or(|last| rank > last);
        if !is_in_place || !is_in_order || usize::from(seq) >= MAX_MESSAGES {
            return Err(DropReason::UnexpectedMessage);
        }
        if self
            .begun
            .as_ref()
            .is_some_and(|(key, _)| key.message_seq == seq && *key != Key::of(fragment))
        {
            return Err(DropReason::Contradiction);
        }
        Ok(Age::New)
    }

    fn check_old(&mut self, fragment: &Fragment<'_>) -> Result<Age, DropReason> {
        let passed = self.passed.get(usize::from(fragment.message_seq)).copied();
        let is_same = match passed.flatten() {
            Some(Passed { key, digest: known }) => {
                key == Key::of(fragment)
                    && (!fragment.is_whole()
                        || known.is_none_or(|known| known == digest(fragment.body)))
            }
            // From before this server had its ClientHello.
            None => fragment.message_type == message::CLIENT_HELLO,
        };
        match is_same {
            true => Ok(Age::Old),
            false if fragment.message_type == message::CLIENT_HELLO => {
                Err(DropReason::RepeatedHello)
            }
            false => {
                self.is_contradicted = true;
                Err(DropReason::Contradiction)
            }
        }
    }

    /// A complete message goes to libssl, in these records.
    pub(super) fn make_ready(&mut self, key: Key, records: Vec<Held>) {
        let mut body = Vec::new();
        let mut whole = Vec::new();
        for held in &records {
            let Ok((record, _)) = split_record(&held.bytes) else {
                continue;
            };
            let mut payload = record.payload();
            while let Ok((fragment, rest)) = split_fragment(payload) {
                payload = rest;
                if fragment.is_whole() {
                    whole.push(fragment);
                } else if key.message_type == message::SERVER_HELLO {
                    // Its length is bounded, and it is complete.
                    let (from, to) = fragment.span();
                    body.resize(body.len().max(to as usize), 0);
                    body[from as usize..to as usize].copy_from_slice(fragment.body);
                }
            }
        }
        if whole.is_empty() {
            let fragment = Fragment {
                message_type: key.message_type,
                length: key.length,
                message_seq: key.message_seq,
                offset: 0,
                body: &body,
            };
            self.advance(&fragment, None);
        }
        for fragment in whole {
            if fragment.message_seq == self.due {
                self.advance(&fragment, Some(fragment.body));
            }
        }
        self.ready
            .extend(records.into_iter().map(|held| held.bytes));
    }

    /// The message that was due is on its way to libssl. `body` is given if it came in one record.
    pub(super) fn advance(&mut self, fragment: &Fragment<'_>, body: Option<&[u8]>) {
        let key = Key::of(fragment);
        if let Some(slot) = self.passed.get_mut(usize::from(key.message_seq)) {
            let digest = body.map(digest);
            *slot = Some(Passed { key, digest });
        }
        self.due = key.message_seq.saturating_add(1);
        self.has_progressed = true;
        match key.message_type {
            message::HELLO_VERIFY_REQUEST => {}
            message::CLIENT_HELLO => self.hello_seq = Some(key.message_seq),
            message::SERVER_HELLO => {
                self.hello_seq = Some(key.message_seq);
                if let Some(hello) = wire::server_hello(fragment.body) {
                    self.version = Some(hello.version);
                    self.suite = Some(hello.suite);
                    self.is_ticket_promised = hello.promises_ticket;
                    self.is_resumed =
                        !hello.session_id.is_empty() && hello.session_id == self.session_id;
                }
            }
            _ => {}
        }
        if key.message_type != message::HELLO_VERIFY_REQUEST {
            self.rank = rules::find(self.role, key.message_type).map(|(rank, _)| rank);
        }
        let useless = self.waiting.advance(self.due);
        self.count(DropReason::Contradiction, useless);
        self.is_contradicted |= useless > 0;
    }
}

/// Whether this is what a client's first hello is answered with, if not by a HelloVerifyRequest.
fn is_first_answer(fragment: &Fragment<'_>) -> bool {
    fragment.message_type == message::SERVER_HELLO && fragment.message_seq == 0
}

/// Tells two versions of a message apart. It need not resist an attacker: one who can choose the real message needs no collision.
fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}
