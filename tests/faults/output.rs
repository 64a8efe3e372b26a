//! What is behind standard output and standard error: nobody, a full disk, a pipe that is not read.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::common::{Client, PROGRAM, Process, announce, program};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// Two ends of a stream whose first blocks whoever writes to it, since it is full.
fn blocked() -> (Stdio, UnixStream) {
    let (mut writer, reader) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("a socket");
    while writer.write(&[b'\n'; 1 << 16]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    // The server has the same open file, and writes to it as to any.
    writer.set_nonblocking(false).expect("a socket");
    (OwnedFd::from(writer).into(), reader)
}

fn broken() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("there is a device that is always full").into()
}

/// Serves clients, those that give rise to log lines among them, and ends as asked.
fn assert_serves(mut command: Command, stdout: Stdio, stderr: Stdio, what: &str) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    command.args(["serve", "-p", "0", "--unix"]).arg(&socket);
    let process = Process::start_with(&mut command, stdout, stderr);
    let mut client = Client::unix_patiently(&socket);
    client.add(1, X);
    for _ in 0..300 {
        let mut broken = Client::unix(&socket);
        broken.send(&announce(-1, b""));
        broken.assert_closed(what);
        assert_eq!(client.place(X), Some(1), "{what}");
    }
    process.stop(Signal::TERM).assert_code(0, what);
}

/// Expected: it serves on and stops as asked, whatever becomes of what it prints.
#[test]
fn a_server_does_not_depend_on_what_it_prints_to() {
    let program = || program(&[]);
    assert_serves(program(), Stdio::null(), broken(), "standard error that nobody reads any more");
    assert_serves(program(), broken(), broken(), "both");
    assert_serves(program(), full_disk(), full_disk(), "a full disk");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" \"$@\" >&- 2>&-", PROGRAM]);
    assert_serves(shell, Stdio::null(), Stdio::null(), "closed streams");
    let (stdout, stderr) = (blocked(), blocked());
    assert_serves(program(), stdout.0, stderr.0, "blocked streams");
}

/// Expected: once the log is read again, it goes on.
#[test]
fn a_log_that_is_read_again_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let (stderr, mut reader) = blocked();
    let mut command = program(&["serve", "-p", "0", "--unix"]);
    let process = Process::start_with(command.arg(&socket), Stdio::null(), stderr);
    Client::unix_patiently(&socket).round_trip();
    // The process has the only other end once the command has gone.
    drop(command);
    let log = std::thread::spawn(move || {
        let mut log = Vec::new();
        reader.read_to_end(&mut log).map(|_| String::from_utf8_lossy(&log).into_owned())
    });
    process.stop(Signal::TERM).assert_code(0, "terminated");
    let log = log.join().unwrap().unwrap();
    assert!(log.contains("unix client 1: connected") && log.contains("stopped: 1 connections"), "{}", log.trim_start());
}
