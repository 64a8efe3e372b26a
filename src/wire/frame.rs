//! Framing: `[8 bytes: length n, signed 64-bit little-endian][n bytes: message]`.

use std::fmt;

/// Length in bytes of the length prefix.
pub const PREFIX_LENGTH: usize = 8;

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole frame: its message (which may be empty), and the bytes it takes with its prefix.
    Complete { message: &'a [u8], consumed: usize },
    /// More bytes are needed. `wanted` is the length of the whole frame as far as is known: of the
    /// prefix alone while that is incomplete.
    Partial { wanted: usize },
}

/// A length that no honest peer announces. The stream cannot be trusted any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length is negative.
    Negative { length: i64 },
    /// The announced length is above the limit.
    TooLong { length: i64, length_max: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative { length } => write!(f, "announced a message of {length} bytes, which is negative")?,
            Self::TooLong { length, length_max } => {
                write!(f, "announced a message of {length} bytes, the limit is {length_max} (--max-frame)")?;
            }
        }
        match self.foreign_protocol() {
            Some(protocol) => write!(f, ": it speaks {protocol}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FrameError {}

/// How clients begin that have come to the wrong port.
const FOREIGN_PREFIXES: [(&[u8], &str); 14] = [
    (b"GET ", "HTTP"),
    (b"HEAD ", "HTTP"),
    (b"POST ", "HTTP"),
    (b"PUT ", "HTTP"),
    (b"DELETE ", "HTTP"),
    (b"OPTIONS ", "HTTP"),
    (b"CONNECT ", "HTTP"),
    (b"PATCH ", "HTTP"),
    (b"PRI * HT", "HTTP/2, as gRPC does"),
    (b"\x16\x03", "TLS"),
    (b"SSH-", "SSH"),
    (b"PING\r\n", "the Redis protocol"),
    (b"*1\r\n$", "the Redis protocol"),
    (b"*2\r\n$", "the Redis protocol"),
];

impl FrameError {
    /// The protocol that the bytes of the length are the beginning of, if they are known.
    fn foreign_protocol(self) -> Option<&'static str> {
        let (Self::Negative { length } | Self::TooLong { length, .. }) = self;
        let bytes = length.to_le_bytes();
        FOREIGN_PREFIXES.iter().find(|(prefix, _)| bytes.starts_with(prefix)).map(|&(_, protocol)| protocol)
    }
}

/// Looks at the front of `bytes`. Nothing is copied: the message is a part of `bytes`.
#[inline]
pub fn split(bytes: &[u8], length_max: usize) -> Result<Frame<'_>, FrameError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LENGTH>() else {
        return Ok(Frame::Partial { wanted: PREFIX_LENGTH });
    };
    let announced = i64::from_le_bytes(*prefix);
    let Ok(length) = usize::try_from(announced) else {
        return Err(if announced < 0 {
            FrameError::Negative { length: announced }
        } else {
            FrameError::TooLong { length: announced, length_max }
        });
    };
    if length > length_max {
        return Err(FrameError::TooLong { length: announced, length_max });
    }
    match rest.get(..length) {
        Some(message) => Ok(Frame::Complete { message, consumed: PREFIX_LENGTH + length }),
        None => Ok(Frame::Partial { wanted: PREFIX_LENGTH + length }),
    }
}

/// The length prefix of a message of `length` bytes.
#[inline]
pub fn prefix(length: usize) -> [u8; PREFIX_LENGTH] {
    (length as u64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16;

    fn announce(length: i64, body: &[u8]) -> Vec<u8> {
        [&length.to_le_bytes()[..], body].concat()
    }

    #[test]
    fn splits_or_says_how_much_is_wanted() {
        let cases: [(&str, Vec<u8>, Result<Frame, FrameError>); 10] = [
            ("nothing", vec![], Ok(Frame::Partial { wanted: 8 })),
            ("part of a prefix", vec![1, 0, 0], Ok(Frame::Partial { wanted: 8 })),
            ("prefix alone", announce(3, b""), Ok(Frame::Partial { wanted: 11 })),
            ("part of a message", announce(3, b"ab"), Ok(Frame::Partial { wanted: 11 })),
            ("whole", announce(3, b"abc"), Ok(Frame::Complete { message: b"abc", consumed: 11 })),
            ("whole and more", announce(3, b"abcd"), Ok(Frame::Complete { message: b"abc", consumed: 11 })),
            ("empty message", announce(0, b"x"), Ok(Frame::Complete { message: b"", consumed: 8 })),
            ("at the limit, announced", announce(16, b""), Ok(Frame::Partial { wanted: 24 })),
            ("above the limit", announce(17, b""), Err(FrameError::TooLong { length: 17, length_max: MAX })),
            ("negative", announce(-1, b"abc"), Err(FrameError::Negative { length: -1 })),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(split(&bytes, MAX), expected, "{name}");
        }
        for length in [i64::MAX, i64::from(u32::MAX), i64::from(i32::MAX)] {
            assert_eq!(split(&announce(length, b""), MAX), Err(FrameError::TooLong { length, length_max: MAX }));
        }
        assert_eq!(split(&announce(i64::MIN, b""), MAX), Err(FrameError::Negative { length: i64::MIN }));
    }

    #[test]
    fn other_protocols_are_recognised() {
        let cases: [(&[u8], Option<&str>); 7] = [
            (b"GET / HTTP/1.1\r\n", Some("HTTP")),
            (b"PRI * HTTP/2.0\r\n", Some("HTTP/2, as gRPC does")),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", Some("TLS")),
            (b"*1\r\n$4\r\nPING\r\n", Some("the Redis protocol")),
            (b"SSH-2.0-OpenSSH_9.2", Some("SSH")),
            (b"GETTING ON", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (bytes, protocol) in cases {
            let error = split(bytes, MAX).expect_err("no length");
            assert_eq!(error.foreign_protocol(), protocol);
            let text = error.to_string();
            assert!(protocol.is_none_or(|protocol| text.ends_with(&format!(": it speaks {protocol}"))), "{text}");
        }
    }
}
