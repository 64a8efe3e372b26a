//! Servers to test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Client;
use super::messages::remove;
use super::process::{Ended, Process, program};

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
        Self::start_on(0, command, arguments)
    }

    /// Starts a server where an earlier one was.
    pub fn start_again(address: SocketAddr, arguments: &[&str]) -> Self {
        Self::start_on(address.port(), &mut program(&[]), arguments)
    }

    fn start_on(port: u16, command: &mut Command, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("socket");
        let process =
            Process::start(command.args(["serve", "-p", &port.to_string(), "--unix"]).arg(&socket).args(arguments));
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
        // The log is one stream: what was logged before this connection's first message has come when its line has.
        let mut client = self.connect();
        client.send(&remove(i64::MIN));
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
