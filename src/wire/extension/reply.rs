//! Replies to the requests of extensions.
//!
//! | reply | message |
//! |---|---|
//! | done | `0x0`, and what the request asked for |
//! | no node fits | `0x1`, why `u8` |
//! | error | `0x2`, [`ErrorCode`] `u16`, UTF-8 text |
//!
//! What follows `0x0`:
//!
//! | request | body |
//! |---|---|
//! | hello | version `u16`, capabilities `u64`, server instance `u64` |
//! | schedule many | node IDs |
//! | schedule with hints | node ID, `u8` 1 free or 0 it queues there |
//! | explain, stats | JSON |
//! | ping | the bytes of the request |
//! | all others | |

use super::fields::NodeIds;
use super::{Capabilities, ErrorCode, VERSION};
use crate::wire::NodeId;
use crate::wire::reply::{DONE, REFUSED};
use crate::wire::request::append_frame;

const ERROR: u8 = 0x2;

/// Length in bytes of the longest reply, which is what a client must be ready to take. The statistics of 100,000 nodes
/// have room.
pub const MESSAGE_LENGTH_MAX: usize = 64 << 20;

/// Why no node was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NotPlaced {
    /// No node could ever take it.
    NothingFeasible = 0,
    /// Some node could take it at another time. Only where free nodes alone count.
    NothingFree = 1,
    /// There are no nodes.
    NoNodes = 2,
}

impl NotPlaced {
    /// All reasons, in the order of their bytes.
    pub const ALL: [NotPlaced; 3] = [Self::NothingFeasible, Self::NothingFree, Self::NoNodes];
}

/// What the answer to a hello says of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version that is spoken from now on.
    pub version: u16,
    /// The extensions that are served.
    pub capabilities: Capabilities,
    /// Another one each time that a server starts: what was told to an earlier one is gone.
    pub instance: u64,
}

/// Where a task with hints goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: NodeId,
    /// Whether the node was free. Else the task queues there.
    pub free: bool,
}

/// Appends the frame that answers an update, a release or a drain.
pub fn append_done(out: &mut Vec<u8>) {
    append_bytes(out, b"");
}

/// Appends the frame that answers a hello.
pub fn append_welcome(out: &mut Vec<u8>, capabilities: Capabilities, instance: u64) {
    append_frame(out, |out| {
        out.push(DONE);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&capabilities.0.to_le_bytes());
        out.extend_from_slice(&instance.to_le_bytes());
    });
}

/// Appends the frame that answers a schedule many.
pub fn append_nodes(out: &mut Vec<u8>, nodes: impl IntoIterator<Item = NodeId>) {
    append_frame(out, |out| {
        out.push(DONE);
        nodes.into_iter().for_each(|node| out.extend_from_slice(&node.0.to_le_bytes()));
    });
}

/// Appends the frame that answers a schedule with hints.
pub fn append_placement(out: &mut Vec<u8>, placement: Placement) {
    append_frame(out, |out| {
        out.push(DONE);
        out.extend_from_slice(&placement.node.0.to_le_bytes());
        out.push(u8::from(placement.free));
    });
}

/// Appends the frame that answers an explain or a stats with JSON, or a ping with its own bytes.
pub fn append_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    append_frame(out, |out| {
        out.push(DONE);
        out.extend_from_slice(bytes);
    });
}

/// Appends the frame that says that no node fits.
pub fn append_not_placed(out: &mut Vec<u8>, why: NotPlaced) {
    append_frame(out, |out| out.extend_from_slice(&[REFUSED, why as u8]));
}

/// Appends the frame of an error, its text for people.
pub fn append_error(out: &mut Vec<u8>, code: ErrorCode, text: &str) {
    append_frame(out, |out| {
        out.push(ERROR);
        out.extend_from_slice(&code.number().to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    });
}

/// A reply as clients see it, before they look at what their request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Done, and what the request asked for.
    Done { body: &'a [u8] },
    /// The refusal of version 1: from a server that does not know the request.
    Refused,
    /// No node fits.
    NotPlaced(NotPlaced),
    /// An error: the number of an [`ErrorCode`], or one that a later version has added, and a text for people.
    Error { number: u16, text: &'a str },
}

impl<'a> Answer<'a> {
    /// Parses the message of a reply; `None` if it is none.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        match *message {
            [DONE, ref body @ ..] => Some(Self::Done { body }),
            [REFUSED] => Some(Self::Refused),
            [REFUSED, why] => NotPlaced::ALL.get(usize::from(why)).copied().map(Self::NotPlaced),
            [ERROR, low, high, ref text @ ..] => {
                Some(Self::Error { number: u16::from_le_bytes([low, high]), text: std::str::from_utf8(text).ok()? })
            }
            _ => None,
        }
    }
}

