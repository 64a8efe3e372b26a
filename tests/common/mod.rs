//! What the integration tests share: processes of the program, and a client that speaks the protocol byte by byte.
//!
//! Nothing of the crate is used here, so that a mistake in how it writes messages cannot hide one in how it reads them.

// Each test crate uses another part.
#![allow(dead_code)]

use std::fs;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a wait lasts that must show that something does not happen.
pub const QUIET: Duration = Duration::from_millis(100);

// ---- messages ----

/// Reply to an add or a remove.
pub const DONE: &[u8] = &[0];

/// Reply to a malformed request, or to a demand that fits nowhere.
pub const REFUSED: &[u8] = &[1];

/// Reply to a demand that is placed.
pub fn placed(node: i64) -> Vec<u8> {
    [&[0], &node.to_le_bytes()[..]].concat()
}

/// A frame that announces `length` bytes and holds `body`.
pub fn announce(length: i64, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], body].concat()
}

/// The frame of a message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    announce(message.len() as i64, message)
}

/// One entry of a list of resources.
pub fn resource(key: &[u8], amount: f64) -> Vec<u8> {
    [key, &[0], &amount.to_le_bytes()].concat()
}

fn resources(list: &[(&str, f64)]) -> Vec<u8> {
    list.iter().flat_map(|(key, amount)| resource(key.as_bytes(), *amount)).collect()
}

/// The message of an add, its list of resources as bytes.
pub fn add_message(node: i64, resources: &[u8]) -> Vec<u8> {
    [&[0], &node.to_le_bytes()[..], resources].concat()
}

/// The frame of an add.
pub fn add(node: i64, list: &[(&str, f64)]) -> Vec<u8> {
    frame(&add_message(node, &resources(list)))
}

/// The frame of a remove.
pub fn remove(node: i64) -> Vec<u8> {
    frame(&[&[1], &node.to_le_bytes()[..]].concat())
}

/// The message of a schedule, its list of resources as bytes.
pub fn schedule_message(resources: &[u8]) -> Vec<u8> {
    [&[2], resources].concat()
}

/// The frame of a schedule.
pub fn schedule(list: &[(&str, f64)]) -> Vec<u8> {
    frame(&schedule_message(&resources(list)))
}

/// The bytes that a text of hexadecimal digits stands for.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Random numbers, and the seed printed so that a failure can be repeated.
pub fn random() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}

// ---- processes ----

/// What a process prints, gathered by a thread as it comes.
#[derive(Clone, Default)]
pub struct Printed {
    shared: Arc<(Mutex<PrintedState>, Condvar)>,
}

#[derive(Default)]
struct PrintedState {
    bytes: Vec<u8>,
    ended: bool,
}

impl Printed {
    /// Gathers all that comes from `source`; with none, it has ended already.
    fn gather(source: Option<impl Read + Send + 'static>) -> Self {
        let printed = Self::default();
        let Some(mut source) = source else {
            printed.shared.0.lock().unwrap().ended = true;
            return printed;
        };
        let shared = printed.shared.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = source.read(&mut bytes).unwrap_or(0);
                let mut state = shared.0.lock().unwrap();
                state.bytes.extend_from_slice(&bytes[..count]);
                state.ended = count == 0;
                shared.1.notify_all();
                if state.ended {
                    return;
                }
            }
        });
        printed
    }

    /// What has come so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().unwrap().bytes).into_owned()
    }

    /// Waits for what `wanted` looks for in the text, until the source ends or patience does.
    fn wait<T>(&self, wanted: impl Fn(&str, bool) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.0.lock().unwrap();
        loop {
            if let Some(found) = wanted(&String::from_utf8_lossy(&state.bytes), state.ended) {
                return Some(found);
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            if state.ended || rest.is_zero() {
                return None;
            }
            state = self.shared.1.wait_timeout(state, rest).unwrap().0;
        }
    }

    /// Waits until `what` is printed, and returns all that is by then.
    pub fn wait_for(&self, what: &str) -> String {
        self.wait(|text, _| text.contains(what).then(|| text.to_owned()))
            .unwrap_or_else(|| panic!("{what:?} was never printed, but:\n{}", self.text()))
    }

    /// Waits for so many whole lines. Fewer where the source has ended.
    pub fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let lines =
            |text: &str| -> Vec<String> { text.split_inclusive('\n').map(|line| line.trim_end().into()).collect() };
        self.wait(|text, ended| (ended || text.matches('\n').count() >= count).then(|| lines(text))).unwrap_or_default()
    }

    fn wait_for_end(&self) -> bool {
        self.wait(|_, ended| ended.then_some(())).is_some()
    }
}

