//! Polling without sleeping for a while after the last event.

use std::time::{Duration, Instant};

/// How long a loop keeps polling after the last event before it sleeps.
///
/// A thread that sleeps has to be woken, which costs each side of a round trip several times what a decision costs. A thread
/// that polls takes a whole processor core instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// It sleeps at once.
    #[default]
    Never,
    /// It polls for so long before it sleeps.
    For(Duration),
    /// It never sleeps.
    Always,
}

/// Whether a loop may sleep: to be told after every poll what it has brought.
#[derive(Debug)]
pub struct Vigil {
    busy_poll: BusyPoll,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The last poll has brought something.
    Busy,
    /// Nothing has come for a while.
    Idle {
        until: Instant,
    },
    Asleep,
}

impl Vigil {
    /// Of a loop that nothing has happened in.
    pub fn new(busy_poll: BusyPoll) -> Self {
        Self { busy_poll, state: if busy_poll == BusyPoll::Always { State::Busy } else { State::Asleep } }
    }

    /// Whether the next poll must not sleep.
    #[inline]
    pub fn is_awake(&self) -> bool {
        !matches!(self.state, State::Asleep)
    }

    /// A poll has brought something, or nothing, at a time.
    #[inline]
    pub fn polled(&mut self, something: bool, now: Instant) {
        let BusyPoll::For(time) = self.busy_poll else { return };
        self.state = match self.state {
            _ if something => State::Busy,
            State::Busy => State::Idle { until: now + time },
            State::Idle { until } if now >= until => State::Asleep,
            state => state,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the next poll must not sleep, after polls that have brought something or nothing.
    fn is_awake(busy_poll: BusyPoll, polls: &[bool]) -> bool {
        let mut vigil = Vigil::new(busy_poll);
        polls.iter().for_each(|&something| vigil.polled(something, Instant::now()));
        vigil.is_awake()
    }

    #[test]
    fn it_sleeps_when_nothing_has_come_for_the_time() {
        let hour = BusyPoll::For(Duration::from_secs(3600));
        let moment = BusyPoll::For(Duration::ZERO);
        for (busy_poll, polls, awake) in [
            (BusyPoll::Never, &[][..], false),
            (BusyPoll::Never, &[true], false),
            (BusyPoll::Always, &[], true),
            (BusyPoll::Always, &[true, false, false], true),
            (hour, &[], false),
            (hour, &[false], false),
            (hour, &[true], true),
            (hour, &[true, false, false], true),
            (moment, &[true], true),
            (moment, &[true, false], true),
            (moment, &[true, false, false], false),
            (moment, &[true, false, false, true], true),
        ] {
            assert_eq!(is_awake(busy_poll, polls), awake, "{busy_poll:?} {polls:?}");
        }
    }
}
