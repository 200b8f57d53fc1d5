//! A handshake under way: its timers, the alert it holds back, its way down to smaller datagrams, its tries.

use std::time::{Duration, Instant};

use super::{Connection, Phase};
use crate::error::Error;
use crate::gate::Gate;
use crate::handshake_info::HandshakeInfo;
use crate::server_name::ServerName;
use crate::sys::ssl::{BoundSsl, MAX_MESSAGE, Outcome};
use crate::trace;
use crate::transport::TransportConfig;
use crate::types::{Alert, DropReason, Event, Mtu, Role};
use crate::wire;

/// The sizes to go down to when a flight is lost again and again, in bytes of UDP payload: what the smallest link MTUs of IPv4
/// (576) and of RFC 6347, 4.1.1.1 (256) leave.
const MTU_STEPS: [Mtu; 2] = [Mtu::step(548), Mtu::step(228)];
/// How often the timer must have run out before, for the same flight, when a step is taken: by then it was lost three times, or four.
/// Later than mere loss often goes on, since more datagrams per flight are lost more often.
const EXPIRED_BEFORE_STEP: [u32; 2] = [2, 3];
/// How many first intervals another try may take: its peer answered a moment ago, so a silent one has had enough of us.
const RETRY_INTERVALS: u32 = 8;

/// Why a client starts its handshake again.
#[derive(Debug)]
pub(super) enum Failure {
    /// libssl gave up on something that anybody could have sent.
    Error(Error),
    /// Nothing goes on, and somebody sent another version of a message that was taken.
    Misled,
    /// The server does not take its cookie any more.
    AskedAgain,
}

impl Failure {
    /// What libssl gave up with, if it did.
    fn error(self) -> Option<Error> {
        match self {
            Failure::Error(error) => Some(error),
            Failure::Misled | Failure::AskedAgain => None,
        }
    }

    /// The error to tell when there is no other try.
    pub(super) fn into_error(self) -> Error {
        self.error().unwrap_or(Error::HandshakeTimeout)
    }
}

pub(super) struct Handshake {
    pub(super) ssl: BoundSsl,
    pub(super) gate: Gate,
    pub(super) server_name: Option<ServerName>,
    /// The name that was verified when the session that is offered was made.
    pub(super) resumed_name: Option<String>,
    /// When libssl's timer will have run out, as far as known.
    pub(super) retransmit_at: Option<Instant>,
    /// What the first try ended with, if this is another.
    first_error: Option<Error>,
    deadline: Instant,
    restarts_left: u32,
    /// An alert that anybody could have sent.
    held_alert: Option<HeldAlert>,
    /// When a server's wish for another cookie, which anybody could have sent, will be believed.
    cookie_wanted: Option<Instant>,
    /// The largest datagram of the last flight, in bytes.
    largest: usize,
}

struct HeldAlert {
    alert: Alert,
    believed_at: Instant,
    /// Whether the flight was sent once more since.
    asked_again: bool,
}

