//! A client's connection: whole frames out, whole messages in.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;

use super::{Address, ClientError, Timeouts};
use crate::wire::extension::reply::MESSAGE_LENGTH_MAX;
use crate::wire::frame::{self, Frame, PREFIX_LENGTH};

/// Bytes read at once at most: the replies to a deep pipeline.
const READ_LENGTH: usize = 16 * 1024;

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(address: &Address, timeouts: Timeouts) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = connect_tcp(address, timeouts)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(timeouts.reply))?;
                stream.set_write_timeout(Some(timeouts.reply))?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeouts.reply))?;
                stream.set_write_timeout(Some(timeouts.reply))?;
                Ok(Self::Unix(stream))
            }
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

/// Connects to the first of the host's addresses that answers.
fn connect_tcp(address: &str, timeouts: Timeouts) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeouts.connect) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[derive(Debug)]
pub(super) struct Connection {
    reader: BufReader<Stream>,
    /// The last message that was received.
    message: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: &Address, timeouts: Timeouts) -> Result<Self, ClientError> {
        let stream = Stream::connect(address, timeouts)?;
        Ok(Self { reader: BufReader::with_capacity(READ_LENGTH, stream), message: Vec::new() })
    }

    /// Sends whole frames.
    pub(super) fn send(&mut self, frames: &[u8]) -> Result<(), ClientError> {
        let sent = self.reader.get_mut().write_all(frames);
        sent.map_err(|error| self.fail(error.into()))
    }

    /// Waits for the next message.
    pub(super) fn receive(&mut self) -> Result<&[u8], ClientError> {
        match self.read_message() {
            Ok(()) => Ok(&self.message),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn read_message(&mut self) -> Result<(), ClientError> {
        let mut prefix = [0; PREFIX_LENGTH];
        self.reader.read_exact(&mut prefix)?;
        let length = match frame::split(&prefix, MESSAGE_LENGTH_MAX) {
            Ok(Frame::Partial { wanted }) => wanted - PREFIX_LENGTH,
            // No reply is empty, and none is longer than it may be.
            Ok(Frame::Complete { .. }) | Err(_) => return Err(ClientError::InvalidReply),
        };
        self.message.clear();
        // Memory is taken for bytes that have arrived, not for what was announced.
        match self.reader.by_ref().take(length as u64).read_to_end(&mut self.message)? {
            count if count < length => Err(ClientError::Closed),
            _ => Ok(()),
        }
    }

    /// Ends the connection for good, so that a late reply is never taken for the answer to a later request.
    fn fail(&mut self, error: ClientError) -> ClientError {
        // Fails only where the peer has ended it already.
        _ = self.reader.get_ref().shutdown();
        error
    }
}
