//! What the server is compared with, as little as a peer can be: `scripts/compare` runs it.
//!
//! - `echo SOCKET MICROSECONDS`: answers every request with fixed bytes of the size of the real answer, on a free TCP port and on a
//!   Unix socket, and polls for so long after the last event before it sleeps. It has no more than the kernel asks for:
//!   epoll, read, write. Nothing of the server's loop is in it, so that what the loop costs is seen too.
//! - `ping-pong SECONDS CORE CORE`: two threads, each on a core, send messages of the same sizes to and fro over a Unix
//!   socket that they read without sleeping or asking whether there is something to read. Prints the percentiles as JSON.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use external_scheduler::bench::books::{present, shape};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::frame::{self, Frame};
use external_scheduler::wire::reply::Reply;
use external_scheduler::wire::request;
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::thread::{CpuSet, sched_setaffinity};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// As many different requests as the load generator sends where nothing else is said.
const SHAPES: usize = 16;
const READ_LENGTH: usize = 16 * 1024;
const EVENTS_MAX: usize = 1024;
/// The longest round trip that is told apart.
const ROUND_TRIP_MAX_NS: u64 = 10_000_000_000;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["echo", socket, time_us] => echo(socket, Duration::from_micros(time_us.parse()?)),
        ["ping-pong", seconds, one, other] => {
            ping_pong(Duration::from_secs_f64(seconds.parse()?), one.parse()?, other.parse()?)
        }
        _ => {
            println!("usage: echo SOCKET MICROSECONDS | ping-pong SECONDS CORE CORE");
            Ok(())
        }
    }
}

/// Where connections come from.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> Outcome<OwnedFd> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                set_tcp_nodelay(&stream, true)?;
                stream.into()
            }
            Self::Unix(listener) => listener.accept()?.0.into(),
        })
    }

    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A connection, with what it has sent of a message that is not complete.
struct Connection {
    socket: OwnedFd,
    rest: Vec<u8>,
}

/// Serves for ever.
fn echo(socket: &str, busy_poll: Duration) -> Outcome<()> {
    let tcp = TcpListener::bind(("127.0.0.1", 0))?;
    let address = tcp.local_addr()?;
    let listeners = [Listener::Tcp(tcp), Listener::Unix(UnixListener::bind(socket)?)];
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, listener) in listeners.iter().enumerate() {
        epoll::add(&poll, listener.as_fd(), EventData::new_u64(index as u64), EventFlags::IN)?;
    }
    println!("listening on {address}\nlistening on unix:{socket}");

    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = listeners.len() as u64;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let (mut bytes, mut replies) = (vec![0; READ_LENGTH], Vec::new());
    let mut awake_until = Instant::now();
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        let is_awake = !busy_poll.is_zero() && Instant::now() < awake_until;
        epoll::wait(&poll, spare_capacity(&mut events), is_awake.then_some(&at_once))?;
        if !busy_poll.is_zero() && !events.is_empty() {
            awake_until = Instant::now() + busy_poll;
        }
        for event in events.drain(..) {
            let number = event.data.u64();
            if let Some(listener) = listeners.get(number as usize) {
                let socket = listener.accept()?;
                epoll::add(&poll, &socket, EventData::new_u64(next), EventFlags::IN)?;
                connections.insert(next, Connection { socket, rest: Vec::new() });
                next += 1;
            } else if let Some(connection) = connections.get_mut(&number)
                && !connection.answer(&mut bytes, &mut replies).unwrap_or(false)
            {
                // Closing its socket takes it from the poll.
                connections.remove(&number);
            }
        }
    }
}

impl Connection {
    /// Reads once and answers what is complete. Returns whether it goes on.
    fn answer(&mut self, bytes: &mut [u8], replies: &mut Vec<u8>) -> Outcome<bool> {
        let length = rustix::io::read(&self.socket, &mut *bytes)?;
        if length == 0 {
            return Ok(false);
        }
        replies.clear();
        if self.rest.is_empty() {
            let consumed = append_replies(&bytes[..length], replies)?;
            self.rest.extend_from_slice(&bytes[consumed..length]);
        } else {
            self.rest.extend_from_slice(&bytes[..length]);
            let consumed = append_replies(&self.rest, replies)?;
            self.rest.drain(..consumed);
        }
        // The socket blocks: a client that does not read stops everything. The load generator reads.
        let mut left = &replies[..];
        while !left.is_empty() {
            left = &left[rustix::io::write(&self.socket, left)?..];
        }
        Ok(true)
    }
}

/// Appends the replies to whole messages, and returns how many bytes those are.
fn append_replies(bytes: &[u8], replies: &mut Vec<u8>) -> Outcome<usize> {
    let mut consumed_total = 0;
    while let Frame::Complete { message, consumed } =
        frame::split(&bytes[consumed_total..], READ_LENGTH).map_err(|error| error.to_string())?
    {
        let reply = match message.first() {
            Some(&request::SCHEDULE) => Reply::Placed { node: NodeId(0) },
            _ => Reply::Done,
        };
        replies.extend_from_slice(reply.to_frame().as_bytes());
        consumed_total += consumed;
    }
    Ok(consumed_total)
}

fn ping_pong(duration: Duration, one: usize, other: usize) -> Outcome<()> {
    let requests: Vec<Vec<u8>> = (0..SHAPES)
        .map(|number| {
            let mut request = Vec::new();
            request::append_schedule(&mut request, present(&shape(number)));
            request
        })
        .collect();
    let reply = Reply::Placed { node: NodeId(0) }.to_frame();
    let (mut near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(other).expect("the core is there");
            return_all(far, reply.as_bytes());
        });
        pin(one)?;
        let mut round_trips_ns = Histogram::<u64>::new_with_max(ROUND_TRIP_MAX_NS, 3)?;
        let mut bytes = [0; 256];
        let end = Instant::now() + duration;
        for number in 0.. {
            let start = Instant::now();
            if start >= end {
                break;
            }
            near.write_all(&requests[number % requests.len()])?;
            assert_eq!(spin_read(&mut near, &mut bytes), reply.as_bytes().len(), "replies come whole");
            round_trips_ns.saturating_record(start.elapsed().as_nanos() as u64);
        }
        drop(near);
        let [p50, p99] = [50.0, 99.0].map(|percentile| round_trips_ns.value_at_percentile(percentile));
        println!(r#"{{"p50":{p50},"p99":{p99},"count":{}}}"#, round_trips_ns.len());
        Ok(())
    })
}

/// Answers each message, until the peer has gone.
fn return_all(mut stream: UnixStream, reply: &[u8]) {
    let mut bytes = [0; 256];
    while spin_read(&mut stream, &mut bytes) > 0 {
        // The peer may have gone since.
        _ = stream.write(reply);
    }
}

/// Reads once there is something; 0 at the end.
fn spin_read(stream: &mut UnixStream, bytes: &mut [u8]) -> usize {
    loop {
        match stream.read(bytes) {
            Ok(length) => return length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return 0,
        }
    }
}

fn pin(core: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}
