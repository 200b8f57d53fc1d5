//! The error of an operation, and the last one of an object.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::types::DtlsError;
use crate::error::{ConfigError, CookieError, Error as CoreError, SendError};

type Source = Box<dyn StdError + Send + Sync>;

/// What an operation failed with: one of Qt's kinds, a sentence, and what lies beneath.
#[derive(Debug)]
pub struct Error {
    kind: DtlsError,
    text: String,
    source: Option<Source>,
}

impl Error {
    pub(super) fn new(kind: DtlsError, text: impl Into<String>) -> Error {
        Error {
            kind,
            text: text.into(),
            source: None,
        }
    }

    fn with_source(kind: DtlsError, text: &str, source: impl Into<Source>) -> Error {
        Error {
            kind,
            text: text.to_owned(),
            source: Some(source.into()),
        }
    }

    pub(super) fn input(text: &str) -> Error {
        Error::new(DtlsError::InvalidInputParameters, text)
    }

    pub(super) fn operation(text: &str) -> Error {
        Error::new(DtlsError::InvalidOperation, text)
    }

    pub(super) fn socket(error: io::Error) -> Error {
        let text = "the socket refused a datagram";
        Error::with_source(DtlsError::UnderlyingSocketError, text, error)
    }

    pub(super) fn initialization(error: ConfigError) -> Error {
        let text = "no connection can be made from the configuration";
        Error::with_source(DtlsError::TlsInitializationError, text, error)
    }

    pub(super) fn verification(error: CoreError) -> Error {
        let text = "the peer's certificate is not acceptable";
        Error::with_source(DtlsError::PeerVerificationError, text, error)
    }

    pub(super) fn send(error: SendError) -> Error {
        let kind = match &error {
            SendError::TooLarge { .. } | SendError::Empty => DtlsError::InvalidInputParameters,
            SendError::NotEstablished => DtlsError::InvalidOperation,
            SendError::Full => DtlsError::UnderlyingSocketError,
            SendError::Closed | SendError::Failed(_) => DtlsError::TlsFatalError,
        };
        Error::with_source(kind, "the message was not sent", error)
    }

    /// Which of Qt's errors this is; never [`DtlsError::NoError`].
    pub fn kind(&self) -> DtlsError {
        self.kind
    }

    /// This error and all beneath it in one line, as Qt's `dtlsErrorString`.
    pub fn error_string(&self) -> String {
        let mut text = self.text.clone();
        let mut source = self.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Error {
        match error {
            CoreError::Setup(error) => Error::initialization(error),
            error @ CoreError::CertificateRejected { .. } => Error::verification(error),
            CoreError::Unreachable(error) => Error::socket(error),
            error => {
                let text = "the association failed";
                Error::with_source(DtlsError::TlsFatalError, text, error)
            }
        }
    }
}

impl From<CookieError> for Error {
    fn from(error: CookieError) -> Error {
        let text = "the cookie exchange failed";
        Error::with_source(DtlsError::TlsFatalError, text, error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind {
            DtlsError::InvalidInputParameters | DtlsError::InvalidOperation => {
                io::ErrorKind::InvalidInput
            }
            DtlsError::RemoteClosedConnectionError => io::ErrorKind::ConnectionAborted,
            DtlsError::PeerVerificationError => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// What an object remembers of its last operation.
#[derive(Debug, Default)]
pub(super) struct LastError {
    pub(super) kind: DtlsError,
    pub(super) text: String,
}

impl LastError {
    /// Remembers how an operation ended.
    pub(super) fn note<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        *self = match &result {
            Ok(_) => LastError::default(),
            Err(error) => LastError {
                kind: error.kind,
                text: error.error_string(),
            },
        };
        result
    }
}
