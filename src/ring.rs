//! The buffer of one direction of a connection: bytes and offsets, no I/O.
//!
//! Bytes come in at the tail and leave at the head. What waits is always one contiguous slice, so that a
//! frame is parsed where it was received. The offsets go round by returning to the start: for nothing
//! when the ring runs empty, which is after nearly every batch, and else by moving what waits down once the
//! room at the end is short; that is less than one frame for each trip round the storage, and needs no mirrored
//! mapping.
//!
//! A ring that holds nothing owns nothing: its storage goes back to the [`Pool`] and the next ring that
//! needs some takes it while it is still in the cache. Idle connections thus cost no buffer.

use std::fmt;

use crate::memory::MemoryLimit;

/// Storage that a ring starts with, in bytes: some 500 requests, so that a system call is shared by many. Rings that
/// need more grow by doubling.
pub const STORAGE_LENGTH: usize = 16 * 1024;

/// Storages that are kept for reuse. What more is given back is freed: 4 MiB are kept after a burst.
const POOLED_MAX: usize = 256;

/// There is no memory for what is to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no memory for a buffer")
    }
}

impl std::error::Error for OutOfMemory {}

/// Storage of rings that are not in use, shared by all connections of a loop.
#[derive(Debug, Default)]
pub struct Pool {
    storages: Vec<Box<[u8]>>,
    memory: MemoryLimit,
}

impl Pool {
    /// A pool that makes no storage longer than the usual where the limit is reached. The usual one every connection may have,
    /// so that it is served.
    pub fn new(memory: MemoryLimit) -> Self {
        Self { storages: Vec::new(), memory }
    }

    /// Storage for at least `length` bytes.
    fn take(&mut self, length: usize) -> Result<Box<[u8]>, OutOfMemory> {
        if length > STORAGE_LENGTH {
            return self.make(length.next_power_of_two());
        }
        match self.storages.pop() {
            Some(storage) => Ok(storage),
            None => self.make(STORAGE_LENGTH),
        }
    }

    fn make(&self, length: usize) -> Result<Box<[u8]>, OutOfMemory> {
        if length > STORAGE_LENGTH && self.memory.is_reached() {
            return Err(OutOfMemory);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| OutOfMemory)?;
        bytes.resize(length, 0);
        Ok(bytes.into_boxed_slice())
    }

    fn give(&mut self, storage: Box<[u8]>) {
        if storage.len() == STORAGE_LENGTH && self.storages.len() < POOLED_MAX {
            self.storages.push(storage);
        }
    }
}

/// Invariant: `head <= tail <= storage.len()`; `storage[head..tail]` is what waits, `storage[tail..]` is room.
#[derive(Debug, Default)]
pub struct Ring {
    storage: Box<[u8]>,
    head: usize,
    tail: usize,
}

