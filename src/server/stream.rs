//! A connection's socket: TCP or Unix.
//!
//! Reads and writes are the system calls alone. In a process with several threads libc lets each of them be cancelled, which costs
//! 2 % of a round trip over a Unix socket between sides that poll.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;

/// A connected socket that does not block.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Who is at the other end, for the log.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    Tcp(SocketAddr),
    /// Unix clients have no address; the number tells them apart.
    Unix(u64),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(number) => write!(f, "unix client {number}"),
        }
    }
}

impl Stream {
    /// Reads once; interrupted calls are repeated.
    #[inline]
    pub fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| recv(self.as_fd(), &mut *bytes, RecvFlags::empty()))?.0)
    }

    /// Writes once; interrupted calls are repeated.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| send(self.as_fd(), bytes, SendFlags::NOSIGNAL))?)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    /// Acknowledges what was received at once. Else the kernel waits up to 40 ms for a reply to carry the
    /// acknowledgement, and a peer that writes a frame in parts, with Nagle's algorithm on, holds the rest of
    /// the frame back until it comes. The kernel forgets this with the next reply.
    pub fn acknowledge_now(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Self::Tcp(stream) = self {
            // Fails only on a dead socket, which the next read tells too.
            _ = SockRef::from(stream).set_tcp_quickack(true);
        }
    }

    /// Sends replies without waiting for more to fill a segment.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).set_tcp_nodelay(true),
            Self::Unix(_) => Ok(()),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE)
    }

    /// Asks for writable events too, or no longer.
    pub fn set_write_interest(&mut self, registry: &Registry, token: Token, wanted: bool) -> io::Result<()> {
        let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(self.source(), token, interest)
    }

    pub fn deregister(&mut self, registry: &Registry) {
        // Fails only if it is not registered; closing the socket removes it in any case.
        _ = registry.deregister(self.source());
    }
}
