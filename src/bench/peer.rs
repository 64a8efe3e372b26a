//! A server of our own to measure: a process of this same program.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::client::Target;

/// A server process. Killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    socket: PathBuf,
    address: SocketAddr,
}

/// What kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    Scheduler,
    Echo,
}

/// How a server is started.
#[derive(Clone, Copy, Debug)]
pub struct PeerOptions {
    /// The only processor core that it may run on, if any.
    pub core: Option<usize>,
    /// Whether it polls without sleeping while it is measured.
    pub busy_poll: bool,
    /// Connections and nodes that it must take.
    pub connections: usize,
    pub nodes: usize,
}

/// Longer than a client takes between two requests. Of two servers that are measured in turns, the one that rests sleeps
/// before the warm-up of the other is over.
const BUSY_POLL: &str = "20ms";

impl Peer {
    /// Starts a server on a free port of the loopback interface and on a Unix socket in the directory for
    /// temporary files, and waits until it listens.
    pub fn start(kind: PeerKind, options: PeerOptions) -> io::Result<Self> {
        let PeerOptions { core, busy_poll, connections, nodes } = options;
        let name = if kind == PeerKind::Echo { "echo" } else { "scheduler" };
        let socket = std::env::temp_dir().join(format!("external-scheduler-bench-{}-{name}.sock", std::process::id()));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--port", "0", "--unix"]).arg(&socket);
        command.args(["--max-connections", &connections.to_string(), "--max-nodes", &nodes.to_string()]);
        if kind == PeerKind::Echo {
            command.arg("--echo");
        }
        if busy_poll {
            command.args(["--busy-poll", BUSY_POLL]);
        }
        if let Some(core) = core {
            command.args(["--pin-cpu", &core.to_string()]);
        }
        // A server in trouble says so; its life is not news.
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        match read_address(&mut child) {
            Ok(address) => Ok(Self { child, socket, address }),
            Err(error) => {
                _ = child.kill();
                _ = child.wait();
                Err(error)
            }
        }
    }

    /// Where it listens on the loopback interface.
    pub fn tcp(&self) -> Target {
        Target::Tcp(self.address)
    }

    /// Its Unix socket.
    pub fn unix(&self) -> Target {
        Target::Unix(self.socket.clone())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has no connections any more and nothing to lose.
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_file(&self.socket);
    }
}

/// Reads the two lines in which a server says where it listens; TCP comes first.
fn read_address(child: &mut Child) -> io::Result<SocketAddr> {
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut lines = BufReader::new(stdout).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let address = first.strip_prefix("listening on ").and_then(|address| address.parse().ok());
    match (address, lines.next().transpose()?) {
        (Some(address), Some(_)) => Ok(address),
        _ => Err(io::Error::other("the server did not start")),
    }
}