impl Handshake {
    pub(super) fn new(
        ssl: BoundSsl,
        gate: Gate,
        transport: &TransportConfig,
        server_name: Option<ServerName>,
        now: Instant,
    ) -> Handshake {
        Handshake {
            ssl,
            gate,
            server_name,
            resumed_name: None,
            retransmit_at: None,
            first_error: None,
            deadline: later(now, transport.handshake_timeout),
            restarts_left: transport.handshake_restarts,
            held_alert: None,
            cookie_wanted: None,
            largest: 0,
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        let believed_at = self.held_alert.as_ref().map(|held| held.believed_at);
        [self.retransmit_at, believed_at, self.cookie_wanted]
            .into_iter()
            .flatten()
            .fold(self.deadline, Instant::min)
    }

    /// Looks at what libssl just queued, from entry `queued` on, and at its timer.
    pub(super) fn after_call(&mut self, now: Instant, queued: usize, mtu: Mtu) {
        // Near its least MTU libssl goes over it with encrypted messages (OpenSSL 3).
        let output = &mut self.ssl.state_mut().output;
        output.split_from(queued, mtu.bytes(), wire::first_record_len);
        // libssl repeats a flight with each record in a datagram of its own: the fewer there are, the fewer are lost.
        output.join_from(queued, mtu.bytes());
        let mut largest = None;
        for datagram in self.ssl.state().output.iter_from(queued) {
            self.gate.outbound(datagram);
            largest = largest.max(Some(datagram.len()));
        }
        self.largest = largest.unwrap_or(self.largest);
        if self.ssl.state().timer.expired > 0 {
            self.gate.interval_passed();
        }
        self.has_expired(now);
    }

    /// Whether libssl's own clock says that its timer ran out; if not, looks again when it will.
    ///
    /// That is the wall clock: if it was put back, the timer seems to run for longer than it was set to. It may be put right again,
    /// so it is asked once in each interval.
    pub(super) fn has_expired(&mut self, now: Instant) -> bool {
        let left = self.ssl.timeout();
        let longest = self.ssl.state().timer.current;
        self.retransmit_at = left.map(|left| later(now, left.min(longest)));
        left.is_some_and(|left| left.is_zero())
    }

    /// Holds `alert` for one retransmission interval, or longer if it is [asked again](Self::ask_again); `false` if one is held
    /// already.
    pub(super) fn hold(&mut self, alert: Alert, now: Instant) -> bool {
        if self.held_alert.is_some() {
            return false;
        }
        self.held_alert = Some(HeldAlert {
            alert,
            believed_at: later(now, self.ssl.state().timer.current),
            asked_again: false,
        });
        true
    }

    /// The flight goes out once more: if the alert that is held is not the peer's, its answer comes now.
    fn ask_again(&mut self, now: Instant) {
        let answered_by = later(now, self.ssl.state().timer.first);
        if let Some(held) = &mut self.held_alert
            && !held.asked_again
        {
            held.asked_again = true;
            held.believed_at = answered_by.max(held.believed_at);
        }
    }

    /// Whether an alert is held.
    #[cfg(feature = "udp")]
    pub(super) fn holds_alert(&self) -> bool {
        self.held_alert.is_some()
    }

    /// Holds the wish for another cookie for the first retransmission interval: it may answer a repeated hello, or be forged.
    pub(super) fn hold_request(&mut self, now: Instant) {
        let believed_at = later(now, self.ssl.state().timer.first);
        self.cookie_wanted.get_or_insert(believed_at);
    }

    /// The peer goes on, so what was held was not its last word. Answers whether an alert was.
    pub(super) fn overrule(&mut self) -> bool {
        self.cookie_wanted = None;
        self.held_alert.take().is_some()
    }

    /// Whether the server does not take the cookie it was sent: libssl never sends another one in the same handshake.
    pub(super) fn is_cookie_wanted(&self, now: Instant) -> bool {
        self.cookie_wanted.is_some_and(|at| at <= now)
    }

    /// Whether to try again although nothing failed: two peers spoke, and the one that was believed does not go on.
    pub(super) fn is_misled(&self) -> bool {
        self.gate.is_contradicted() && self.restarts_left > 0
    }

    /// The error this handshake ends with at `now`, if it does. `repeats` says that its flight is about to be sent once more.
    pub(super) fn verdict(&self, now: Instant, repeats: bool) -> Option<Error> {
        let over = self.deadline <= now;
        match &self.held_alert {
            Some(held) if held.believed_at <= now && (held.asked_again || over || !repeats) => {
                Some(match held.alert {
                    Alert::CLOSE_NOTIFY => Error::ClosedInHandshake,
                    alert => Error::AlertReceived { alert },
                })
            }
            _ => over.then_some(Error::HandshakeTimeout),
        }
    }

    /// The next smaller datagram size, if the flight that is to be sent again has been lost often and would change by it.
    ///
    /// A ClientHello that was never answered is split only if it is large: some peers cannot take it in fragments.
    pub(super) fn step_down(&self, mtu: Mtu, unanswered: bool) -> Option<Mtu> {
        if !EXPIRED_BEFORE_STEP.contains(&self.ssl.state().timer.expired_in_flight) {
            return None;
        }
        let [widest, _] = MTU_STEPS;
        let next = MTU_STEPS.into_iter().find(|&step| step < mtu)?;
        (self.largest > next.bytes() && (!unanswered || next == widest)).then_some(next)
    }

    /// Whether to try again after `error`: there are tries and time left, and the error could be a forger's work.
    pub(super) fn may_restart(&self, error: &Error, now: Instant) -> bool {
        let forgeable = match error {
            Error::CertificateRejected { .. }
            | Error::UnpinnedCertificate { .. }
            | Error::CertificateStatus(_)
            | Error::UnexpectedPublicKey
            | Error::NoSharedCipherSuite(_)
            | Error::NoSharedGroup(_)
            | Error::NoSharedSignatureAlgorithm(_)
            | Error::NoSharedVersion(_)
            | Error::NoSharedApplicationProtocol(_)
            | Error::UnusablePeerCertificate(_)
            | Error::PeerTooWeak(_)
            | Error::BadProof(_)
            | Error::SessionRefused(_)
            | Error::Renegotiation(_)
            | Error::NoSecureRenegotiation(_)
            | Error::BadRecord(_)
            | Error::Decode(_)
            | Error::MessageTooLong(_)
            | Error::UnexpectedMessage(_)
            | Error::Protocol(_) => true,
            // Time is over, the peer said no and nothing contradicted it, or this side cannot go on.
            Error::HandshakeTimeout
            | Error::AlertReceived { .. }
            | Error::ClosedInHandshake
            | Error::NoPeerCertificate(_)
            | Error::UnknownPskIdentity(_)
            | Error::PskLookup(_)
            | Error::UnknownServerName { .. }
            | Error::NoExtendedMasterSecret
            | Error::Unreachable(_)
            | Error::Random(_)
            | Error::Setup(_)
            | Error::Cookie(_) => false,
        };
        forgeable && self.restarts_left > 0 && now < self.deadline
    }

    /// The next try, on a fresh `ssl`, after `failure`.
    pub(super) fn next_try(
        self,
        ssl: openssl::ssl::Ssl,
        failure: Failure,
        transport: &TransportConfig,
        mtu: Mtu,
        now: Instant,
    ) -> Result<Handshake, Error> {
        let (deadline, restarts_left) = match failure {
            Failure::Error(_) => (
                self.deadline
                    .min(later(now, transport.first_retransmission * RETRY_INTERVALS)),
                self.restarts_left.saturating_sub(1),
            ),
            Failure::Misled => (self.deadline, self.restarts_left.saturating_sub(1)),
            // Each took an interval, so the deadline bounds them.
            Failure::AskedAgain => (self.deadline, self.restarts_left),
        };
        match BoundSsl::with_bio(ssl, self.ssl.into_bio(), mtu) {
            Ok(ssl) => Ok(Handshake {
                ssl,
                gate: self.gate.for_next_try(),
                server_name: self.server_name,
                resumed_name: None,
                retransmit_at: None,
                first_error: self.first_error.or(failure.error()),
                deadline,
                restarts_left,
                held_alert: None,
                cookie_wanted: None,
                largest: 0,
            }),
            Err(_) => Err(failure.into_error()),
        }
    }

    /// Which error to tell: silence or a refusal after a failed try is the peer's answer to that failure.
    pub(super) fn error_to_tell(&mut self, error: Error) -> Error {
        match error {
            Error::HandshakeTimeout | Error::AlertReceived { .. } | Error::ClosedInHandshake => {
                self.first_error.take().unwrap_or(error)
            }
            error => error,
        }
    }
}

/// So long after `now`, or `now` where time ends.
fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

impl Connection {
    /// Goes on with the handshake, with one record or with none.
    pub(super) fn step_handshake(&mut self, now: Instant, record: &[u8]) -> Result<(), Error> {
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return Ok(());
        };
        let queued = handshake.ssl.state().output.len();
        let (outcome, _) = handshake.ssl.handshake(record);
        self.after_handshake_call(now, queued, outcome)
    }

