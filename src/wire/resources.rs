//! Lists of resources: any number of `[key][0x0][8 bytes: IEEE 754 double, little-endian]`, back to back.

use std::fmt;

use crate::scheduler::amount::Amount;

/// Longest key in bytes. Ray's longest, the names of placement groups, stay below 100.
pub const KEY_LENGTH_MAX: usize = 1024;

/// Length in bytes of an amount on the wire.
const AMOUNT_LENGTH: usize = 8;

/// Length in bytes of the shortest entry: a key of one byte, and the 0x0 behind it.
const ENTRY_LENGTH_MIN: usize = 2 + AMOUNT_LENGTH;

/// Whose resources a list is, which decides what amounts make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What a node has: any finite amount. Ray reports negative ones while blocked workers resume.
    Report,
    /// What a task asks for: a negative amount is malformed.
    Demand,
}

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourcesError {
    /// Bytes are left over without the 0x0 that ends a key.
    KeyUnterminated,
    /// A key of no bytes.
    KeyEmpty,
    /// A key longer than [`KEY_LENGTH_MAX`].
    KeyTooLong,
    /// Fewer than 8 bytes after a key.
    AmountCutShort,
    /// An amount that is not a number, or infinite.
    AmountNotFinite,
    /// A negative amount in a demand.
    AmountNegative,
}

impl ResourcesError {
    /// The error in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyUnterminated => "a resource key without its final 0x0",
            Self::KeyEmpty => "an empty resource key",
            Self::KeyTooLong => "a resource key longer than 1024 bytes",
            Self::AmountCutShort => "a resource amount of fewer than 8 bytes",
            Self::AmountNotFinite => "a resource amount that is not a finite number",
            Self::AmountNegative => "a negative amount in a demand",
        }
    }
}

impl fmt::Display for ResourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A well-formed list of resources, still as its bytes: iterating yields keys and amounts in the order sent.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    bytes: &'a [u8],
    key_lengths: KeyLengths,
}

/// The lengths of the first keys, a byte each, the first in the lowest, so that they are not searched for their ends twice. 0
/// stands for a key that is longer or comes later.
#[derive(Clone, Copy, Debug, Default)]
struct KeyLengths(u64);

impl KeyLengths {
    /// Sets the length of the key at a place.
    #[inline]
    fn set(&mut self, place: u32, length: usize) {
        let length = if length <= usize::from(u8::MAX) { length as u64 } else { 0 };
        self.0 |= length.checked_shl(place * u8::BITS).unwrap_or(0);
    }

    /// Takes off the length of the first key.
    #[inline]
    fn take(&mut self) -> Option<usize> {
        let length = (self.0 & u64::from(u8::MAX)) as usize;
        self.0 >>= u8::BITS;
        (length > 0).then_some(length)
    }
}

impl PartialEq for Resources<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Resources<'_> {}

impl<'a> Resources<'a> {
    /// The list of no resources.
    pub const EMPTY: Resources<'static> = Resources { bytes: &[], key_lengths: KeyLengths(0) };

    /// Checks the whole of `bytes`, so that whoever applies the list never stops half way.
    #[inline]
    pub fn parse(bytes: &'a [u8], meaning: Meaning) -> Result<Self, ResourcesError> {
        let (mut rest, mut place, mut key_lengths) = (bytes, 0, KeyLengths::default());
        while !rest.is_empty() {
            let key_length = key_length(rest)?;
            let (_, value, after) = split_entry(rest, key_length)?;
            if !value.is_finite() {
                return Err(ResourcesError::AmountNotFinite);
            }
            if value < 0.0 && meaning == Meaning::Demand {
                return Err(ResourcesError::AmountNegative);
            }
            key_lengths.set(place, key_length);
            (rest, place) = (after, place + 1);
        }
        Ok(Self { bytes, key_lengths })
    }

    /// As many entries as there can be in the list at most, which is told without looking at it.
    #[inline]
    pub fn count_max(&self) -> usize {
        self.bytes.len() / ENTRY_LENGTH_MIN
    }

    /// The bytes of the list as they were sent.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Resources<'a> {
    type Item = (&'a [u8], Amount);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let known = self.key_lengths.take();
        let entry = known.map_or_else(|| key_length(self.bytes), Ok).and_then(|length| split_entry(self.bytes, length));
        debug_assert!(entry.is_ok(), "the list was checked when it was parsed");
        let (key, value, rest) = entry.ok()?;
        self.bytes = rest;
        Some((key, Amount::from_f64(value)))
    }
}

/// The length of the first key of `bytes`, which are not empty.
#[inline]
fn key_length(bytes: &[u8]) -> Result<usize, ResourcesError> {
    // One more than the longest key is enough to find its end; a hostile list of one endless key is not
    // searched to its end.
    let searched = &bytes[..bytes.len().min(KEY_LENGTH_MAX + 1)];
    match find_zero(searched) {
        Some(0) => Err(ResourcesError::KeyEmpty),
        Some(length) => Ok(length),
        None if searched.len() > KEY_LENGTH_MAX => Err(ResourcesError::KeyTooLong),
        None => Err(ResourcesError::KeyUnterminated),
    }
}

