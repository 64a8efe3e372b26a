//! Limits on what is logged about connections, so that a port scan or a thousand broken clients do not bury the log.
//!
//! Of each kind of line a few are logged in a window of time. The others are counted, and a line at the end of the window
//! says how many there were.

use std::fmt::{self, Arguments};
use std::time::{Duration, Instant};

use log::Level;

use super::close::CloseReason;
use crate::execute::Refusal;

/// How long a kind of line is limited for after its first. Long enough that what goes on for hours stays readable, short
/// enough that it is seen soon.
const WINDOW: Duration = Duration::from_secs(10);

/// Lines of a kind in a window, where each is of interest: a rack of raylets that comes back is still listed.
const LINES_PER_WINDOW: u32 = 100;

/// Whose lines they are in the log.
const TARGET: &str = "external_scheduler::server";

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Connected,
    /// By [`CloseReason::index`].
    Closed(usize),
    /// By [`Refusal::index`].
    Refused(usize),
    /// The operating system gives no new connection.
    CannotAccept,
}

impl Line {
    const COUNT: usize = 2 + CloseReason::REASONS + Refusal::REASONS;

    fn index(self) -> usize {
        match self {
            Self::Connected => 0,
            Self::CannotAccept => 1,
            Self::Closed(reason) => 2 + reason,
            Self::Refused(reason) => 2 + CloseReason::REASONS + reason,
        }
    }

    fn at(index: usize) -> Self {
        match index {
            0 => Self::Connected,
            1 => Self::CannotAccept,
            _ if index < 2 + CloseReason::REASONS => Self::Closed(index - 2),
            _ => Self::Refused(index - 2 - CloseReason::REASONS),
        }
    }

    /// How many are logged in a window.
    fn allowance(self) -> u32 {
        match self {
            Self::CannotAccept => 1,
            Self::Closed(reason) if CloseReason::KINDS[reason].comes_in_crowds => 1,
            _ => LINES_PER_WINDOW,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::CannotAccept => f.write_str("cannot accept connections"),
            Self::Closed(reason) => f.write_str(CloseReason::KINDS[*reason].name),
            Self::Refused(_) => f.write_str("requests refused for the same kind of reason"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    level: Level,
    lines: u32,
    left_out: u64,
}

/// What has been logged of late.
#[derive(Debug)]
pub struct LogLimits {
    windows: [Option<Window>; Line::COUNT],
    /// When the first window ends that lines were left out in.
    due: Option<Instant>,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { windows: [None; Line::COUNT], due: None }
    }
}

impl LogLimits {
    /// Logs a line, unless there were too many of its kind.
    #[cold]
    pub fn log(&mut self, line: Line, level: Level, text: Arguments<'_>) {
        if !log::log_enabled!(target: TARGET, level) {
            return;
        }
        if self.admits(line, level, Instant::now()) {
            log::log!(target: TARGET, level, "{text}");
        }
    }

    fn admits(&mut self, line: Line, level: Level, now: Instant) -> bool {
        self.summarize(now);
        let window = &mut self.windows[line.index()];
        let window = match window {
            Some(window) if now < window.start + WINDOW => window,
            _ => window.insert(Window { start: now, level, lines: 0, left_out: 0 }),
        };
        if window.lines < line.allowance() {
            window.lines += 1;
            return true;
        }
        window.left_out += 1;
        let end = window.start + WINDOW;
        self.due = Some(self.due.map_or(end, |due| due.min(end)));
        false
    }

    /// When [`Self::summarize`] has something to say.
    #[inline]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Says what was left out in windows that have ended.
    #[inline]
    pub fn summarize(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.summarize_until(now);
        }
    }

    /// Says what was left out.
    pub fn finish(&mut self) {
        self.summarize_until(Instant::now() + WINDOW);
    }

    #[cold]
    fn summarize_until(&mut self, now: Instant) {
        self.due = None;
        for (index, entry) in self.windows.iter_mut().enumerate() {
            let Some(Window { start, level, left_out, .. }) = *entry else { continue };
            if start + WINDOW <= now {
                *entry = None;
                if left_out > 0 {
                    log::log!(target: TARGET, level, "{}: {left_out} more within {} s", Line::at(index), WINDOW.as_secs());
                }
            } else if left_out > 0 {
                let end = start + WINDOW;
                self.due = Some(self.due.map_or(end, |due| due.min(end)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_indexes_of_their_own() {
        for index in 0..Line::COUNT {
            assert_eq!(Line::at(index).index(), index);
        }
    }

    #[test]
    fn a_few_lines_of_each_kind_are_admitted_in_a_window() {
        let unused = Line::Closed(CloseReason::Unused.index());
        let start = Instant::now();
        let mut limits = LogLimits::default();
        for (line, admitted) in [(unused, 1), (Line::Connected, LINES_PER_WINDOW), (Line::CannotAccept, 1)] {
            let count = (0..1000).filter(|_| limits.admits(line, Level::Info, start)).count();
            assert_eq!(count, admitted as usize, "{line}");
        }
        assert_eq!(limits.due(), Some(start + WINDOW));
        limits.summarize(start + WINDOW);
        assert_eq!(limits.due(), None);
        assert!(limits.admits(unused, Level::Info, start + WINDOW));
        assert_eq!(limits.due(), None, "nothing was left out");
    }
}
