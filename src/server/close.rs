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

/// What a reason is called where connections are counted.
#[derive(Clone, Copy, Debug)]
pub struct CloseKind {
    /// For programs.
    pub key: &'static str,
    /// After a number of connections.
    pub name: &'static str,
    /// Whether peers come in crowds where they are closed for this reason, so that a log line about one is as good as
    /// about all.
    pub comes_in_crowds: bool,
}

impl CloseKind {
    const fn of_each(key: &'static str, name: &'static str) -> Self {
        Self { key, name, comes_in_crowds: false }
    }

    const fn of_crowds(key: &'static str, name: &'static str) -> Self {
        Self { key, name, comes_in_crowds: true }
    }
}

impl CloseReason {
    /// Number of reasons that [`CloseReason::index`] tells apart.
    pub const REASONS: usize = 12;

    /// What the reasons are called, by index.
    pub const KINDS: [CloseKind; Self::REASONS] = [
        CloseKind::of_each("end_of_stream", "closed by the peer"),
        CloseKind::of_each("inside_frame", "closed inside a frame"),
        CloseKind::of_each("lost", "lost"),
        CloseKind::of_each("bad_frame", "bad frame"),
        CloseKind::of_crowds("too_many_connections", "over the limit"),
        CloseKind::of_each("out_of_memory", "out of memory"),
        CloseKind::of_each("shutdown", "at exit"),
        CloseKind::of_each("unauthorized", "without the token"),
        CloseKind::of_crowds("unused", "closed unused"),
        CloseKind::of_each("frame_timeout", "with a frame not finished in time"),
        CloseKind::of_each("write_timeout", "with replies not read in time"),
        CloseKind::of_each("not_allowed", "not allowed"),
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
