//! The fields that requests of extensions are made of.

use super::error::{ExtensionError, Field, NameError};
use super::{SCHEDULE_MANY_MAX, reply};
use crate::wire::NodeId;
use crate::wire::resources::{Meaning, Resources};

const _: () = assert!(SCHEDULE_MANY_MAX <= u16::MAX as usize, "the count is a u16");
const _: () = assert!(SCHEDULE_MANY_MAX * NodeId::LENGTH < reply::MESSAGE_LENGTH_MAX, "the reply has room");

/// The name of a view or an owner: at most 255 bytes of UTF-8 without control characters. May be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// A name for the wire.
    pub fn new(name: &'a str) -> Result<Self, NameError> {
        if name.len() > usize::from(u8::MAX) {
            return Err(NameError::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(NameError::ControlCharacter);
        }
        Ok(Self(name))
    }

    /// Its text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Node IDs, still as their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeIds<'a> {
    chunks: &'a [[u8; NodeId::LENGTH]],
}

impl<'a> NodeIds<'a> {
    /// The IDs in `bytes`; `None` if their number is not whole.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.as_chunks() {
            (chunks, []) => Some(Self { chunks }),
            _ => None,
        }
    }

    /// The IDs whose bytes these are.
    pub fn from_chunks(chunks: &'a [[u8; NodeId::LENGTH]]) -> Self {
        Self { chunks }
    }
}

impl Iterator for NodeIds<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        let (first, rest) = self.chunks.split_first()?;
        self.chunks = rest;
        Some(NodeId(i64::from_le_bytes(*first)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.chunks.len(), Some(self.chunks.len()))
    }
}

impl ExactSizeIterator for NodeIds<'_> {}

/// Demands, checked and still as their bytes: at most [`SCHEDULE_MANY_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands<'a> {
    count: u16,
    lists: &'a [u8],
}

impl<'a> Demands<'a> {
    /// Checks the first `count` lists in `bytes`, each with its length before it, and returns what follows them too.
    pub fn parse(count: u16, bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ExtensionError> {
        if usize::from(count) > SCHEDULE_MANY_MAX {
            return Err(ExtensionError::Entries(count));
        }
        let mut fields = Fields::new(bytes);
        for _ in 0..count {
            fields.list(Meaning::Demand, Field::Demands)?;
        }
        let (lists, after) = bytes.split_at(bytes.len() - fields.rest.len());
        Ok((Self { count, lists }, after))
    }

    pub(super) fn append(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(self.lists);
    }
}

impl<'a> Iterator for Demands<'a> {
    type Item = Resources<'a>;

    fn next(&mut self) -> Option<Resources<'a>> {
        self.count = self.count.checked_sub(1)?;
        let mut fields = Fields::new(self.lists);
        let demand = fields.list(Meaning::Demand, Field::Demands);
        debug_assert!(demand.is_ok(), "the lists were checked when they were parsed");
        self.lists = fields.rest;
        demand.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.count), Some(usize::from(self.count)))
    }
}

impl ExactSizeIterator for Demands<'_> {}

/// A body, taken apart from its front. Errors name the field.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), ExtensionError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ExtensionError::TrailingBytes) }
    }

    fn bytes(&mut self, length: usize, field: Field) -> Result<&'a [u8], ExtensionError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ExtensionError::CutShort(field))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const LENGTH: usize>(&mut self, field: Field) -> Result<[u8; LENGTH], ExtensionError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ExtensionError::CutShort(field))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self, field: Field) -> Result<u8, ExtensionError> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, field: Field) -> Result<u16, ExtensionError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: Field) -> Result<u32, ExtensionError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn node_id(&mut self, field: Field) -> Result<NodeId, ExtensionError> {
        self.array(field).map(i64::from_le_bytes).map(NodeId)
    }

    pub(super) fn node_ids(&mut self, field: Field) -> Result<NodeIds<'a>, ExtensionError> {
        let count = self.u8(field)?;
        let (chunks, _) = self.bytes(usize::from(count) * NodeId::LENGTH, field)?.as_chunks();
        Ok(NodeIds::from_chunks(chunks))
    }

    pub(super) fn list(&mut self, meaning: Meaning, field: Field) -> Result<Resources<'a>, ExtensionError> {
        let length = self.u32(field)?;
        // What does not fit the machine's addresses does not fit the message.
        let bytes = self.bytes(usize::try_from(length).unwrap_or(usize::MAX), field)?;
        Resources::parse(bytes, meaning).map_err(|error| ExtensionError::Resources(field, error))
    }

    pub(super) fn demands(&mut self) -> Result<Demands<'a>, ExtensionError> {
        let count = self.u16(Field::Count)?;
        let (demands, rest) = Demands::parse(count, self.rest)?;
        self.rest = rest;
        Ok(demands)
    }

    pub(super) fn name(&mut self, field: Field) -> Result<Name<'a>, ExtensionError> {
        let length = self.u8(field)?;
        let bytes = self.bytes(usize::from(length), field)?;
        let name = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8).and_then(Name::new);
        name.map_err(|error| ExtensionError::Name(field, error))
    }

    pub(super) fn token(&mut self, field: Field) -> Result<&'a [u8], ExtensionError> {
        let length = self.u16(field)?;
        self.bytes(usize::from(length), field)
    }

    pub(super) fn flags(&mut self, known: u8) -> Result<u8, ExtensionError> {
        match self.u8(Field::Flags)? {
            flags if flags & !known != 0 => Err(ExtensionError::Flags(flags)),
            flags => Ok(flags),
        }
    }

    pub(super) fn switch(&mut self) -> Result<bool, ExtensionError> {
        match self.u8(Field::On)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(ExtensionError::Switch(other)),
        }
    }
}

/// Appends a list: its length and its bytes.
///
/// # Panics
/// When it has 4 GiB or more, which no message can hold.
pub fn append_list(out: &mut Vec<u8>, list: Resources<'_>) {
    let length = u32::try_from(list.as_bytes().len()).expect("a list of less than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(list.as_bytes());
}

pub(super) fn append_name(out: &mut Vec<u8>, name: Name<'_>) {
    out.push(name.as_str().len() as u8);
    out.extend_from_slice(name.as_str().as_bytes());
}

pub(super) fn append_token(out: &mut Vec<u8>, token: &[u8]) {
    let length = u16::try_from(token.len()).expect("a token of at most 65,535 bytes");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(token);
}

pub(super) fn append_nodes(out: &mut Vec<u8>, nodes: NodeIds<'_>) {
    let count = u8::try_from(nodes.len()).expect("at most 255 nodes");
    out.push(count);
    out.extend_from_slice(nodes.chunks.as_flattened());
}
