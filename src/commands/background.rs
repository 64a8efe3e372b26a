//! Output that never holds its writer up: a thread of its own writes it, and what cannot be written is dropped.
//!
//! Standard error may be a pipe that nobody reads or a disk that is full. The server serves on in any case, and says how
//! many lines were lost once they are taken again.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait at most: a few hundred KiB, and more than the log limits let through at once.
const LINES_MAX: usize = 4096;

/// How often it is looked whether there is room again, at the end.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

/// The end that lines are written to, one with each write.
pub struct BackgroundWriter {
    sender: SyncSender<Message>,
    dropped: u64,
}

/// The end that waits for lines to be written.
pub struct BackgroundFlush {
    sender: SyncSender<Message>,
}

/// Starts a thread that writes to `output`.
///
/// # Errors
/// When there can be no thread.
pub fn start(output: impl Write + Send + 'static) -> io::Result<(BackgroundWriter, BackgroundFlush)> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, receiver))?;
    Ok((BackgroundWriter { sender: sender.clone(), dropped: 0 }, BackgroundFlush { sender }))
}

fn write_all(mut output: impl Write, receiver: Receiver<Message>) {
    for message in receiver {
        // Where nobody takes them, there is nobody to tell.
        match message {
            Message::Line(line) => _ = output.write_all(&line).and_then(|()| output.flush()),
            Message::Flush(done) => _ = done.send(()),
        }
    }
}

impl BackgroundWriter {
    fn try_send(&self, line: Vec<u8>) -> bool {
        self.sender.try_send(Message::Line(line)).is_ok()
    }
}

impl Write for BackgroundWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.dropped > 0 {
            let note = format!("({} lines are missing here: they could not be written in time)\n", self.dropped);
            if self.try_send(note.into_bytes()) {
                self.dropped = 0;
            }
        }
        self.dropped += u64::from(self.dropped > 0 || !self.try_send(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BackgroundFlush {
    /// Waits until all that was written so far has gone, at most for `timeout`. Returns whether it has.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let (done, is_done) = sync_channel(1);
        while let Err(error) = self.sender.try_send(Message::Flush(done.clone())) {
            if matches!(error, TrySendError::Disconnected(_)) || Instant::now() >= deadline {
                return false;
            }
            thread::sleep(RETRY_INTERVAL);
        }
        // The thread has the only other end, so that its death is not waited for.
        drop(done);
        match is_done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Writes nothing until it is opened.
    struct Gate {
        opened: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Stays open once the other end is gone.
            _ = self.opened.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Gate, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (open, opened) = channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        (Gate { opened, written: written.clone() }, open, written)
    }

    #[test]
    fn lines_are_dropped_and_counted_while_nobody_takes_them() {
        let (gate, open, written) = gate();
        let (mut writer, flush) = start(gate).unwrap();
        // One more than wait: the thread may hold one, or not yet.
        let count = LINES_MAX + 100;
        (0..count).for_each(|number| writer.write_all(format!("line {number}\n").as_bytes()).unwrap());
        assert!(!flush.flush(Duration::from_millis(20)), "nobody takes them");
        drop(open);
        assert!(flush.flush(Duration::from_secs(10)));
        writer.write_all(b"after\n").unwrap();
        assert!(flush.flush(Duration::from_secs(10)));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [kept @ .., note, last] = &lines[..] else { panic!("{lines:?}") };
        assert!(kept.len() == LINES_MAX || kept.len() == LINES_MAX + 1, "{} lines", kept.len());
        assert!(kept.iter().enumerate().all(|(number, line)| *line == format!("line {number}")));
        assert_eq!(
            *note,
            format!("({} lines are missing here: they could not be written in time)", count - kept.len())
        );
        assert_eq!(*last, "after");
    }

    #[test]
    fn an_output_that_fails_is_no_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut writer, flush) = start(Full).unwrap();
        for _ in 0..10 {
            assert_eq!(writer.write(b"line\n").unwrap(), 5);
        }
        assert!(flush.flush(Duration::from_secs(10)));
    }
}
