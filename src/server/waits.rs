//! What connections are waited for, and since when.
//!
//! A connection is waited for where it has begun a frame and not finished it, or has sent requests and does not read the
//! replies. All waits of a kind have the same timeout, so each kind is a list in the order in which they began, linked
//! through an array by the connections' keys: to begin and to end a wait takes a few writes and no memory, and the wait
//! that ends first is the first.

use std::time::{Duration, Instant};

/// What a connection is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The rest of a frame.
    Frame,
    /// Room for replies.
    Room,
}

/// Number of kinds of waits.
const KINDS: usize = 2;

/// How long a peer may take for a frame where nothing else is said. An honest one sends a frame at once, in two writes at
/// most, so this is about networks that lose packets: TCP repeats a segment after 0.2, 0.6, 1.4, 3 and 6.2 s.
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer may leave its replies unread where nothing else is said. A raylet waits for each reply; a process that is
/// stopped or swapped out for longer than this has lost its leases too.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long each kind of wait may last.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a frame to its last.
    pub frame: Duration,
    /// From when a socket takes no more replies until it takes some again.
    pub write: Duration,
}

/// A place in a list. Where `waiting` is `None` the connection is in no list, and the rest means nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    waiting: Option<(Wait, Instant)>,
    before: Option<usize>,
    after: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    first: Option<usize>,
    last: Option<usize>,
}

/// The waits of all connections.
///
/// Invariant: the links of a kind form one list from `first` to `last`, in the order of their beginnings.
#[derive(Debug)]
pub struct Waits {
    timeouts: [Duration; KINDS],
    /// By the connection's key.
    links: Vec<Link>,
    ends: [Ends; KINDS],
}

impl Waits {
    /// No waits.
    pub fn new(timeouts: Timeouts) -> Self {
        let mut by_kind = [Duration::ZERO; KINDS];
        by_kind[Wait::Frame as usize] = timeouts.frame;
        by_kind[Wait::Room as usize] = timeouts.write;
        Self { timeouts: by_kind, links: Vec::new(), ends: [Ends::default(); KINDS] }
    }

    /// A connection is waited for, unless it is already. The times of all calls ascend.
    #[inline]
    pub fn begin(&mut self, key: usize, wait: Wait, now: Instant) {
        match self.waiting(key) {
            Some((before, _)) if before == wait => {}
            _ => {
                self.end(key);
                self.push(key, wait, now);
            }
        }
    }

    fn push(&mut self, key: usize, wait: Wait, now: Instant) {
        if self.links.len() <= key {
            self.links.resize(key + 1, Link::default());
        }
        let ends = &mut self.ends[wait as usize];
        let before = ends.last.replace(key);
        match before {
            Some(before) => self.links[before].after = Some(key),
            None => ends.first = Some(key),
        }
        self.links[key] = Link { waiting: Some((wait, now)), before, after: None };
    }

    /// A connection is waited for no longer, if it was.
    #[inline]
    pub fn end(&mut self, key: usize) {
        let Some(Link { waiting: Some((wait, _)), before, after }) = self.links.get(key).copied() else { return };
        self.links[key].waiting = None;
        let ends = &mut self.ends[wait as usize];
        match before {
            Some(before) => self.links[before].after = after,
            None => ends.first = after,
        }
        match after {
            Some(after) => self.links[after].before = before,
            None => ends.last = before,
        }
    }

    fn waiting(&self, key: usize) -> Option<(Wait, Instant)> {
        self.links.get(key)?.waiting
    }

