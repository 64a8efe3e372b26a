//! What can go wrong for a client of several servers.

use std::fmt;

use crate::client::{Address, ClientError};

/// Why a call was not carried out, as far as is known.
#[derive(Debug)]
pub enum FailoverError {
    /// No server was found for as long as the call had patience: why not at each address, the last time. Empty where
    /// there are no addresses.
    Unavailable(Vec<(Address, ClientError)>),
    /// The connection broke, but the server is still there and may have done what it was asked for. It was not asked
    /// again. The client is connected anew.
    OutcomeUnknown(ClientError),
    /// A server has refused the request, the token, or a node that was reported again; or there is something wrong with the
    /// request. Another try would end alike.
    Client(ClientError),
}

impl fmt::Display for FailoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(failures) if failures.is_empty() => f.write_str("there is no address to connect to"),
            Self::Unavailable(failures) => {
                f.write_str("no server answers")?;
                for (place, (address, error)) in failures.iter().enumerate() {
                    write!(f, "{} {address}: {error}", if place == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            Self::OutcomeUnknown(error) => {
                write!(f, "the connection broke, and the server may have done it before that: {error}")
            }
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FailoverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(failures) => failures.last().map(|(_, error)| error as _),
            Self::OutcomeUnknown(error) => Some(error),
            Self::Client(error) => error.source(),
        }
    }
}

impl From<ClientError> for FailoverError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}
