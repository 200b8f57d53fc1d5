//! What can be had from a connection besides its messages: exported keys, and the `SSL` itself for reading.

use openssl::error::ErrorStack;
use openssl::ssl::SslRef;
use zeroize::Zeroizing;

use super::{Connection, Phase};
use crate::error::{Error, ExportError};
use crate::observe::{Direction, Observation};
use crate::srtp::{self, SrtpKeys};
use crate::sys::ssl::BoundSsl;
use crate::types::Alert;

impl Connection {
    /// The `SSL` of this connection, for reading what this crate does not wrap; `None` once libssl no longer serves the
    /// connection.
    ///
    /// It is lent for reading: whatever is asked between two calls is current.
    pub fn ssl(&self) -> Option<&SslRef> {
        self.bound().map(BoundSsl::ssl)
    }

    /// Fills `out` with keying material that only this connection's two ends can know (RFC 5705).
    ///
    /// `label` says what for, and is registered at IANA or begins with `EXPERIMENTAL`. A `context` of no bytes is not the same as
    /// none. Corresponds to `SSL_export_keying_material`.
    ///
    /// # Errors
    ///
    /// [`ExportError::NotEstablished`] before the handshake is complete and after the connection is over,
    /// [`ExportError::OpenSsl`] if libssl refuses, as it does for labels that the protocol itself uses.
    pub fn export_keying_material(
        &self,
        out: &mut [u8],
        label: &str,
        context: Option<&[u8]>,
    ) -> Result<(), ExportError> {
        let Phase::Established(bound) = &self.phase else {
            return Err(ExportError::NotEstablished);
        };
        // What an earlier call left on this thread is not this one's failure.
        drop(ErrorStack::get());
        bound
            .ssl()
            .export_keying_material(out, label, context)
            .map_err(ExportError::OpenSsl)
    }

    /// The SRTP keys of this connection, split by direction (RFC 5764, 4.2).
    ///
    /// # Errors
    ///
    /// [`ExportError::NotEstablished`] before the handshake is complete and after the connection is over,
    /// [`ExportError::NoSrtpProfile`] if none was agreed on, [`ExportError::OpenSsl`] if libssl cannot export.
    pub fn srtp_keys(&self) -> Result<SrtpKeys, ExportError> {
        let info = self
            .handshake_info()
            .filter(|_| self.is_established())
            .ok_or(ExportError::NotEstablished)?;
        let profile = info.srtp_profile().ok_or(ExportError::NoSrtpProfile)?;
        let mut material = Zeroizing::new(vec![0; profile.material_len()]);
        self.export_keying_material(&mut material, srtp::LABEL, None)?;
        SrtpKeys::split(profile, self.role, &material).ok_or(ExportError::NoSrtpProfile)
    }

    /// Tells the observer of an alert that was held and is believed now: libssl never saw it.
    pub(super) fn tell_held_alert(&self, error: &Error) {
        let alert = match error {
            Error::AlertReceived { alert } => *alert,
            Error::ClosedInHandshake => Alert::CLOSE_NOTIFY,
            _ => return,
        };
        if let Some(observer) = self.context.observer() {
            let what = Observation::Alert {
                direction: Direction::Received,
                fatal: alert != Alert::CLOSE_NOTIFY,
                alert,
            };
            observer.tell(self.path.peer, self.role, what);
        }
    }

    fn bound(&self) -> Option<&BoundSsl> {
        match &self.phase {
            Phase::Handshaking(handshake) => Some(&handshake.ssl),
            Phase::Established(bound) => Some(bound),
            Phase::Closed(_) => None,
        }
    }
}