impl Ring {
    /// What waits, oldest first.
    #[inline]
    pub fn waiting(&self) -> &[u8] {
        &self.storage[self.head..self.tail]
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Takes `count` bytes off the front.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.tail - self.head, "consumed {count} bytes of {}", self.tail - self.head);
        self.head += count;
        if self.is_empty() {
            self.head = 0;
            self.tail = 0;
        }
    }

    /// Room for at least `length` bytes behind what waits. The storage grows only if it must, and then to
    /// less than twice what is held.
    ///
    /// # Errors
    /// When there is no memory for it; what waits is kept.
    #[inline]
    pub fn room(&mut self, length: usize, pool: &mut Pool) -> Result<&mut [u8], OutOfMemory> {
        if self.storage.len() - self.tail < length {
            self.make_room(length, pool)?;
        }
        Ok(&mut self.storage[self.tail..])
    }

    #[cold]
    fn make_room(&mut self, length: usize, pool: &mut Pool) -> Result<(), OutOfMemory> {
        let waiting = self.tail - self.head;
        let needed = waiting + length;
        if needed > self.storage.len() {
            let bigger = pool.take(needed)?;
            let old = std::mem::replace(&mut self.storage, bigger);
            self.storage[..waiting].copy_from_slice(&old[self.head..self.tail]);
            pool.give(old);
        } else {
            self.storage.copy_within(self.head..self.tail, 0);
        }
        self.head = 0;
        self.tail = waiting;
        Ok(())
    }

    /// Adds the first `count` bytes of the [`Ring::room`], which have been written, to what waits.
    #[inline]
    pub fn produce(&mut self, count: usize) {
        assert!(count <= self.storage.len() - self.tail, "produced {count} bytes into a smaller room");
        self.tail += count;
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When there is no memory for it; nothing is appended then.
    #[inline]
    pub fn append(&mut self, bytes: &[u8], pool: &mut Pool) -> Result<(), OutOfMemory> {
        self.room(bytes.len(), pool)?[..bytes.len()].copy_from_slice(bytes);
        self.produce(bytes.len());
        Ok(())
    }

    /// Appends the first `length` of `bytes`. How many there are is known when this is compiled, so that no function is called to copy
    /// them.
    ///
    /// # Errors
    /// When there is no memory for all of `bytes`; nothing is appended then.
    #[inline]
    pub fn append_first<const N: usize>(
        &mut self,
        bytes: &[u8; N],
        length: usize,
        pool: &mut Pool,
    ) -> Result<(), OutOfMemory> {
        self.room(N, pool)?[..N].copy_from_slice(bytes);
        self.produce(length.min(N));
        Ok(())
    }

    /// Gives the storage back if nothing waits.
    #[inline]
    pub fn rest(&mut self, pool: &mut Pool) {
        if self.is_empty() && !self.storage.is_empty() {
            self.clear(pool);
        }
    }

    /// Drops what waits and gives the storage back.
    pub fn clear(&mut self, pool: &mut Pool) {
        pool.give(std::mem::take(&mut self.storage));
        self.head = 0;
        self.tail = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_ring_owns_nothing() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        assert_eq!(ring.storage.len(), 0);
        ring.append(b"abc", &mut pool).unwrap();
        ring.rest(&mut pool);
        assert_eq!(ring.waiting(), b"abc");
        ring.consume(3);
        ring.rest(&mut pool);
        assert_eq!((ring.storage.len(), pool.storages.len()), (0, 1));
    }

    #[test]
    fn a_ring_grows_to_less_than_twice_what_it_holds_and_does_not_pool_that() {
        let mut pool = Pool::default();
        let mut ring = Ring::default();
        let bytes = vec![7; 3 * STORAGE_LENGTH];
        ring.append(&bytes, &mut pool).unwrap();
        assert_eq!(ring.storage.len(), 4 * STORAGE_LENGTH);
        assert_eq!(ring.waiting(), bytes);
        ring.clear(&mut pool);
        assert!(pool.storages.is_empty());
    }

    #[test]
    fn rings_do_not_grow_where_the_limit_is_reached() {
        let mut pool = Pool::new(MemoryLimit::new(|| 1, 1));
        let mut ring = Ring::default();
        assert_eq!(ring.append(b"abc", &mut pool), Ok(()));
        assert_eq!(ring.append(&[0; STORAGE_LENGTH], &mut pool), Err(OutOfMemory));
        assert_eq!(ring.waiting(), b"abc");
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = Pool::default();
        for _ in 0..2 * POOLED_MAX {
            pool.give(vec![0; STORAGE_LENGTH].into());
        }
        assert_eq!(pool.storages.len(), POOLED_MAX);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Consume(usize),
        Rest,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..3 * STORAGE_LENGTH).prop_map(Step::Append),
            8 => (0..3 * STORAGE_LENGTH).prop_map(Step::Consume),
            2 => Just(Step::Rest),
            1 => Just(Step::Clear),
        ];
        vec(step, 0..64)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn behaves_as_a_queue_of_bytes(steps in steps()) {
            let (mut pool, mut ring, mut model) = (Pool::default(), Ring::default(), VecDeque::new());
            let mut next = 0u8;
            for step in steps {
                match step {
                    Step::Append(count) => {
                        let bytes: Vec<u8> = std::iter::repeat_with(|| { next = next.wrapping_mul(5).wrapping_add(1); next })
                            .take(count)
                            .collect();
                        ring.append(&bytes, &mut pool).unwrap();
                        model.extend(bytes);
                    }
                    Step::Consume(count) => {
                        let count = count.min(model.len());
                        ring.consume(count);
                        model.drain(..count);
                    }
                    Step::Rest => {
                        ring.rest(&mut pool);
                        prop_assert!(!ring.is_empty() || ring.storage.is_empty(), "who holds nothing owns nothing");
                    }
                    Step::Clear => {
                        ring.clear(&mut pool);
                        model.clear();
                    }
                }
                prop_assert!(ring.waiting().iter().eq(&model));
                prop_assert!(ring.head <= ring.tail && ring.tail <= ring.storage.len());
                prop_assert!(pool.storages.len() <= POOLED_MAX);
            }
        }
    }
}
