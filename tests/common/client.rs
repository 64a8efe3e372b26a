//! A client of a server.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::PATIENCE;
use super::messages::{DONE, REFUSED, add, remove, schedule};

/// A connection to a server. Whatever it waits for, it waits at most [`PATIENCE`].
pub struct Client {
    pub socket: Socket,
    reader: BufReader<Socket>,
}

/// Repeats a call that a signal has interrupted, which may happen at any time where there are timeouts.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Space for many replies, so that reading them costs the tests little.
const READ_LENGTH: usize = 64 * 1024;

impl Client {
    pub fn tcp(address: SocketAddr) -> Self {
        let client = Self::connect(Domain::for_address(address), &address.into()).expect("the server accepts");
        // Each write is a segment of its own.
        client.socket.set_tcp_nodelay(true).expect("a TCP socket");
        client
    }

    /// A connection from another address of this machine.
    pub fn tcp_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
        Self::connect_by(socket, &address.into()).expect("the kernel accepts")
    }

    pub fn unix(path: &Path) -> Self {
        Self::connect(Domain::UNIX, &SockAddr::unix(path).expect("a short path")).expect("the server accepts")
    }

    /// A connection to a server that may not listen yet.
    pub fn unix_patiently(path: &Path) -> Self {
        let address = SockAddr::unix(path).expect("a short path");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::connect(Domain::UNIX, &address) {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < deadline, "the server does not accept: {error}"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn connect(domain: Domain, address: &SockAddr) -> io::Result<Self> {
        Self::connect_by(Socket::new(domain, Type::STREAM, None)?, address)
    }

    fn connect_by(socket: Socket, address: &SockAddr) -> io::Result<Self> {
        socket.connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::with_capacity(READ_LENGTH, socket.try_clone()?);
        Ok(Self { socket, reader })
    }

    /// How the server's log calls this client, if it is connected by TCP.
    pub fn name(&self) -> String {
        let address = self.socket.local_addr().expect("it is connected");
        address.as_socket().map_or_else(|| "unix client".to_owned(), |address| address.to_string())
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server takes what is sent");
    }

    /// A second handle on the connection, to send from another thread.
    pub fn sender(&self) -> Socket {
        self.socket.try_clone().expect("another descriptor")
    }

    /// The message of the next reply.
    #[track_caller]
    pub fn receive(&mut self) -> Vec<u8> {
        self.receive_or_end().expect("the connection stays open")
    }

    /// The message of the next reply; `None` where the connection ends instead.
    #[track_caller]
    pub fn receive_or_end(&mut self) -> Option<Vec<u8>> {
        self.try_receive().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// As [`Client::receive_or_end`], where the connection may also break inside a reply.
    pub fn try_receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut prefix = [0; 8];
        match uninterrupted(|| self.reader.read(&mut prefix[..1])) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            first => first?,
        };
        self.reader.read_exact(&mut prefix[1..])?;
        let length = u64::from_le_bytes(prefix);
        assert!(length <= 1 << 26, "a reply of {length} bytes");
        let mut message = vec![0; length as usize];
        self.reader.read_exact(&mut message)?;
        Ok(Some(message))
    }

    /// Reads a reply as the version 1 client does: the length by one read, or it gives up.
    #[track_caller]
    pub fn receive_like_version_1(&self) -> Vec<u8> {
        let mut socket = &self.socket;
        let mut prefix = [0; 8];
        let count = uninterrupted(|| socket.read(&mut prefix)).expect("there is a reply to come");
        assert_eq!(count, prefix.len(), "the length of a reply comes in one piece");
        let mut message = vec![0; u64::from_le_bytes(prefix) as usize];
        socket.read_exact(&mut message).expect("the reply is whole");
        message
    }

    /// The next bytes, however they are framed.
    #[track_caller]
    pub fn receive_bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).expect("there are bytes to come");
        bytes
    }

    /// Sends a request and returns the message of its reply.
    #[track_caller]
    pub fn call(&mut self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        self.receive()
    }

    #[track_caller]
    pub fn add(&mut self, node: i64, list: &[(&str, f64)]) {
        assert_eq!(self.call(&add(node, list)), DONE);
    }

    #[track_caller]
    pub fn remove(&mut self, node: i64) {
        assert_eq!(self.call(&remove(node)), DONE);
    }

    /// Schedules a demand and returns its node; `None` where it is refused.
    #[track_caller]
    pub fn place(&mut self, list: &[(&str, f64)]) -> Option<i64> {
        match &self.call(&schedule(list))[..] {
            REFUSED => None,
            [0, id @ ..] => Some(i64::from_le_bytes(id.try_into().expect("a node ID"))),
            other => panic!("{other:?} is no reply to a schedule"),
        }
    }

    /// A request that changes nothing, answered: all that the server received before it has been looked at.
    #[track_caller]
    pub fn round_trip(&mut self) {
        self.remove(i64::MIN);
    }

    /// Sends nothing more.
    pub fn end_sending(&self) {
        self.socket.shutdown(Shutdown::Write).expect("it is connected");
    }

    /// The server closes, by an end or a reset, and says nothing before that.
    #[track_caller]
    pub fn assert_closed(&mut self, what: &str) {
        assert_eq!(self.receive_or_end(), None, "{what}: the connection is closed");
    }

    /// Drops the connection by a reset, with TCP: what was not sent or read is thrown away.
    pub fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    }
}