/// A process of the program. Killed when dropped.
pub struct Process {
    child: Child,
    pub stdout: Printed,
    pub stderr: Printed,
}

/// How a process has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// From when it was told or expected to end.
    pub elapsed: Duration,
}

impl Ended {
    #[track_caller]
    pub fn assert_code(&self, code: i32, what: &str) {
        assert_eq!(self.status.code(), Some(code), "{what}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
    }
}

/// The path of the program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_external-scheduler");

/// The program with arguments.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Ended {
    Process::start(&mut program(arguments)).end()
}

impl Process {
    /// Starts a command, all that it prints gathered.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_stdout(command, Stdio::piped())
    }

    /// Starts a command with another standard output.
    pub fn start_with_stdout(command: &mut Command, stdout: Stdio) -> Self {
        // The tests wait for log lines, whatever the one who runs them has set.
        command.env_remove("RUST_LOG").env_remove("RUST_LOG_STYLE");
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = Printed::gather(child.stdout.take());
        let stderr = Printed::gather(child.stderr.take());
        Self { child, stdout, stderr }
    }

    /// Starts a command whose standard output is a pipe that nobody reads any more.
    pub fn start_with_broken_stdout(command: &mut Command) -> Self {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        Self::start_with_stdout(command, writer.into())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is still there");
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let start = Instant::now();
        // Its end closes what it prints to, and unlike the end itself that can be awaited with a limit.
        let ended = self.stdout.wait_for_end() && self.stderr.wait_for_end();
        assert!(ended, "the process does not end\nstdout:\n{}\nstderr:\n{}", self.stdout.text(), self.stderr.text());
        let status = self.child.wait().expect("the process is our child");
        Ended { status, stdout: self.stdout.text(), stderr: self.stderr.text(), elapsed: start.elapsed() }
    }

    /// Tells it to stop and waits for its end.
    pub fn stop(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end()
    }

    /// The greatest size of its address space so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("there is a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
    }

    /// Processor time that it has used, in ticks of 10 ms.
    pub fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process is there");
        // The name comes in parentheses and may hold anything; user and system time are fields 14 and 15 of all.
        let (_, fields) = stat.rsplit_once(')').expect("there is a name");
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A server that listens on a free port and on a Unix socket in a directory of its own.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    pub socket: PathBuf,
    /// Removed with the server.
    directory: TempDir,
}

/// How a client reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
}

impl Transport {
    pub const ALL: [Transport; 2] = [Transport::Tcp, Transport::Unix];
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_as(&mut program(&[]), arguments)
    }

    /// Starts a server by a command that ends with the program.
    pub fn start_as(command: &mut Command, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("socket");
        let process = Process::start(command.args(["serve", "-p", "0", "--unix"]).arg(&socket).args(arguments));
        let lines = process.stdout.wait_for_lines(2);
        let [tcp, unix, ..] = &lines[..] else { panic!("the server did not start:\n{}", process.stderr.text()) };
        assert_eq!(*unix, format!("listening on unix:{}", socket.display()));
        let address = tcp.strip_prefix("listening on ").expect("the address comes first").parse().expect("an address");
        Self { process, address, socket, directory }
    }

    pub fn connect(&self) -> Client {
        Client::tcp(self.address)
    }

    pub fn connect_over(&self, transport: Transport) -> Client {
        match transport {
            Transport::Tcp => Client::tcp(self.address),
            Transport::Unix => Client::unix(&self.socket),
        }
    }

    /// All that the server has logged until now.
    pub fn log(&self) -> String {
        // The log is one stream: what was logged before this connection has come when its line has.
        let client = self.connect();
        self.process.stderr.wait_for(&format!("{}: connected", client.name()))
    }

    /// The warnings and errors about a client that the server has logged until now.
    pub fn warnings_about(&self, client: &str) -> Vec<String> {
        let about = format!(" {client}: ");
        let is_warning = |line: &&str| line.contains(&about) && (line.contains("WARN") || line.contains("ERROR"));
        self.log().lines().filter(is_warning).map(str::to_owned).collect()
    }

    /// Tells the server to stop and waits for its end; whether its socket file is still there comes along.
    pub fn stop(self, signal: Signal) -> (Ended, bool) {
        let ended = self.process.stop(signal);
        let is_there = self.socket.exists();
        drop(self.directory);
        (ended, is_there)
    }

    pub fn terminate(self) -> Ended {
        self.stop(Signal::TERM).0
    }
}

