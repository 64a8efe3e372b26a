//! The service manager that has started the server: systemd, or one that speaks its notification protocol (sd_notify(3)).
//!
//! It is told when the server is ready and when it stops, and, where it asks for that, again and again that the loop goes
//! round. The messages are datagrams that are never waited for.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Messages for each time after which the manager takes the server for dead: one may be late.
const MESSAGES_PER_TIMEOUT: u32 = 3;

/// Where a service manager listens, if one does.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the loop goes round.
    interval: Option<Duration>,
    /// When it is told next.
    due: Option<Instant>,
    /// It could not be told, which has been logged.
    is_deaf: bool,
}

impl ServiceManager {
    /// The manager that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    ///
    /// # Errors
    /// When what the environment says makes no sense.
    pub fn from_environment() -> io::Result<Self> {
        let Ok(address) = env::var("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let is_meant = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let timeout_us: Option<u64> = env::var("WATCHDOG_USEC").ok().and_then(|time| time.parse().ok());
        let interval = timeout_us.filter(|&time_us| is_meant && time_us > 0).map(Duration::from_micros);
        let interval = interval.map(|timeout| timeout / MESSAGES_PER_TIMEOUT);
        Ok(Self { socket: Some((socket, address)), interval, due: None, is_deaf: false })
    }

    /// The server serves; `status` is for people.
    pub fn tell_ready(&mut self, status: &str, now: Instant) {
        self.send(&format!("READY=1\nSTATUS={status}"));
        self.due = self.interval.map(|interval| now + interval);
    }

    /// The server stops.
    pub fn tell_stopping(&mut self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// When [`Self::tell_alive`] has something to tell.
    #[inline]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The loop goes round, of which the manager is told when it is time.
    #[inline]
    pub fn tell_alive(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = self.interval.map(|interval| now + interval);
            self.send("WATCHDOG=1");
        }
    }

    #[cold]
    fn send(&mut self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        let sent = socket.send_to_addr(message.as_bytes(), address);
        let was_deaf = std::mem::replace(&mut self.is_deaf, sent.is_err());
        if let Err(error) = sent
            && !was_deaf
        {
            log::warn!("the service manager is not told {message:?}: {error}");
        }
    }
}
