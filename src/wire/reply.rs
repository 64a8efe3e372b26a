//! Replies, version 1 of the protocol, each a whole frame.
//!
//! | reply | message |
//! |---|---|
//! | done | `0x0` |
//! | placed | `0x0` `[8 bytes: node ID, i64 LE]` |
//! | refused: malformed, or no node fits | `0x1` |

use super::NodeId;
use super::frame::PREFIX_LENGTH;

pub(super) const DONE: u8 = 0x0;
pub(super) const REFUSED: u8 = 0x1;

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An add or a remove is done.
    Done,
    /// A task runs on this node.
    Placed { node: NodeId },
    /// The request was malformed, or no node fits.
    Refused,
}

/// Length in bytes of the longest reply frame.
pub const FRAME_LENGTH_MAX: usize = PREFIX_LENGTH + 1 + NodeId::LENGTH;

/// A reply frame, built in place.
#[derive(Clone, Copy, Debug)]
pub struct ReplyFrame {
    bytes: [u8; FRAME_LENGTH_MAX],
    length: usize,
}

impl ReplyFrame {
    /// The bytes of the frame.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The bytes of the frame, and others behind them up to the length of the longest.
    #[inline]
    pub fn padded(&self) -> (&[u8; FRAME_LENGTH_MAX], usize) {
        (&self.bytes, self.length)
    }
}

impl Reply {
    /// The frame of this reply.
    #[inline]
    pub fn to_frame(self) -> ReplyFrame {
        let mut bytes = [0; FRAME_LENGTH_MAX];
        let (status, length) = match self {
            Self::Done => (DONE, PREFIX_LENGTH + 1),
            Self::Refused => (REFUSED, PREFIX_LENGTH + 1),
            Self::Placed { node } => {
                bytes[PREFIX_LENGTH + 1..].copy_from_slice(&node.0.to_le_bytes());
                (DONE, FRAME_LENGTH_MAX)
            }
        };
        bytes[0] = (length - PREFIX_LENGTH) as u8;
        bytes[PREFIX_LENGTH] = status;
        ReplyFrame { bytes, length }
    }

    /// Parses the message of a reply, for clients. `None` if it is not one of version 1.
    pub fn parse(message: &[u8]) -> Option<Self> {
        match message {
            [DONE] => Some(Self::Done),
            [REFUSED] => Some(Self::Refused),
            [DONE, id @ ..] => {
                let id = <[u8; NodeId::LENGTH]>::try_from(id).ok()?;
                Some(Self::Placed { node: NodeId(i64::from_le_bytes(id)) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_protocol() {
        let cases: [(Reply, &[u8]); 3] = [
            (Reply::Done, b"\x01\0\0\0\0\0\0\0\x00"),
            (Reply::Refused, b"\x01\0\0\0\0\0\0\0\x01"),
            (Reply::Placed { node: NodeId(-2) }, b"\x09\0\0\0\0\0\0\0\x00\xfe\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (reply, bytes) in cases {
            assert_eq!(reply.to_frame().as_bytes(), bytes, "{reply:?}");
            assert_eq!(Reply::parse(&bytes[PREFIX_LENGTH..]), Some(reply), "{reply:?}");
        }
    }

    #[test]
    fn other_messages_are_no_reply() {
        for message in [&b""[..], b"\x02", b"\x01\x00", b"\x00\x01", b"\x00123456789"] {
            assert_eq!(Reply::parse(message), None, "{message:?}");
        }
    }
}