    /// libssl's timer ran out: sends the last flight once more, in smaller datagrams if it was lost often.
    pub(super) fn repeat_flight(&mut self, now: Instant) -> Result<(), Error> {
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return Ok(());
        };
        if self.role == Role::Client && handshake.is_misled() {
            return self.restart(now, Failure::Misled);
        }
        let first_message_lost = self.role == Role::Client && self.stats.records_received == 0;
        if let Some(mtu) = handshake.step_down(self.mtu, first_message_lost) {
            // A smaller size than the last one is always accepted; libssl's floor is below all of them.
            if handshake.ssl.set_mtu(mtu).is_ok() {
                self.mtu = mtu;
                trace::event!(DEBUG, %mtu, "datagrams get smaller after lost flights");
                self.events.push_back(Event::MtuChanged(mtu));
            }
        }
        handshake.ask_again(now);
        let queued = handshake.ssl.state().output.len();
        let outcome = handshake.ssl.handle_timeout();
        let state = handshake.ssl.state_mut();
        if state.allowance.is_some() && queued > 0 {
            // The end of the flight still waits for the peer to prove itself a little more: its beginning need not go again.
            let repeated = state.output.len().saturating_sub(queued);
            state.output.truncate(queued);
            let reason = DropReason::AmplificationLimit;
            self.stats.drops.add_many(reason, repeated as u64);
        }
        self.after_handshake_call(now, queued, outcome)
    }

    /// What every call into libssl during the handshake is followed by; it queued datagrams from entry `queued` on.
    pub(super) fn after_handshake_call(
        &mut self,
        now: Instant,
        queued: usize,
        outcome: Outcome,
    ) -> Result<(), Error> {
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return Ok(());
        };
        handshake.after_call(now, queued, self.mtu);
        self.collect_counts();
        let Phase::Handshaking(handshake) = &mut self.phase else {
            return Ok(());
        };
        let error = match outcome {
            Outcome::Done => return self.establish(now),
            Outcome::Waits => return Ok(()),
            Outcome::CloseNotify => Error::ClosedInHandshake,
            Outcome::Failed(stack) => handshake.ssl.error(stack),
        };
        if self.role == Role::Client && handshake.may_restart(&error, now) {
            self.restart(now, Failure::Error(error))
        } else {
            Err(self.fail(error))
        }
    }

    /// Starts a client's handshake again, from the first flight.
    pub(super) fn restart(&mut self, now: Instant, failure: Failure) -> Result<(), Error> {
        let Phase::Handshaking(handshake) = self.take_phase() else {
            return Err(failure.into_error());
        };
        let Ok(ssl) = self.context.new_ssl(handshake.server_name.as_ref()) else {
            self.phase = Phase::Closed(Some(handshake.ssl.into_bio()));
            return Err(failure.into_error());
        };
        trace::event!(DEBUG, ?failure, "the handshake starts again");
        let next = handshake.next_try(ssl, failure, self.context.transport(), self.mtu, now)?;
        self.phase = Phase::Handshaking(Box::new(next));
        self.stats.handshake_restarts += 1;
        self.step_handshake(now, &[])
    }

    /// The handshake is complete: copies out what was agreed and begins to read.
    fn establish(&mut self, now: Instant) -> Result<(), Error> {
        let Phase::Handshaking(handshake) = self.take_phase() else {
            return Ok(());
        };
        if handshake.held_alert.is_some() {
            self.stats.drops.add(DropReason::AlertOverruled);
        }
        let Handshake {
            ssl: mut bound,
            mut gate,
            server_name,
            resumed_name,
            ..
        } = *handshake;
        bound.state_mut().allowance = None;
        match bound.data_mtu(self.mtu) {
            Ok(data_mtu) => self.data_mtu = data_mtu,
            Err(stack) => {
                let error = bound.error(stack);
                self.phase = Phase::Closed(Some(bound.into_bio()));
                return Err(error);
            }
        }
        let mut info = HandshakeInfo::of(&bound);
        if self.role == Role::Client {
            info.set_names(server_name, resumed_name);
        }
        if let Err(error) = self.context.check(&info) {
            // libssl thinks the handshake good, and so may the peer until it is told otherwise.
            bound.refuse();
            self.phase = Phase::Closed(Some(bound.into_bio()));
            return Err(error);
        }
        self.max_message = self.context.max_fragment(&info).min(MAX_MESSAGE);
        self.info = Some(Box::new(info));
        trace::event!(
            DEBUG,
            suite = self.info.as_deref().map(HandshakeInfo::cipher_suite),
            "connected"
        );
        self.events.push_back(Event::Connected);
        self.phase = Phase::Established(bound);
        self.shortest_record = gate.shortest_record();
        // Messages that overtook the end of the handshake wait in libssl, or in the gate.
        self.read(now, &[])?;
        while let Some(record) = gate.release() {
            self.stats.records_received += 1;
            self.read(now, &record)?;
        }
        if let Some(drops) = gate.take_drops() {
            self.stats.drops.add_all(&drops);
        }
        Ok(())
    }
}
