//! What comes in: records through the gate, messages into the queue.

use std::time::Instant;

use super::{Connection, Phase};
use crate::error::Error;
use crate::gate::{self, Verdict};
use crate::sys::ssl::Read;
use crate::trace;
use crate::types::{CloseReason, DropReason, Event, Role};
use crate::wire::{self, Record, content};

/// What an unproved address may be sent, in multiples of what came from it.
const AMPLIFICATION: usize = 3;

impl Connection {
    pub(super) fn count_received(&mut self, bytes: usize) {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += bytes as u64;
        if let Phase::Handshaking(handshake) = &mut self.phase
            && let Some(allowance) = &mut handshake.ssl.state_mut().allowance
        {
            *allowance = allowance.saturating_add(bytes.saturating_mul(AMPLIFICATION));
        }
    }

    /// Passes the records of a datagram through the gate, each on its own.
    pub(super) fn handle_records(
        &mut self,
        now: Instant,
        mut datagram: &[u8],
    ) -> Result<(), Error> {
        while !datagram.is_empty() {
            match wire::split_record(datagram) {
                Ok((record, rest)) => {
                    datagram = rest;
                    self.handle_record(now, &record)?;
                }
                // Where the next record would begin is not known.
                Err(reason) => {
                    self.stats.drops.add(reason);
                    break;
                }
            }
        }
        Ok(())
    }

    fn handle_record(&mut self, now: Instant, record: &Record<'_>) -> Result<(), Error> {
        // libssl repeats the whole last flight for each fragment of a Finished message that is repeated.
        let asks_again = (record.content_type, record.epoch) == (content::HANDSHAKE, 1)
            && self.has_just_repeated(now);
        let handshake = match &mut self.phase {
            Phase::Handshaking(handshake) => handshake,
            Phase::Established(_) => {
                let verdict = match gate::judge_established(record, self.shortest_record) {
                    _ if self.peer_closed => Verdict::Drop(DropReason::Closed),
                    Verdict::Pass if asks_again => Verdict::Drop(DropReason::FlightRepeated),
                    verdict => verdict,
                };
                if let Verdict::Drop(reason) = verdict {
                    self.stats.drops.add(reason);
                    return Ok(());
                }
                self.stats.records_received += 1;
                return self.read(now, record.bytes);
            }
            Phase::Closed(_) => {
                self.stats.drops.add(DropReason::Closed);
                return Ok(());
            }
        };
        let verdict = handshake.gate.inbound(record);
        match verdict {
            Verdict::Pass => {
                // If it was not read it is as if it had been lost.
                self.feed(now, record)?;
            }
            Verdict::Keep => {}
            Verdict::Drop(reason) => {
                // A peer that repeats itself is still there, and waits for what was lost.
                if reason == DropReason::RepeatedMessage && handshake.overrule() {
                    self.stats.drops.add(DropReason::AlertOverruled);
                }
                self.stats.drops.add(reason);
            }
            Verdict::Hold(alert) => {
                // Before its first hello a server has asked nobody anything.
                let expected = self.role == Role::Client || self.client_random.is_some();
                if !(expected && handshake.hold(alert, now)) {
                    self.stats.drops.add(DropReason::UnprovenAlert);
                }
            }
            Verdict::AskedAgain => handshake.hold_request(now),
        }
        self.release(now)
    }

    /// Gives libssl what waited in the gate for this moment.
    fn release(&mut self, now: Instant) -> Result<(), Error> {
        while let Phase::Handshaking(handshake) = &mut self.phase
            && let Some(bytes) = handshake.gate.release()
        {
            let Ok((record, _)) = wire::split_record(&bytes) else {
                continue;
            };
            if !self.feed(now, &record)? {
                if let Phase::Handshaking(handshake) = &mut self.phase {
                    handshake.gate.put_back(bytes);
                }
                break;
            }
        }
        if let Phase::Handshaking(handshake) = &mut self.phase
            && let Some(drops) = handshake.gate.take_drops()
        {
            self.stats.drops.add_all(&drops);
        }
        Ok(())
    }

    /// Gives libssl one record of the handshake. Answers whether it read it.
    fn feed(&mut self, now: Instant, record: &Record<'_>) -> Result<bool, Error> {
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return Ok(false);
        };
        let is_message = (record.content_type, record.epoch) == (content::HANDSHAKE, 0);
        if is_message && handshake.overrule() {
            self.stats.drops.add(DropReason::AlertOverruled);
        }
        if self.role == Role::Server && self.client_random.is_none() {
            self.client_random = wire::first_client_hello(record.bytes)
                .ok()
                .map(|hello| *hello.random);
        }
        let queued = handshake.ssl.state().output.len();
        let (outcome, was_read) = handshake.ssl.handshake(record.bytes);
        if was_read {
            handshake.gate.taken(record);
            self.stats.records_received += 1;
        }
        self.after_handshake_call(now, queued, outcome)?;
        Ok(was_read)
    }

    /// Reads every message there is into the queue.
    pub(super) fn read(&mut self, now: Instant, record: &[u8]) -> Result<(), Error> {
        let mut input = record;
        while let Phase::Established(bound) = &mut self.phase {
            let queued = bound.state().output.len();
            let was_empty = self.received.is_empty();
            let mut writer = self.received.writer();
            let (read, was_read) = bound.read(input, &mut writer);
            let more = match read {
                Read::Message(length) => {
                    if writer.commit().is_some() {
                        self.stats.messages_received += 1;
                        self.stats.message_bytes_received += length as u64;
                        // Told once until it is taken, so that events stay few.
                        if was_empty && !self.events.contains(&Event::Readable) {
                            self.events.push_back(Event::Readable);
                        }
                    } else {
                        self.stats.drops.add(DropReason::ReceiveQueueFull);
                    }
                    true
                }
                Read::Nothing => {
                    drop(writer);
                    false
                }
                Read::CloseNotify => {
                    drop(writer);
                    self.peer_closed = true;
                    trace::event!(DEBUG, "the peer closed");
                    self.events.push_back(Event::Closed(CloseReason::Peer));
                    false
                }
                Read::Failed(stack) => {
                    drop(writer);
                    let error = bound.error(stack);
                    return Err(self.fail(error));
                }
            };
            if was_read {
                input = &[];
            }
            let more = more && (!input.is_empty() || bound.has_pending());
            self.note_repetition(now, queued);
            if !more {
                break;
            }
        }
        self.collect_counts();
        Ok(())
    }

    /// Whether the last flight was repeated less than an interval ago.
    fn has_just_repeated(&self, now: Instant) -> bool {
        let interval = self.context.transport().first_retransmission;
        self.repeated_at
            .is_some_and(|at| now.saturating_duration_since(at) < interval)
    }

    /// Remembers that the last flight was repeated, if that is what was queued from entry `queued` on.
    fn note_repetition(&mut self, now: Instant, queued: usize) {
        let Phase::Established(bound) = &mut self.phase else {
            return;
        };
        let output = &mut bound.state_mut().output;
        let is_flight = output
            .iter_from(queued)
            .next()
            .is_some_and(wire::carries_handshake);
        if is_flight {
            output.join_from(queued, self.mtu.bytes());
            self.repeated_at = Some(now);
            self.stats.retransmissions += 1;
        }
    }
}
