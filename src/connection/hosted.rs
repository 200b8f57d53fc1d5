//! What an endpoint asks of the connections it holds, beyond what any owner may.

use super::{Connection, Phase};
use crate::queue::ByteQueue;
use crate::types::DropReason;

impl Connection {
    /// Datagrams that wait in [`poll_transmit`](Self::poll_transmit), and their bytes.
    pub(crate) fn queued_output(&self) -> (usize, usize) {
        self.output()
            .map_or((0, 0), |output| (output.len(), output.bytes()))
    }

    /// Bytes of messages that wait in [`recv`](Self::recv), and whether there is a message at all.
    pub(crate) fn queued_input(&self) -> (bool, usize) {
        (!self.received.is_empty(), self.received.bytes())
    }

    /// Whether an event waits.
    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Lets the queues grow by so many bytes at most, and never beyond what the context allows.
    pub(crate) fn limit_growth(&mut self, outgoing: usize, incoming: usize) {
        let transport = self.context.transport();
        let (send_queue, receive_queue) = (transport.send_queue, transport.receive_queue);
        let received = self.received.bytes().saturating_add(incoming);
        self.received.set_limit(received.min(receive_queue));
        if let Some(output) = self.output_mut() {
            let sent = output.bytes().saturating_add(outgoing);
            output.set_limit(sent.min(send_queue));
        }
    }

    /// Messages that were authentic, whether there was room for them or not.
    pub(crate) fn authentic_messages(&self) -> u64 {
        let dropped = self.stats.drops.count(DropReason::ReceiveQueueFull);
        self.stats.messages_received + dropped
    }

    /// Ends the connection without a word and drops what waits to be sent.
    pub(crate) fn abandon(&mut self) {
        if let Some(output) = self.output_mut() {
            output.truncate(0);
        }
        self.end();
    }

    /// Drops what waits to be sent and to be read.
    pub(crate) fn discard_queues(&mut self) {
        if let Some(output) = self.output_mut() {
            output.truncate(0);
        }
        self.discard_input();
    }

    /// Drops what waits to be read.
    pub(crate) fn discard_input(&mut self) {
        self.received.truncate(0);
    }

    /// Whether one record that does not decrypt can end the connection: libssl drops it silently for AEAD suites only.
    pub(crate) fn bad_records_are_fatal(&self) -> bool {
        self.info.as_ref().is_some_and(|info| {
            let suite = info.cipher_suite();
            !["GCM", "CCM", "POLY1305"]
                .iter()
                .any(|mode| suite.contains(mode))
        })
    }

    fn output(&self) -> Option<&ByteQueue> {
        Some(match &self.phase {
            Phase::Handshaking(handshake) => &handshake.ssl.state().output,
            Phase::Established(bound) => &bound.state().output,
            Phase::Closed(bio) => &bio.as_ref()?.state().output,
        })
    }

    fn output_mut(&mut self) -> Option<&mut ByteQueue> {
        self.state_mut().map(|state| &mut state.output)
    }
}