impl Welcome {
    /// Parses what follows the `0x0` that answers a hello.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (version, rest) = body.split_first_chunk()?;
        let (capabilities, rest) = rest.split_first_chunk()?;
        Some(Self {
            version: u16::from_le_bytes(*version),
            capabilities: Capabilities(u64::from_le_bytes(*capabilities)),
            instance: u64::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

impl Placement {
    /// Parses what follows the `0x0` that answers a schedule with hints.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let (node, rest) = body.split_first_chunk()?;
        let free = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self { node: NodeId(i64::from_le_bytes(*node)), free })
    }
}

/// Parses what follows the `0x0` that answers a schedule many of `count` demands: a node for each, in order.
pub fn parse_nodes(body: &[u8], count: usize) -> Option<NodeIds<'_>> {
    NodeIds::parse(body).filter(|nodes| nodes.len() == count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::PREFIX_LENGTH;

    /// The message that `append` writes, whose frame announces its length.
    #[track_caller]
    fn message(append: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut frame = b"before".to_vec();
        append(&mut frame);
        let message = frame.split_off(b"before".len() + PREFIX_LENGTH);
        assert_eq!(frame, [b"before", &(message.len() as u64).to_le_bytes()[..]].concat());
        message
    }

    #[test]
    fn replies_are_those_of_the_protocol() {
        let welcome = Welcome { version: 2, capabilities: Capabilities::ALL, instance: 0x0807_0605_0403_0201 };
        let bytes = b"\x00\x02\x00\xff\x01\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08";
        assert_eq!(message(|out| append_welcome(out, welcome.capabilities, welcome.instance)), bytes);
        assert_eq!(Welcome::parse(&bytes[1..]), Some(welcome));

        let nodes = [NodeId(1), NodeId::NIL];
        let bytes = b"\x00\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(message(|out| append_nodes(out, nodes)), bytes);
        assert_eq!(parse_nodes(&bytes[1..], 2).map(|parsed| parsed.collect()), Some(nodes.to_vec()));
        assert_eq!(message(|out| append_nodes(out, [])), b"\x00");
        assert_eq!(parse_nodes(b"", 0).map(|parsed| parsed.len()), Some(0));

        for (free, bytes) in
            [(true, b"\x00\xfe\xff\xff\xff\xff\xff\xff\xff\x01"), (false, b"\x00\xfe\xff\xff\xff\xff\xff\xff\xff\x00")]
        {
            let placement = Placement { node: NodeId(-2), free };
            assert_eq!(message(|out| append_placement(out, placement)), bytes);
            assert_eq!(Placement::parse(&bytes[1..]), Some(placement));
        }

        let answers: [(&str, Vec<u8>, &[u8], Answer); 7] = [
            ("done", message(append_done), b"\x00", Answer::Done { body: b"" }),
            (
                "bytes",
                message(|out| append_bytes(out, b"\x00\x01{}")),
                b"\x00\x00\x01{}",
                Answer::Done { body: b"\x00\x01{}" },
            ),
            (
                "nothing feasible",
                message(|out| append_not_placed(out, NotPlaced::NothingFeasible)),
                b"\x01\x00",
                Answer::NotPlaced(NotPlaced::NothingFeasible),
            ),
            (
                "nothing free",
                message(|out| append_not_placed(out, NotPlaced::NothingFree)),
                b"\x01\x01",
                Answer::NotPlaced(NotPlaced::NothingFree),
            ),
            (
                "no nodes",
                message(|out| append_not_placed(out, NotPlaced::NoNodes)),
                b"\x01\x02",
                Answer::NotPlaced(NotPlaced::NoNodes),
            ),
            (
                "error",
                message(|out| append_error(out, ErrorCode::OverRelease, "µ")),
                b"\x02\x0b\x00\xc2\xb5",
                Answer::Error { number: 11, text: "µ" },
            ),
            (
                "error without a text",
                message(|out| append_error(out, ErrorCode::Malformed, "")),
                b"\x02\x01\x00",
                Answer::Error { number: 1, text: "" },
            ),
        ];
        for (name, written, bytes, answer) in answers {
            assert_eq!(written, bytes, "{name}");
            assert_eq!(Answer::parse(bytes), Some(answer), "{name}");
        }
        assert_eq!(Answer::parse(b"\x01"), Some(Answer::Refused));
        assert_eq!(Answer::parse(b"\x02\xe8\x03new"), Some(Answer::Error { number: 1000, text: "new" }));
    }

    #[test]
    fn other_bytes_are_no_reply() {
        for message in [&b""[..], b"\x03", b"\x01\x03", b"\x01\x00\x00", b"\x02", b"\x02\x01", b"\x02\x01\x00\xff"] {
            assert_eq!(Answer::parse(message), None, "{message:?}");
        }
        let bytes = [0; 40];
        for length in (0..bytes.len()).filter(|length| *length != 18) {
            assert_eq!(Welcome::parse(&bytes[..length]), None, "{length} bytes");
        }
        for length in (0..bytes.len()).filter(|length| *length != 9) {
            assert_eq!(Placement::parse(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Placement::parse(b"12345678\x02"), None);
        for length in (0..bytes.len()).filter(|length| *length != 24) {
            assert_eq!(parse_nodes(&bytes[..length], 3), None, "{length} bytes");
        }
    }

    #[test]
    fn numbers_of_errors_do_not_change() {
        for (place, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), place + 1, "{code:?}");
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        for number in [0, ErrorCode::ALL.len() as u16 + 1, u16::MAX] {
            assert_eq!(ErrorCode::from_number(number), None);
        }
    }
}
