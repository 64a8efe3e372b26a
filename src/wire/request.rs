//! Requests: those of version 1 of the protocol are here, others are an [`extension`](super::extension)'s.
//!
//! | message | body |
//! |---|---|
//! | add node | `0x0` `[8 bytes: node ID, i64 LE]` `[resources]` |
//! | remove node | `0x1` `[8 bytes: node ID]` |
//! | schedule | `0x2` `[resources]` |

use std::fmt;

use super::NodeId;
use super::extension::{Code, Extension, ExtensionError};
use super::frame;
use super::resources::{self, Meaning, Resources, ResourcesError};
use crate::scheduler::amount::Amount;

const ADD_NODE: u8 = 0x0;
const REMOVE_NODE: u8 = 0x1;
/// Code of a schedule.
pub const SCHEDULE: u8 = 0x2;

/// What a client asks for. Borrows the message it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A node is there, with these resources available; replaces what was reported of it before.
    AddNode { node: NodeId, resources: Resources<'a> },
    /// A node is gone.
    RemoveNode { node: NodeId },
    /// Which node should run a task that asks for this?
    Schedule { demand: Resources<'a> },
    /// What version 1 does not know.
    Extension(Extension<'a>),
}

/// Why a message is not a request. Nothing is changed and the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// A message of no bytes.
    Empty,
    /// A first byte that is no known code.
    UnknownCode(u8),
    /// Fewer than the 8 bytes of a node ID.
    NodeIdCutShort,
    /// Bytes after the node ID of a remove.
    TrailingBytes,
    /// An add of node -1, Ray's nil.
    NodeIdNil,
    /// The list of resources is malformed.
    Resources(ResourcesError),
    /// The request of an extension cannot be carried out as it is. Unlike the others, which are answered `[0x1]`, it
    /// is answered with the error's code and text.
    Extension(ExtensionError),
}

impl RequestError {
    /// Number of reasons that [`RequestError::index`] tells apart.
    pub const REASONS: usize = 12;

    /// A small number for the reason (not for its details), to log each once and count each.
    pub fn index(self) -> usize {
        match self {
            Self::Empty => 0,
            Self::UnknownCode(_) => 1,
            Self::NodeIdCutShort => 2,
            Self::TrailingBytes => 3,
            Self::NodeIdNil => 4,
            Self::Resources(error) => 5 + error as usize,
            Self::Extension(_) => 11,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty message"),
            Self::UnknownCode(code) => write!(f, "an unknown message code {code:#x}"),
            Self::NodeIdCutShort => f.write_str("a node ID of fewer than 8 bytes"),
            Self::TrailingBytes => f.write_str("bytes after the node ID of a remove"),
            Self::NodeIdNil => f.write_str("an add of node -1, which is Ray's nil"),
            Self::Resources(error) => error.fmt(f),
            Self::Extension(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<ResourcesError> for RequestError {
    fn from(error: ResourcesError) -> Self {
        Self::Resources(error)
    }
}

impl From<ExtensionError> for RequestError {
    fn from(error: ExtensionError) -> Self {
        Self::Extension(error)
    }
}

impl<'a> Request<'a> {
    /// Parses one message, the inside of a frame. The whole message is checked here: what follows cannot
    /// find it malformed half way.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, RequestError> {
        let (&code, body) = message.split_first().ok_or(RequestError::Empty)?;
        match code {
            SCHEDULE => Ok(Self::Schedule { demand: Resources::parse(body, Meaning::Demand)? }),
            ADD_NODE => {
                let (node, rest) = split_node_id(body)?;
                if node == NodeId::NIL {
                    return Err(RequestError::NodeIdNil);
                }
                Ok(Self::AddNode { node, resources: Resources::parse(rest, Meaning::Report)? })
            }
            REMOVE_NODE => match split_node_id(body)? {
                (node, []) => Ok(Self::RemoveNode { node }),
                _ => Err(RequestError::TrailingBytes),
            },
            code => Self::parse_extension(code, body),
        }
    }

    /// The list of resources that a schedule asks for, unchecked; `None` of another message.
    #[inline]
    pub fn list_of_schedule(message: &[u8]) -> Option<&[u8]> {
        message.split_first().filter(|&(&code, _)| code == SCHEDULE).map(|(_, list)| list)
    }

    /// Kept apart, so that it costs the requests of version 1 nothing.
    #[cold]
    fn parse_extension(code: u8, body: &'a [u8]) -> Result<Self, RequestError> {
        let code = Code::from_byte(code).ok_or(RequestError::UnknownCode(code))?;
        Ok(Self::Extension(Extension::parse(code, body)?))
    }
}

#[inline]
fn split_node_id(body: &[u8]) -> Result<(NodeId, &[u8]), RequestError> {
    let (id, rest) = body.split_first_chunk::<{ NodeId::LENGTH }>().ok_or(RequestError::NodeIdCutShort)?;
    Ok((NodeId(i64::from_le_bytes(*id)), rest))
}

/// Appends a whole frame to `out`, its message written by `write`.
pub(super) fn append_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&frame::prefix(0));
    write(out);
    let prefix = frame::prefix(out.len() - start - frame::PREFIX_LENGTH);
    out[start..start + frame::PREFIX_LENGTH].copy_from_slice(&prefix);
}

/// Appends the frame of an add.
pub fn append_add_node<'k>(out: &mut Vec<u8>, node: NodeId, resources: impl IntoIterator<Item = (&'k [u8], Amount)>) {
    append_frame(out, |out| {
        out.push(ADD_NODE);
        out.extend_from_slice(&node.0.to_le_bytes());
        resources.into_iter().for_each(|(key, amount)| resources::append(out, key, amount));
    });
}

