//! Why the request of an extension is not carried out.

use std::fmt;

use super::{SCHEDULE_MANY_MAX, VERSION};
use crate::wire::resources::ResourcesError;

/// What an error reply says to programs. The numbers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// The message is not what the protocol says: cut short, too long, or with a field that makes no sense.
    Malformed = 1,
    /// The hello names a version that the server does not speak.
    UnsupportedVersion = 2,
    /// A hello that is not the first message of its connection.
    HelloNotFirst = 3,
    /// The server asks for a token, and the connection began without one or with a wrong one.
    BadToken = 4,
    /// The name of a view or an owner is no UTF-8 or has control characters.
    BadName = 5,
    /// Bits of the flags are set that mean nothing yet.
    ReservedFlags = 6,
    /// No strategy has this number.
    UnknownStrategy = 7,
    /// No policy has this number.
    UnknownPolicy = 8,
    /// More demands than one request may have.
    TooManyEntries = 9,
    /// The view has no node of this ID.
    UnknownNode = 10,
    /// The owner holds fewer placements of these resources on the node than it wants to release.
    OverRelease = 11,
    /// The view has as many nodes as it may have.
    TooManyNodes = 12,
    /// The server has as many shared views as it may have.
    TooManyViews = 13,
    /// The view has as many owners as it may have.
    TooManyOwners = 14,
    /// The owner has as many placements as it may have.
    TooManyPlacements = 15,
    /// The reply would be longer than [`MESSAGE_LENGTH_MAX`](super::reply::MESSAGE_LENGTH_MAX).
    ReplyTooLong = 16,
    /// The view knows as many names of resources as it may know.
    TooManyNames = 17,
    /// The server takes nothing new, since memory is short.
    OutOfMemory = 18,
}

impl ErrorCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [ErrorCode; 18] = [
        Self::Malformed,
        Self::UnsupportedVersion,
        Self::HelloNotFirst,
        Self::BadToken,
        Self::BadName,
        Self::ReservedFlags,
        Self::UnknownStrategy,
        Self::UnknownPolicy,
        Self::TooManyEntries,
        Self::UnknownNode,
        Self::OverRelease,
        Self::TooManyNodes,
        Self::TooManyViews,
        Self::TooManyOwners,
        Self::TooManyPlacements,
        Self::ReplyTooLong,
        Self::TooManyNames,
        Self::OutOfMemory,
    ];

    /// The code of a number; `None` for one that a later version may have added.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Its number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// What is wrong with the name of a view or an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// More than 255 bytes.
    TooLong,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// Control characters, which have no place in logs and tables.
    ControlCharacter,
}

impl NameError {
    /// The error in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "a name longer than 255 bytes",
            Self::NotUtf8 => "a name that is not UTF-8",
            Self::ControlCharacter => "a name with control characters",
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for NameError {}

/// A field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Version,
    View,
    Owner,
    Token,
    NodeId,
    Available,
    Total,
    Resources,
    Count,
    Strategy,
    Flags,
    Demands,
    Policy,
    Preferred,
    Avoided,
    Demand,
    On,
}

impl Field {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::View => "view",
            Self::Owner => "owner",
            Self::Token => "token",
            Self::NodeId => "node ID",
            Self::Available => "available",
            Self::Total => "total",
            Self::Resources => "resources",
            Self::Count => "count",
            Self::Strategy => "strategy",
            Self::Flags => "flags",
            Self::Demands => "demands",
            Self::Policy => "policy",
            Self::Preferred => "preferred",
            Self::Avoided => "avoided",
            Self::Demand => "demand",
            Self::On => "on",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with the request of an extension, and in which field. Small, since it is part of every result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionError {
    /// The message ends inside this field, or before it.
    CutShort(Field),
    /// Bytes after the last field.
    TrailingBytes,
    /// An update of node -1, Ray's nil.
    NodeIdNil,
    /// A list of resources is malformed.
    Resources(Field, ResourcesError),
    /// Neither on nor off.
    Switch(u8),
    /// A version that is not spoken.
    Version(u16),
    /// A name that is refused.
    Name(Field, NameError),
    /// No strategy.
    Strategy(u8),
    /// Flags with reserved bits.
    Flags(u8),
    /// More demands than one request may have.
    Entries(u16),
}

impl ExtensionError {
    /// What programs are told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::CutShort(_) | Self::TrailingBytes | Self::NodeIdNil | Self::Resources(..) | Self::Switch(_) => {
                ErrorCode::Malformed
            }
            Self::Version(_) => ErrorCode::UnsupportedVersion,
            Self::Name(..) => ErrorCode::BadName,
            Self::Strategy(_) => ErrorCode::UnknownStrategy,
            Self::Flags(_) => ErrorCode::ReservedFlags,
            Self::Entries(_) => ErrorCode::TooManyEntries,
        }
    }
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort(field) => write!(f, "{field}: the message ends too early"),
            Self::TrailingBytes => f.write_str("bytes after the last field"),
            Self::NodeIdNil => f.write_str("an update of node -1, which is Ray's nil"),
            Self::Resources(field, error) => write!(f, "{field}: {error}"),
            Self::Switch(value) => write!(f, "a drain that is {value}, neither 1 (on) nor 0 (off)"),
            Self::Version(version) => write!(f, "version {version} is not spoken here, but {VERSION} is"),
            Self::Name(field, error) => write!(f, "{field}: {error}"),
            Self::Strategy(strategy) => write!(f, "no strategy is number {strategy}"),
            Self::Flags(flags) => write!(f, "flags {flags:#x} have bits that mean nothing here"),
            Self::Entries(count) => write!(f, "{count} demands in one request, the limit is {SCHEDULE_MANY_MAX}"),
        }
    }
}

impl std::error::Error for ExtensionError {}
