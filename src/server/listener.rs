//! Listening sockets.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use super::stream::{Peer, Stream};

/// Connections that wait to be accepted, at most. The kernel lowers it to its own limit (4,096 by default); a whole
/// cluster that comes back at once must fit: of 4,000 clients, 2,855 waited for a second or two with 128, 233 with 1,024, and none
/// with this.
const BACKLOG: i32 = 4096;

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// The socket file, where it is the server's to remove.
        file: Option<SocketFile>,
        accepted: u64,
    },
}

/// A file that a server has made.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Tells it from another that has taken its place.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity_of(&self.path).is_ok_and(|other| other == self.identity) {
            // A file that is gone meanwhile is just as well.
            _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Listens on a TCP address; port 0 takes a free one.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A restarted server takes its port back while old connections are still in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        listen(&socket)?;
        Ok(Self::Tcp(TcpListener::from_std(socket.into())))
    }

    /// Listens on a Unix socket that only those may connect to whom `mode` lets. A socket file that a dead server
    /// left behind is replaced.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before it listens, so the mode is in force from the first connection on.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        listen(&socket)?;
        let file = Some(SocketFile { path: path.to_owned(), identity: identity_of(path)? });
        Ok(Self::Unix { listener: UnixListener::from_std(socket.into()), file, accepted: 0 })
    }

    /// Sockets that listen already, as a service manager passes them to the process it starts (`LISTEN_FDS`, `LISTEN_PID`).
    ///
    /// # Errors
    /// When one of them is no listening stream socket.
    pub fn passed() -> io::Result<Vec<Self>> {
        let mut sockets = ListenFd::from_env();
        (0..sockets.len()).map(|index| Self::take(&mut sockets, index)).collect()
    }

    fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Self> {
        // What is no socket of the first kind is left where it is.
        if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
            listener.set_nonblocking(true)?;
            return Ok(Self::Tcp(TcpListener::from_std(listener)));
        }
        match sockets.take_unix_listener(index)? {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Unix { listener: UnixListener::from_std(listener), file: None, accepted: 0 })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The address of a TCP listener.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// Accepts one connection that waits.
    pub fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Self::Unix { listener, accepted, .. } => {
                let (stream, _) = listener.accept()?;
                *accepted += 1;
                Ok((Stream::Unix(stream), Peer::Unix(*accepted)))
            }
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.source(), token, Interest::READABLE)
    }

    pub fn deregister(&mut self, registry: &Registry) {
        // Fails only if it is not registered.
        _ = registry.deregister(self.source());
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix { listener, .. } => listener,
        }
    }
}

/// Shows where it listens: `127.0.0.1:44444`, `unix:/run/scheduler.sock`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => write!(f, "unknown address ({error})"),
            },
            Self::Unix { listener, .. } => match listener.local_addr() {
                Ok(address) => match address.as_pathname() {
                    Some(path) => write!(f, "unix:{}", path.display()),
                    None => write!(f, "unix:{address:?}"),
                },
                Err(error) => write!(f, "unknown address ({error})"),
            },
        }
    }
}

/// Device and inode of a file.
fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
    }
}
