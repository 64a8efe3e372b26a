//! Why connections close.

use std::fmt;
use std::io;

use crate::wire::frame::FrameError;

/// Why a connection closes. Each is counted and logged where the connection is closed.
#[derive(Debug)]
pub enum CloseReason {
    /// The peer has sent all it wanted, and has been answered.
    EndOfStream,
    /// The peer has gone without having sent a byte: a port scan, or a check whether the server is there.
    Unused,
    /// The peer closed inside a frame.
    EndInsideFrame,
    /// The peer reset the connection, or it broke.
    Lost(io::Error),
    /// The peer sent a length that cannot be.
    Frame(FrameError),
    /// The peer did not finish a frame within `--frame-timeout`.
    FrameTimeout,
    /// The peer did not read its replies for `--write-timeout`.
    WriteTimeout,
    /// `--allow` does not name the peer's address.
    NotAllowed,
    /// There are `--max-connections` already.
    TooManyConnections,
    /// There is no memory for it, its requests or its replies.
    OutOfMemory,
    /// The peer did not show the token.
    Unauthorized,
    /// The server stops.
    Shutdown,
}

impl CloseReason {
    /// Number of reasons that [`CloseReason::index`] tells apart.
    pub const REASONS: usize = 12;

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
        "closed unused",
        "with a frame not finished in time",
        "with replies not read in time",
        "not allowed",
    ];

    /// Whether peers come in crowds where they are closed for this reason, by index, so that one is as good as all.
    pub const IS_CROWD: [bool; Self::REASONS] =
        [false, false, false, false, true, false, false, false, true, false, false, false];

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
            Self::Unused => 8,
            Self::FrameTimeout => 9,
            Self::WriteTimeout => 10,
            Self::NotAllowed => 11,
        }
    }

    /// Whether it is part of normal life.
    pub fn is_normal(&self) -> bool {
        matches!(self, Self::EndOfStream | Self::Unused | Self::Shutdown)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfStream => f.write_str("closed by the peer"),
            Self::Unused => f.write_str("closed by the peer, which has sent nothing"),
            Self::EndInsideFrame => f.write_str("closed by the peer inside a frame"),
            Self::Lost(error) => write!(f, "lost: {error}"),
            Self::Frame(error) => error.fmt(f),
            Self::FrameTimeout => f.write_str("it did not finish a message within --frame-timeout"),
            Self::WriteTimeout => f.write_str("it did not read its replies for --write-timeout"),
            Self::NotAllowed => f.write_str("its address is not in --allow"),
            Self::TooManyConnections => f.write_str("there are --max-connections already"),
            Self::OutOfMemory => f.write_str("there is no memory for it (--max-memory)"),
            Self::Unauthorized => f.write_str("it did not begin with the token of this server (--token-file)"),
            Self::Shutdown => f.write_str("the server stops"),
        }
    }
}
