//! One connection of the load generator.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, SockAddr, Socket, Type};

use super::workload::{Operation, Workload, WrongReply};
use crate::ring::{Pool, Ring};
use crate::server::stream::Stream;
use crate::wire::frame::{self, Frame, PREFIX_LENGTH};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A request that waits for its reply. Times are nanoseconds after the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    pub operation: Operation,
    /// When it should have been sent; in a closed loop, when it was.
    pub due_ns: u64,
    /// Right before it was first offered to the socket.
    pub sent_ns: u64,
}

/// The time of what is not due at a certain time, but when it is sent.
const WHEN_SENT: u64 = u64::MAX;

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Nothing,
    /// All there was.
    Something,
    /// As much as there was room for: there may be more.
    Full,
}

/// A reply and the request that it answers.
#[derive(Debug)]
pub struct Answered {
    pub request: InFlight,
    pub result: Result<(), WrongReply>,
}

/// Bytes offered to a read at least: replies to a deep pipeline.
const READ_LENGTH_MIN: usize = 4096;

/// A connection with its simulated Ray client.
#[derive(Debug)]
pub struct Client {
    pub stream: Stream,
    pub workload: Workload,
    /// Schedules sent, for the plan of an open loop.
    pub planned_sent: u64,
    /// The pipeline was full when it was last looked at.
    pub was_full: bool,
    /// Whether writable events are asked for.
    pub write_interest: bool,
    input: Ring,
    output: Vec<u8>,
    /// Bytes of `output` that are written.
    written: usize,
    /// Writes that `output` is cut into: a whole batch, or like the original client, prefix and body apart.
    writes: VecDeque<usize>,
    split_writes: bool,
    in_flight: VecDeque<InFlight>,
    /// How many of those, the last ones, were never offered to the socket.
    unsent: usize,
}

impl Client {
    /// Connects; waits for the connection to stand.
    pub fn connect(target: &Target, workload: Workload, split_writes: bool) -> io::Result<Self> {
        let (domain, address) = match target {
            Target::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Target::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        connect(&socket, &address)?;
        socket.set_nonblocking(true)?;
        let stream = match target {
            Target::Tcp(_) => {
                // The original client leaves Nagle's algorithm on, and so does the imitation of its writes.
                socket.set_tcp_nodelay(!split_writes)?;
                Stream::Tcp(TcpStream::from_std(socket.into()))
            }
            Target::Unix(_) => Stream::Unix(UnixStream::from_std(socket.into())),
        };
        Ok(Self {
            stream,
            workload,
            planned_sent: 0,
            was_full: false,
            write_interest: false,
            input: Ring::default(),
            output: Vec::new(),
            written: 0,
            writes: VecDeque::new(),
            split_writes,
            in_flight: VecDeque::new(),
            unsent: 0,
        })
    }

    /// Requests that wait for their replies.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether requests wait for the socket to take them.
    #[inline]
    pub fn is_write_blocked(&self) -> bool {
        self.written < self.output.len()
    }

    /// Queues a request for the next [`Client::flush`]. It is due at a time that has come, or when it is sent.
    #[inline]
    pub fn push(&mut self, operation: Operation, due_ns: Option<u64>) {
        let start = self.output.len();
        self.workload.append_frame(&operation, &mut self.output);
        if self.split_writes {
            self.writes.extend([PREFIX_LENGTH, self.output.len() - start - PREFIX_LENGTH]);
        }
        self.in_flight.push_back(InFlight { operation, due_ns: due_ns.unwrap_or(WHEN_SENT), sent_ns: WHEN_SENT });
        self.unsent += 1;
    }

    /// Writes what is queued, as far as the socket takes it. Looks at the clock for what is new, right before.
    pub fn flush(&mut self, now_ns: impl FnOnce() -> u64) -> io::Result<()> {
        if self.unsent > 0 {
            let sent_ns = now_ns();
            for request in self.in_flight.range_mut(self.in_flight.len() - self.unsent..) {
                request.sent_ns = sent_ns;
                request.due_ns = request.due_ns.min(sent_ns);
            }
            self.unsent = 0;
        }
        while self.is_write_blocked() {
            let left = self.output.len() - self.written;
            let length = self.writes.front().copied().unwrap_or(left);
            match self.stream.write(&self.output[self.written..self.written + length]) {
                Ok(count) => {
                    self.written += count;
                    if let Some(write) = self.writes.front_mut() {
                        *write -= count;
                        if *write == 0 {
                            self.writes.pop_front();
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once.
    ///
    /// # Errors
    /// When the connection is lost or closed.
    #[inline]
    pub fn read(&mut self, pool: &mut Pool) -> io::Result<Received> {
        let room = self.input.room(READ_LENGTH_MIN, pool).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let length = room.len();
        match self.stream.read(room) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(count) => {
                self.input.produce(count);
                Ok(if count == length { Received::Full } else { Received::Something })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    /// The next whole reply that was read, checked against the books.
    ///
    /// # Errors
    /// When what came is no reply, or answers nothing.
    #[inline]
    pub fn next_answer(&mut self) -> io::Result<Option<Answered>> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        match frame::split(self.input.waiting(), self.workload.reply_length_max())
            .map_err(|error| invalid(error.to_string()))?
        {
            Frame::Partial { .. } => Ok(None),
            Frame::Complete { message, consumed } => {
                let Some(request) = self.in_flight.pop_front() else {
                    return Err(invalid("a reply without a request".to_owned()));
                };
                let result = self.workload.check(&request.operation, message);
                self.input.consume(consumed);
                Ok(Some(Answered { request, result }))
            }
        }
    }
}

/// Connects; a signal that comes meanwhile is no failure.
fn connect(socket: &Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        // The connection goes on being made; asking again waits for it.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => match socket.connect(address) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::ISCONN.raw_os_error()) => Ok(()),
            result => result,
        },
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::bench::workload::{Mix, WorkloadOptions};

    #[test]
    fn a_request_is_sent_right_before_it_is_first_offered_to_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let workload = Workload::new(WorkloadOptions {
            mix: Mix::Schedule,
            echo: false,
            nodes: 1,
            shapes: 1,
            seed: 1,
            connection: 0,
            connections: 1,
            view: "v",
        });
        let mut client = Client::connect(&Target::Unix(path), workload, false).unwrap();
        let mut send = |due: &[Option<u64>], now_ns| {
            due.iter().for_each(|&due_ns| client.push(Operation::Schedule { shape: 0 }, due_ns));
            client.flush(|| now_ns).unwrap();
            client.in_flight.iter().map(|request| (request.due_ns, request.sent_ns)).collect::<Vec<_>>()
        };
        assert_eq!(send(&[Some(10), None], 20), [(10, 20), (20, 20)]);
        assert_eq!(send(&[], 30), [(10, 20), (20, 20)]);
        assert_eq!(send(&[None], 40), [(10, 20), (20, 20), (40, 40)]);
    }
}
