//! How much memory the program may take.
//!
//! What is there already is served to the last: near the limit there are no new connections, nodes and names, and at the
//! limit no caches, placements and long buffers either. So memory does not run out, and the operating system has no
//! reason to end the process.

/// Near the limit is one part in so many below it: what is there may still need buffers and caches.
const RESERVE_SHARE: usize = 8;

/// A limit on what is allocated.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    allocated: fn() -> usize,
    max: usize,
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self { allocated: || 0, max: usize::MAX }
    }
}

impl MemoryLimit {
    /// A limit of `max` bytes on what `allocated` says is allocated.
    pub fn new(allocated: fn() -> usize, max: usize) -> Self {
        Self { allocated, max }
    }

    /// Bytes that are allocated; 0 where it is not counted.
    #[inline]
    pub fn allocated(self) -> usize {
        (self.allocated)()
    }

    /// The limit in bytes.
    #[inline]
    pub fn max(self) -> usize {
        self.max
    }

    /// Whether there should be nothing new.
    #[inline]
    pub fn is_near(self) -> bool {
        self.allocated() >= self.max - self.max / RESERVE_SHARE
    }

    /// Whether there is nothing left.
    #[inline]
    pub fn is_reached(self) -> bool {
        self.allocated() >= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_near_before_it_is_reached() {
        for (max, is_near, is_reached) in
            [(1_201, false, false), (1_143, false, false), (1_142, true, false), (1_000, true, true)]
        {
            let limit = MemoryLimit::new(|| 1_000, max);
            assert_eq!((limit.is_near(), limit.is_reached()), (is_near, is_reached), "{max}");
        }
        let limit = MemoryLimit::default();
        assert!(!limit.is_near() && !limit.is_reached());
    }
}