// ---- clients ----

/// A connection to a server. Whatever it waits for, it waits at most [`PATIENCE`].
pub struct Client {
    pub socket: Socket,
    reader: BufReader<Socket>,
}

/// Repeats a call that a signal has interrupted, which may happen at any time where there are timeouts.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
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

    pub fn unix(path: &Path) -> Self {
        Self::connect(Domain::UNIX, &SockAddr::unix(path).expect("a short path")).expect("the server accepts")
    }

    fn connect(domain: Domain, address: &SockAddr) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::STREAM, None)?;
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
        assert!(length <= 1 << 16, "a reply of {length} bytes");
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

// ---- floods ----

/// Requests sent without reading a reply, until the connection took no more.
pub struct Flood {
    /// The message of each reply, a byte, to what was sent and to the rest.
    pub expected: Vec<u8>,
    /// What could not be sent.
    pub rest: Vec<u8>,
}

/// Far above what the buffers of both kernels hold.
const FLOOD_BYTES_MAX: usize = 128 << 20;

/// Requests sent at a time: some 4 KiB, which a server reads at once if it reads.
const FLOOD_BATCH: usize = 320;

/// Sends requests without reading until the connection takes no more. Their replies are a random sequence of done
/// and refused, so that one lost or out of order would show. They change no node: the debug build checks the whole
/// table at each change, which would take long here.
///
/// After each batch `other` is answered, so that the server has had the time to read the batch: a server that reads
/// on whatever happens is not saved by being slower than its client.
pub fn flood(client: &mut Client, other: &mut Client, random: &mut fastrand::Rng) -> Flood {
    let requests = [remove(i64::MIN), schedule(&[])];
    let mut expected = Vec::new();
    let mut sent = 0;
    client.socket.set_write_timeout(Some(QUIET)).expect("a socket");
    // The less the client's own side holds, the sooner it is full.
    client.socket.set_send_buffer_size(1 << 14).expect("a socket");
    loop {
        assert!(sent < FLOOD_BYTES_MAX, "a client that does not read is read for ever");
        let kinds: Vec<u8> = (0..FLOOD_BATCH).map(|_| random.u8(0..2)).collect();
        let bytes: Vec<u8> = kinds.iter().flat_map(|&kind| requests[usize::from(kind)].iter().copied()).collect();
        expected.extend(kinds);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match uninterrupted(|| client.socket.write(rest)) {
                Ok(count) => {
                    rest = &rest[count..];
                    sent += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    client.socket.set_write_timeout(Some(PATIENCE)).expect("a socket");
                    return Flood { expected, rest: rest.to_vec() };
                }
                Err(error) => panic!("the connection is lost: {error}"),
            }
        }
        other.round_trip();
    }
}

impl Flood {
    /// Sends the rest and checks every reply.
    pub fn finish(self, client: &mut Client) {
        let mut sender = client.sender();
        let rest = self.rest;
        let writer = thread::spawn(move || sender.write_all(&rest));
        for (number, kind) in self.expected.iter().enumerate() {
            assert_eq!(client.receive(), [*kind], "reply {number} of {}", self.expected.len());
        }
        writer.join().expect("the writer lives").expect("all is sent");
    }
}
