//! What can go wrong for a client.

use std::fmt;
use std::io;

use crate::wire::extension::{ErrorCode, NameError};
use crate::wire::resources::ResourcesError;

/// Why a call was not carried out.
///
/// After [`Io`](Self::Io), [`TimedOut`](Self::TimedOut) and [`Closed`](Self::Closed) it is not known whether the server
/// has carried it out, and the connection is of no more use: connect again.
#[derive(Debug)]
pub enum ClientError {
    /// The connection failed.
    Io(io::Error),
    /// The server took longer than the timeout.
    TimedOut,
    /// The connection is closed.
    Closed,
    /// What came is no reply to this request.
    InvalidReply,
    /// The server has refused the request: the number of an [`ErrorCode`], and why in words.
    Refused { number: u16, text: String },
    /// The server does not know this request, or takes it for malformed: it may be of an earlier version.
    NotUnderstood,
    /// The request was not sent, since no message can say it.
    InvalidRequest(&'static str),
}

impl ClientError {
    /// Whether the connection is lost, and another one or another server may do better.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Io(_) | Self::TimedOut | Self::Closed)
    }

    /// The code with which the server has refused, if it did and the code is known.
    pub fn error_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { number, .. } => ErrorCode::from_number(*number),
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => f.write_str("the server did not answer in time"),
            Self::Closed => f.write_str("the connection is closed"),
            Self::InvalidReply => f.write_str("the server answered with something that is no reply"),
            Self::Refused { number, text } => write!(f, "refused: {text} (code {number})"),
            Self::NotUnderstood => f.write_str("the server does not understand this request"),
            Self::InvalidRequest(why) => write!(f, "the request was not sent: {why}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A read that times out says that it would block.
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl From<ResourcesError> for ClientError {
    fn from(error: ResourcesError) -> Self {
        Self::InvalidRequest(error.as_str())
    }
}

impl From<NameError> for ClientError {
    fn from(error: NameError) -> Self {
        Self::InvalidRequest(error.as_str())
    }
}
