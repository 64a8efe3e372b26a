//! Frames, however the bytes of a stream arrive: through a ring in pieces, against a look at the whole stream at once.

use std::cell::RefCell;

use external_scheduler::ring::{Pool, Ring};
use external_scheduler::wire::frame::{Frame, FrameError, PREFIX_LENGTH, split};

thread_local! {
    /// Kept for its memory.
    static POOL: RefCell<Pool> = RefCell::default();
}

/// The first byte is the limit of a message, in 16 bytes; the second is how many bytes follow that say how long the
/// pieces are, over and over. The rest is the stream.
pub fn check(bytes: &[u8]) {
    let [limit, pieces, rest @ ..] = bytes else { return };
    let length_max = usize::from(*limit) * 16;
    let (pieces, stream) = rest.split_at(rest.len().min(usize::from(*pieces)));
    let (messages, end) = naive(stream, length_max);

    POOL.with_borrow_mut(|pool| check_in_pieces(stream, pieces, length_max, &messages, end, pool));
}

fn check_in_pieces(stream: &[u8], pieces: &[u8], length_max: usize, messages: &[&[u8]], end: End, pool: &mut Pool) {
    let mut ring = Ring::default();
    let mut lengths = pieces.iter().map(|&length| usize::from(length) + 1).cycle();
    let (mut rest, mut seen, mut fault) = (stream, 0, None);
    while !rest.is_empty() && fault.is_none() {
        let (piece, after) = rest.split_at(lengths.next().unwrap_or(usize::MAX).min(rest.len()));
        ring.append(piece, pool).expect("there is memory for a piece");
        rest = after;
        loop {
            match split(ring.waiting(), length_max) {
                Ok(Frame::Complete { message, consumed }) => {
                    assert_eq!(message, messages[seen]);
                    assert_eq!(consumed, PREFIX_LENGTH + message.len());
                    seen += 1;
                    ring.consume(consumed);
                }
                Ok(Frame::Partial { wanted }) => {
                    assert!(ring.waiting().len() < wanted && wanted <= PREFIX_LENGTH + length_max);
                    break;
                }
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            }
        }
    }
    assert_eq!(seen, messages.len());
    match end {
        End::Fault(length) => assert_eq!(fault, Some(expected_fault(length, length_max))),
        End::Left(count) => {
            assert_eq!((fault, ring.waiting().len()), (None, count));
        }
    }
    ring.clear(pool);
}

enum End {
    /// So many bytes that are no whole frame.
    Left(usize),
    /// A length that no message has.
    Fault(i64),
}

fn naive(mut stream: &[u8], length_max: usize) -> (Vec<&[u8]>, End) {
    let mut messages = Vec::new();
    while stream.len() >= 8 {
        let length = (0..8).fold(0u64, |length, place| length | u64::from(stream[place]) << (8 * place)) as i64;
        if length < 0 || length > length_max as i64 {
            return (messages, End::Fault(length));
        }
        let end = 8 + length as usize;
        if stream.len() < end {
            break;
        }
        messages.push(&stream[8..end]);
        stream = &stream[end..];
    }
    (messages, End::Left(stream.len()))
}

fn expected_fault(length: i64, length_max: usize) -> FrameError {
    if length < 0 { FrameError::Negative { length } } else { FrameError::TooLong { length, length_max } }
}
