//! Where a server listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens: `host:port`, or `unix:` and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; the host is a name, an IPv4 address or an IPv6 address in brackets.
    Tcp(String),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is no address: give host:port, or unix:/path", self.0)
    }
}

impl std::error::Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(error()) } else { Ok(Self::Unix(path.into())) };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(text.to_owned())),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        let tcp = |text: &str| Ok(Address::Tcp(text.to_owned()));
        let none = |text: &str| Err(AddressError(text.to_owned()));
        let cases = [
            ("127.0.0.1:44444", tcp("127.0.0.1:44444")),
            ("head.example:1", tcp("head.example:1")),
            ("[::1]:44444", tcp("[::1]:44444")),
            ("unix:/run/s.sock", Ok(Address::Unix("/run/s.sock".into()))),
            ("unix:relative:1", Ok(Address::Unix("relative:1".into()))),
            ("", none("")),
            ("host", none("host")),
            (":44444", none(":44444")),
            ("host:", none("host:")),
            ("host:65536", none("host:65536")),
            ("unix:", none("unix:")),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), expected, "{text}");
            if let Ok(address) = expected {
                assert_eq!(address.to_string(), text);
            }
        }
    }
}
