//! A service manager: the tests play systemd.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::common::{Client, PATIENCE, PROGRAM, Process, QUIET, placed, program, schedule};
use crate::common::{DONE, add};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// The next message to the manager.
fn receive(manager: &UnixDatagram) -> String {
    let mut message = [0; 1024];
    let length = manager.recv(&mut message).expect("the server tells");
    String::from_utf8(message[..length].to_vec()).expect("text")
}

/// Expected: told when it listens, and where; then again and again while the loop goes round, not while it stands still; and
/// when it stops.
#[test]
fn the_manager_hears_that_the_server_is_ready_and_alive_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let name = format!("external-scheduler-test-{}", std::process::id());
    let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
    for (manager, environment) in [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().expect("a plain path").to_owned()),
        (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}")),
    ] {
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = program(&["serve", "-p", "0"]);
        command.env("NOTIFY_SOCKET", &environment).env("WATCHDOG_USEC", "60000");
        let process = Process::start(&mut command);
        let lines = process.stdout.wait_for_lines(1);
        assert_eq!(receive(&manager), format!("READY=1\nSTATUS={}", lines[0]));
        let address = lines[0].strip_prefix("listening on ").expect("an address").parse().expect("an address");
        Client::tcp(address).round_trip();
        for _ in 0..5 {
            assert_eq!(receive(&manager), "WATCHDOG=1");
        }
        process.signal(Signal::STOP);
        std::thread::sleep(QUIET);
        manager.set_nonblocking(true).unwrap();
        // What was told before, and then nothing.
        while manager.recv(&mut [0; 64]).is_ok() {}
        std::thread::sleep(3 * QUIET);
        assert!(manager.recv(&mut [0; 64]).is_err(), "a stopped server does not say that it is alive");
        manager.set_nonblocking(false).unwrap();
        process.signal(Signal::CONT);
        assert_eq!(receive(&manager), "WATCHDOG=1");
        process.stop(Signal::TERM).assert_code(0, "terminated");
        let last = std::iter::repeat_with(|| receive(&manager)).find(|message| message != "WATCHDOG=1");
        assert_eq!(last.as_deref(), Some("STOPPING=1\nSTATUS=stopping"));
    }
}

/// Expected: the watchdog is for the process that it names only.
#[test]
fn a_watchdog_for_another_process_hears_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = program(&["serve", "-p", "0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000").env("WATCHDOG_PID", "1");
    let process = Process::start(&mut command);
    assert!(receive(&manager).starts_with("READY=1\n"));
    std::thread::sleep(QUIET);
    process.stop(Signal::TERM).assert_code(0, "terminated");
    assert!(receive(&manager).starts_with("STOPPING=1\n"));
}

/// Expected: a manager that does not listen, or is not there, does not hold the server up. It is logged once.
#[test]
fn a_manager_that_does_not_listen_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    for is_there in [true, false] {
        let _manager = is_there.then(|| UnixDatagram::bind(&path).unwrap());
        let socket = directory.path().join("socket");
        let mut command = program(&["serve", "-p", "0", "--unix"]);
        command.arg(&socket).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300");
        let process = Process::start(&mut command);
        let mut client = Client::unix_patiently(&socket);
        client.add(1, X);
        process.stderr.wait_for("the service manager is not told");
        assert!((0..100).all(|_| client.place(X) == Some(1)));
        let ended = process.stop(Signal::TERM);
        ended.assert_code(0, "terminated");
        assert_eq!(ended.stderr.matches("is not told").count(), 1, "{}", ended.stderr);
        _ = fs::remove_file(&path);
    }
}

/// Runs the program with its standard input and output as descriptors 3 and 4, as systemd passes sockets.
fn activate(sockets: [OwnedFd; 2], arguments: &[&str]) -> Process {
    let mut shell = Command::new("sh");
    let script = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" serve \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
    shell.args(["-c", script, PROGRAM]).args(arguments);
    let [first, second] = sockets.map(Stdio::from);
    Process::start_with_stdin(&mut shell, first, second)
}

/// Expected: it serves the sockets that it is passed and no other; clients that came before it are served; the socket file
/// stays, since it is the manager's.
#[test]
fn passed_sockets_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    for _ in 0..2 {
        let mut early = Client::tcp(address);
        early.send(&[add(1, X), schedule(X)].concat());
        let sockets = [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
        // The port is in use, which does not matter.
        let process = activate(sockets, &["-p", &address.port().to_string()]);
        assert_eq!(early.receive(), DONE);
        assert_eq!(early.receive(), placed(1));
        Client::unix(&path).round_trip();
        Client::tcp(address).round_trip();
        process.stop(Signal::TERM).assert_code(0, "terminated");
        assert!(path.exists());
    }
}

/// Expected: who may connect has to be said for passed sockets too, and what is no socket is named.
#[test]
fn passed_sockets_are_checked() {
    let unix = || {
        let directory = tempfile::tempdir().unwrap();
        UnixListener::bind(directory.path().join("socket")).unwrap()
    };
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let ended = activate([open.into(), unix().into()], &[]).end();
    ended.assert_code(2, "an address that others reach");
    assert!(ended.stderr.contains("--allow"), "{}", ended.stderr);
    let ended = activate([fs::File::open("/dev/null").unwrap().into(), unix().into()], &[]).end();
    ended.assert_code(1, "no socket");
    assert!(ended.stderr.contains("a socket passed to this process"), "{}", ended.stderr);
}

/// Expected: systemd understands the units, and finds little that the service could do to the machine.
#[test]
fn the_units_are_valid_and_hardened() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: there is no systemd-analyze here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/systemd");
    for unit in ["external-scheduler.service", "external-scheduler.socket"] {
        let text = fs::read_to_string(source.join(unit)).unwrap();
        fs::write(directory.path().join(unit), text.replace("/usr/local/bin/external-scheduler", PROGRAM)).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(directory.path().join(unit)).output().unwrap();
        let errors = String::from_utf8_lossy(&verified.stderr).into_owned();
        let errors: Vec<&str> = errors.lines().filter(|line| line.contains("external-scheduler")).collect();
        assert!(errors.is_empty(), "{unit}: {errors:#?}");
    }
    // 0 is no exposure, 100 all there is.
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--no-pager", "--offline=true", "--threshold=20"]);
    let secure = analyze.arg(directory.path().join("external-scheduler.service")).output().unwrap();
    let report = String::from_utf8_lossy(&secure.stdout).into_owned();
    println!("{}", report.lines().last().unwrap_or_default());
    assert!(secure.status.success(), "{report}\n{}", String::from_utf8_lossy(&secure.stderr));
}