    /// Whether no connection is waited for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.iter().all(|ends| ends.first.is_none())
    }

    /// When the first wait has lasted too long.
    #[inline]
    pub fn due(&self) -> Option<Instant> {
        self.ends.iter().filter_map(|ends| self.due_of(ends.first?)).min()
    }

    fn due_of(&self, key: usize) -> Option<Instant> {
        // A time too far away to be told is never.
        self.waiting(key).and_then(|(wait, since)| since.checked_add(self.timeouts[wait as usize]))
    }

    /// A connection that has been waited for too long.
    #[inline]
    pub fn overdue(&self, now: Instant) -> Option<usize> {
        self.ends.iter().filter_map(|ends| ends.first).find(|&key| self.is_overdue(key, now).is_some())
    }

    /// What a connection has been waited for too long, if it has.
    pub fn is_overdue(&self, key: usize, now: Instant) -> Option<Wait> {
        let (wait, _) = self.waiting(key)?;
        (self.due_of(key)? <= now).then_some(wait)
    }

    /// Lets all waits begin anew.
    pub fn restart(&mut self, now: Instant) {
        for link in &mut self.links {
            if let Some((_, since)) = &mut link.waiting {
                *since = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_secs(10);
    const WRITE: Duration = Duration::from_secs(3);

    fn waits() -> Waits {
        Waits::new(Timeouts { frame: FRAME, write: WRITE })
    }

    #[test]
    fn a_wait_is_overdue_at_its_timeout_and_not_before() {
        let now = Instant::now();
        let mut waits = waits();
        assert!(waits.is_empty() && waits.due().is_none());
        waits.begin(7, Wait::Frame, now);
        waits.begin(7, Wait::Frame, now + WRITE);
        assert_eq!(waits.due(), Some(now + FRAME), "it began only once");
        waits.begin(2, Wait::Room, now + WRITE);
        assert_eq!(waits.due(), Some(now + 2 * WRITE));
        assert_eq!(waits.overdue(now + 2 * WRITE - Duration::from_nanos(1)), None);
        assert_eq!(waits.overdue(now + 2 * WRITE), Some(2));
        assert_eq!(waits.is_overdue(2, now + 2 * WRITE), Some(Wait::Room));
        waits.end(2);
        assert_eq!(waits.overdue(now + FRAME), Some(7));
        waits.restart(now + FRAME);
        assert_eq!((waits.overdue(now + FRAME), waits.due()), (None, Some(now + 2 * FRAME)));
        waits.end(7);
        waits.end(7);
        assert!(waits.is_empty());
    }

    #[test]
    fn a_timeout_beyond_all_time_never_comes() {
        let mut waits = Waits::new(Timeouts { frame: Duration::MAX, write: Duration::MAX });
        waits.begin(0, Wait::Frame, Instant::now());
        assert_eq!((waits.due(), waits.overdue(Instant::now())), (None, None));
    }

    #[test]
    fn behaves_as_a_sorted_list_under_random_use() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut waits = waits();
        let mut model: Vec<(usize, Wait, Instant)> = Vec::new();
        let mut now = Instant::now();
        for _ in 0..20_000 {
            now += Duration::from_millis(random.u64(0..500));
            let key = random.usize(0..20);
            let wait = if random.bool() { Wait::Frame } else { Wait::Room };
            if random.bool() {
                waits.begin(key, wait, now);
                if !model.iter().any(|&(other, waiting, _)| (other, waiting) == (key, wait)) {
                    model.retain(|&(other, ..)| other != key);
                    model.push((key, wait, now));
                }
            } else {
                waits.end(key);
                model.retain(|&(other, ..)| other != key);
            }
            let due =
                |&(_, wait, since): &(usize, Wait, Instant)| since + if wait == Wait::Frame { FRAME } else { WRITE };
            assert_eq!(waits.due(), model.iter().map(due).min());
            assert_eq!(waits.is_empty(), model.is_empty());
            assert_eq!(waits.overdue(now).is_some(), model.iter().any(|wait| due(wait) <= now));
            while let Some(key) = waits.overdue(now) {
                let place = model.iter().position(|wait| wait.0 == key && due(wait) <= now);
                model.remove(place.expect("it is overdue in the model too"));
                waits.end(key);
            }
        }
    }
}
