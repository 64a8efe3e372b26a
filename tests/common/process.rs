//! Processes of the program, and what they print.

use std::fs;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

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
        Self::start_with(command, stdout, Stdio::piped())
    }

    /// Starts a command with another standard input and output.
    pub fn start_with_stdin(command: &mut Command, stdin: Stdio, stdout: Stdio) -> Self {
        Self::start_with_streams(command, stdin, stdout, Stdio::piped())
    }

    /// Starts a command with other standard streams.
    pub fn start_with(command: &mut Command, stdout: Stdio, stderr: Stdio) -> Self {
        Self::start_with_streams(command, Stdio::null(), stdout, stderr)
    }

    fn start_with_streams(command: &mut Command, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Self {
        // The tests wait for log lines, whatever the one who runs them has set.
        command.env_remove("RUST_LOG").env_remove("RUST_LOG_STYLE");
        command.stdin(stdin).stdout(stdout).stderr(stderr);
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
        let deadline = start + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("the process is our child") {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "the process does not end"),
            }
            thread::sleep(Duration::from_millis(1));
        };
        Ended { status, stdout: self.stdout.text(), stderr: self.stderr.text(), elapsed: start.elapsed() }
    }

    /// Tells it to stop and waits for its end.
    pub fn stop(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end()
    }

    /// The greatest size of its address space so far, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        self.memory_bytes("VmPeak:")
    }

    /// How much of its memory is locked, in bytes.
    pub fn memory_locked_bytes(&self) -> u64 {
        self.memory_bytes("VmLck:")
    }

    /// Its memory in RAM, in bytes.
    pub fn memory_resident_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process is there").count()
    }

    /// Waits until it has fewer descriptors open than this.
    pub fn wait_for_descriptors_below(&self, limit: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.descriptors() >= limit {
            assert!(Instant::now() < deadline, "{} descriptors are open", self.descriptors());
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn memory_bytes(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("the kernel tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
    }

    /// Whether it sleeps.
    pub fn is_asleep(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process is there");
        status.lines().any(|line| line.starts_with("State:\tS"))
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