/// Appends the frame of a remove.
pub fn append_remove_node(out: &mut Vec<u8>, node: NodeId) {
    append_frame(out, |out| {
        out.push(REMOVE_NODE);
        out.extend_from_slice(&node.0.to_le_bytes());
    });
}

/// Appends the frame of a schedule.
pub fn append_schedule<'k>(out: &mut Vec<u8>, demand: impl IntoIterator<Item = (&'k [u8], Amount)>) {
    append_frame(out, |out| {
        out.push(SCHEDULE);
        demand.into_iter().for_each(|(key, amount)| resources::append(out, key, amount));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_parsed_again() {
        let one = Amount::from_f64(1.0);
        let mut frames = Vec::new();
        append_add_node(&mut frames, NodeId(-2), [(&b"CPU"[..], one), (b"GPU", one)]);
        append_remove_node(&mut frames, NodeId(i64::MIN));
        append_schedule(&mut frames, [(&b"CPU"[..], one)]);

        let mut rest = &frames[..];
        let mut next = || match frame::split(rest, 1 << 20) {
            Ok(frame::Frame::Complete { message, consumed }) => {
                rest = &rest[consumed..];
                Request::parse(message).unwrap()
            }
            other => panic!("{other:?}"),
        };
        let Request::AddNode { node: NodeId(-2), resources } = next() else { panic!("not the add") };
        assert_eq!(resources.map(|(key, _)| key).collect::<Vec<_>>(), [b"CPU", b"GPU"]);
        assert_eq!(next(), Request::RemoveNode { node: NodeId(i64::MIN) });
        let Request::Schedule { demand } = next() else { panic!("not the schedule") };
        assert_eq!(demand.collect::<Vec<_>>(), [(&b"CPU"[..], one)]);
    }

    #[test]
    fn malformed_messages_are_refused_with_their_reason() {
        let cases: [(&str, &[u8], RequestError); 10] = [
            ("empty", b"", RequestError::Empty),
            ("unknown code", b"\x09", RequestError::UnknownCode(9)),
            ("add without an id", b"\x00", RequestError::NodeIdCutShort),
            ("add with 7 bytes of id", b"\x001234567", RequestError::NodeIdCutShort),
            ("add of nil", b"\x00\xff\xff\xff\xff\xff\xff\xff\xff", RequestError::NodeIdNil),
            ("add with half a resource", b"\x0012345678CPU", ResourcesError::KeyUnterminated.into()),
            ("remove with 7 bytes of id", b"\x011234567", RequestError::NodeIdCutShort),
            ("remove with 9 bytes of id", b"\x01123456789", RequestError::TrailingBytes),
            ("schedule with a key alone", b"\x02CPU", ResourcesError::KeyUnterminated.into()),
            ("schedule with half an amount", b"\x02CPU\0abc", ResourcesError::AmountCutShort.into()),
        ];
        for (name, message, expected) in cases {
            assert_eq!(Request::parse(message), Err(expected), "{name}");
        }
    }

    #[test]
    fn reasons_have_distinct_indices_below_their_number() {
        let mut seen = [false; RequestError::REASONS];
        let errors = [
            RequestError::Empty,
            RequestError::UnknownCode(3),
            RequestError::NodeIdCutShort,
            RequestError::TrailingBytes,
            RequestError::NodeIdNil,
            ResourcesError::KeyUnterminated.into(),
            ResourcesError::KeyEmpty.into(),
            ResourcesError::KeyTooLong.into(),
            ResourcesError::AmountCutShort.into(),
            ResourcesError::AmountNotFinite.into(),
            ResourcesError::AmountNegative.into(),
            ExtensionError::TrailingBytes.into(),
        ];
        for error in errors {
            assert!(!std::mem::replace(&mut seen[error.index()], true), "{error:?}");
        }
        assert_eq!(seen, [true; RequestError::REASONS]);
    }
}
