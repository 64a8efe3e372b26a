//! SIGINT and SIGTERM, as an event of the loop.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// A socket that becomes readable when the process is asked to stop.
#[derive(Debug)]
pub struct StopSignals {
    /// Kept open for the poll; never read, since one event is enough.
    _receiver: UnixStream,
}

impl StopSignals {
    /// Takes over SIGINT and SIGTERM.
    pub fn register(registry: &Registry, token: Token) -> io::Result<Self> {
        let (receiver, sender) = StdUnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        pipe::register(SIGINT, sender.try_clone()?)?;
        pipe::register(SIGTERM, sender)?;
        let mut receiver = UnixStream::from_std(receiver);
        registry.register(&mut receiver, token, Interest::READABLE)?;
        Ok(Self { _receiver: receiver })
    }
}