/// Splits the first key, of a length that is known, and its value off `bytes`.
#[inline]
fn split_entry(bytes: &[u8], key_length: usize) -> Result<(&[u8], f64, &[u8]), ResourcesError> {
    let (key, rest) = bytes.split_at_checked(key_length).ok_or(ResourcesError::KeyUnterminated)?;
    let after_key = rest.split_first_chunk::<{ 1 + AMOUNT_LENGTH }>();
    let Some(([_, value @ ..], rest)) = after_key else { return Err(ResourcesError::AmountCutShort) };
    Ok((key, f64::from_le_bytes(*value), rest))
}

/// The place of the first 0 byte. Keys are short, so eight bytes at a time without any set-up is fastest.
#[inline]
fn find_zero(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        // A subtraction borrows through the high bit of a byte that is 0; the lowest such byte is exact.
        let zeros = word.wrapping_sub(ONES) & !word & HIGH_BITS;
        if zeros != 0 {
            return Some(8 * index + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| byte == 0).map(|found| 8 * chunks.len() + found)
}

/// Appends one entry of a list to `out`.
pub fn append(out: &mut Vec<u8>, key: &[u8], amount: Amount) {
    out.extend_from_slice(key);
    out.push(0);
    out.extend_from_slice(&amount.to_f64().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &[u8], value: f64) -> Vec<u8> {
        [key, &[0], &value.to_le_bytes()].concat()
    }

    #[test]
    fn well_formed_lists_give_their_entries_in_order() {
        let bytes = [entry(b"GPU", 0.5), entry(b"CPU", 4.0), entry("µ\n".as_bytes(), 0.0)].concat();
        let list: Vec<_> = Resources::parse(&bytes, Meaning::Demand).unwrap().collect();
        assert_eq!(
            list,
            [(&b"GPU"[..], Amount::from_f64(0.5)), (b"CPU", Amount::from_f64(4.0)), ("µ\n".as_bytes(), Amount::ZERO)]
        );
        assert_eq!(Resources::parse(b"", Meaning::Demand), Ok(Resources::EMPTY));
    }

    #[test]
    fn keys_of_any_length_at_any_place_are_told_apart() {
        let lengths = [1, 255, 256, 8, 300, 7, 2, 254, 255, 3, KEY_LENGTH_MAX, 1];
        let keys: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![b'k'; length]).collect();
        for first in 0..keys.len() {
            let bytes: Vec<u8> = keys[first..].iter().flat_map(|key| entry(key, 1.0)).collect();
            let list = Resources::parse(&bytes, Meaning::Report).unwrap();
            assert!(list.map(|(key, _)| key).eq(keys[first..].iter()), "{:?}", &lengths[first..]);
        }
    }

    #[test]
    fn the_first_zero_is_found_wherever_it_is() {
        for length in 0..40 {
            for value in [1, 0x7f, 0x80, 0x81, 0xff] {
                let mut bytes = vec![value; length];
                assert_eq!(find_zero(&bytes), None);
                for place in (0..length).rev() {
                    bytes[place] = 0;
                    assert_eq!(find_zero(&bytes), Some(place), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn malformed_lists_are_refused_for_their_first_fault() {
        let long = vec![b'k'; KEY_LENGTH_MAX + 1];
        let cases: [(&str, Vec<u8>, ResourcesError); 12] = [
            ("no 0x0", b"CPU".to_vec(), ResourcesError::KeyUnterminated),
            ("left over", [entry(b"CPU", 1.0), b"G".to_vec()].concat(), ResourcesError::KeyUnterminated),
            ("no amount", b"CPU\0".to_vec(), ResourcesError::AmountCutShort),
            ("7 bytes of an amount", b"CPU\x001234567".to_vec(), ResourcesError::AmountCutShort),
            ("empty key", entry(b"", 1.0), ResourcesError::KeyEmpty),
            ("long key", entry(&long, 1.0), ResourcesError::KeyTooLong),
            ("long key without an end", long.clone(), ResourcesError::KeyTooLong),
            ("not a number", entry(b"CPU", f64::NAN), ResourcesError::AmountNotFinite),
            ("infinity", entry(b"CPU", f64::INFINITY), ResourcesError::AmountNotFinite),
            ("minus infinity", entry(b"CPU", f64::NEG_INFINITY), ResourcesError::AmountNotFinite),
            ("negative", entry(b"CPU", -1.0), ResourcesError::AmountNegative),
            ("negative below the granularity", entry(b"CPU", -1e-9), ResourcesError::AmountNegative),
        ];
        for (name, bytes, expected) in cases {
            assert_eq!(Resources::parse(&bytes, Meaning::Demand), Err(expected), "{name}");
        }
        for (name, value) in [("minus zero", -0.0), ("subnormal", f64::MIN_POSITIVE / 2.0), ("huge", 1e308)] {
            assert!(Resources::parse(&entry(b"CPU", value), Meaning::Demand).is_ok(), "{name}");
        }
        assert!(Resources::parse(&entry(b"CPU", -4.0), Meaning::Report).is_ok());
        assert!(Resources::parse(&entry(&long[1..], 1.0), Meaning::Report).is_ok());
    }
}
