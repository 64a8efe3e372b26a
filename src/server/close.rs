//! Why connections close.

use std::fmt;
use std::io;

use crate::wire::frame::FrameError;

/// Why a connection closes. Each is counted and logged where the connection is closed.
#[derive(Debug)]
pub enum CloseReason {
    /// The peer has sent all it wanted, and has been answered.
    EndOfStream,
    /// The peer closed inside a frame.
    EndInsideFrame,
    /// The peer reset the connection, or it broke.
    Lost(io::Error),
    /// The peer sent a length that cannot be.
    Frame(FrameError),
    /// There are `--max-connections` already.
    TooManyConnections,
    /// There is no memory for its requests or replies.
    OutOfMemory,
    /// The peer did not show the token.
    Unauthorized,
    /// The server stops.
    Shutdown,
}

impl CloseReason {
    /// Number of reasons that [`CloseReason::index`] tells apart.
    pub const REASONS: usize = 8;

    /// A name for each reason, by index, as it is used with a count.
    pub const NAMES: [&'static str; Self::REASONS] = [
        "closed by the peer",
        "closed inside a frame",
        "lost",
        "bad frame",
        "over the limit",
        "out of memory",
        "at exit",
        "without the token",
    ];

    /// A small number for the reason.
    pub fn index(&self) -> usize {
        match self {
            Self::EndOfStream => 0,
            Self::EndInsideFrame => 1,
            Self::Lost(_) => 2,
            Self::Frame(_) => 3,
            Self::TooManyConnections => 4,
            Self::OutOfMemory => 5,
            Self::Shutdown => 6,
            Self::Unauthorized => 7,
        }
    }

    /// Whether it is part of normal life.
    pub fn is_normal(&self) -> bool {
        matches!(self, Self::EndOfStream | Self::Shutdown)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfStream => f.write_str("closed by the peer"),
            Self::EndInsideFrame => f.write_str("closed by the peer inside a frame"),
            Self::Lost(error) => write!(f, "lost: {error}"),
            Self::Frame(error) => error.fmt(f),
            Self::TooManyConnections => f.write_str("there are --max-connections already"),
            Self::OutOfMemory => f.write_str("out of memory for its buffers"),
            Self::Unauthorized => f.write_str("it did not begin with the token of this server (--token-file)"),
            Self::Shutdown => f.write_str("the server stops"),
        }
    }
}
