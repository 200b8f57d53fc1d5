//! What a program may watch of its connections.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use openssl::ssl::SslContextBuilder;

use super::ContextBuilder;
use crate::error::ConfigError;
use crate::guard;
use crate::observe::{Observed, Observer};

type KeyLog = Box<dyn Fn(&str) + Send + Sync>;

/// Who is told what. Nobody, unless asked for.
#[derive(Default)]
pub(super) struct Watching {
    key_log: Option<KeyLog>,
    key_log_file: Option<PathBuf>,
    pub(super) observer: Option<Observer>,
}

impl<R> ContextBuilder<R> {
    /// Hands the keys of every connection to `log`, one line at a time in the NSS format, without a line break:
    /// `CLIENT_RANDOM`, the client's random and the master secret. Default: nobody gets them.
    ///
    /// Whoever has a line can decrypt its connection: this is for looking at one's own traffic, with Wireshark for instance. The
    /// closure runs inside the handshake, on the thread that called, and must not block. A panic goes through to that caller.
    /// Corresponds to `SSL_CTX_set_keylog_callback`.
    ///
    /// The closure must own what it needs:
    ///
    /// ```compile_fail
    /// # use openssl_dtls::Context;
    /// fn borrows(lines: &std::sync::Mutex<Vec<String>>) {
    ///     let builder = Context::client().key_log(|line| lines.lock().unwrap().push(line.to_owned()));
    /// }
    /// ```
    pub fn key_log(mut self, log: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.settings.watching.key_log = Some(Box::new(log));
        self
    }

    /// Appends the keys of every connection to the file at `path`, as [`key_log`](Self::key_log) tells them; makes the file, for
    /// its owner alone to read, if there is none.
    ///
    /// `build` fails with [`ConfigError::File`] if it cannot be opened. A line that cannot be written later is lost. Nothing is
    /// read from the environment: a program that honours `SSLKEYLOGFILE` passes it here.
    pub fn key_log_file(mut self, path: impl AsRef<Path>) -> Self {
        self.settings.watching.key_log_file = Some(path.as_ref().to_owned());
        self
    }

    /// Tells `observe` what happens in every connection: its states, handshake messages, records and alerts. Default: nobody is
    /// told.
    ///
    /// What the gate drops never reaches libssl, nor `observe`; it is counted in [`Stats`](crate::Stats). The closure runs inside
    /// the calls on the connection, on the thread that called, and must not block. A panic goes through to that caller.
    /// Corresponds to `SSL_set_msg_callback` and `SSL_set_info_callback`.
    ///
    /// ```
    /// use openssl_dtls::{Context, Observation, Psk};
    ///
    /// # fn main() -> Result<(), openssl_dtls::ConfigError> {
    /// let context = Context::client()
    ///     .psk(Psk::new(b"sensor-7", b"a shared secret of some length")?)
    ///     .observe(|observed| {
    ///         if let Observation::Alert { direction, alert, .. } = observed.what {
    ///             eprintln!("{}: {alert} {direction:?}", observed.peer);
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn observe(mut self, observe: impl Fn(&Observed<'_>) + Send + Sync + 'static) -> Self {
        self.settings.watching.observer = Some(Observer::new(observe));
        self
    }
}

impl Watching {
    /// Opens the key log, and answers whom connections are to tell.
    pub(super) fn install(
        self,
        builder: &mut SslContextBuilder,
    ) -> Result<Option<Observer>, ConfigError> {
        let file = match &self.key_log_file {
            Some(path) => Some(Mutex::new(open(path)?)),
            None => None,
        };
        let log = self.key_log;
        if file.is_some() || log.is_some() {
            builder.set_keylog_callback(move |_, line| {
                if let Some(file) = &file {
                    append(file, line);
                }
                if let Some(log) = &log {
                    guard::run((), || log(line));
                }
            });
        }
        Ok(self.observer)
    }
}

fn open(path: &Path) -> Result<File, ConfigError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| ConfigError::File {
        path: path.display().to_string(),
        source,
    })
}

/// Writes one line in one piece, so that several processes can share the file.
fn append(file: &Mutex<File>, line: &str) {
    let line = zeroize::Zeroizing::new(format!("{line}\n"));
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    if file.write_all(line.as_bytes()).is_err() {
        // A handshake does not fail because somebody's log is full; the lost line shows as traffic that stays encrypted.
    }
}
