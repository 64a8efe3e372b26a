//! A name as it is kept: nearly all are short, so most take no memory of their own.

/// The longest name that is kept in place: as much as makes it no larger. The address of a node as Ray names it,
/// `node:255.255.255.255`, has 20 bytes.
const IN_PLACE_MAX: usize = 22;

/// The bytes of a name.
#[derive(Debug)]
pub enum Name {
    InPlace { length: u8, bytes: [u8; IN_PLACE_MAX] },
    Apart(Box<[u8]>),
}

impl Default for Name {
    /// The empty name.
    fn default() -> Self {
        Self::InPlace { length: 0, bytes: [0; IN_PLACE_MAX] }
    }
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE_MAX];
        match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name);
                Self::InPlace { length: name.len() as u8, bytes }
            }
            None => Self::Apart(name.into()),
        }
    }
}

impl Name {
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::InPlace { length, bytes } => &bytes[..usize::from(*length)],
            Self::Apart(bytes) => bytes,
        }
    }

    /// Whether it is the other name. Most names are compared as one or two numbers.
    #[inline]
    pub fn is(&self, other: &[u8]) -> bool {
        let bytes = self.as_bytes();
        if bytes.len() != other.len() {
            return false;
        }
        match bytes.len() {
            0..4 => bytes.iter().eq(other),
            4..=8 => ends::<4>(bytes) == ends(other),
            9..=16 => ends::<8>(bytes) == ends(other),
            _ => bytes == other,
        }
    }
}

/// The first and the last bytes: all there are of up to twice as many.
#[inline]
fn ends<const LENGTH: usize>(bytes: &[u8]) -> Option<(&[u8; LENGTH], &[u8; LENGTH])> {
    Some((bytes.first_chunk()?, bytes.last_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_those_that_differ_in_a_byte() {
        assert_eq!(size_of::<Name>(), 24);
        for length in 0..2 * IN_PLACE_MAX {
            let bytes: Vec<u8> = (b'a'..).take(length).collect();
            let name = Name::from(&bytes[..]);
            assert_eq!(name.as_bytes(), bytes);
            assert!(name.is(&bytes) && !name.is(&[&bytes[..], b"a"].concat()));
            for place in 0..length {
                let mut other = bytes.clone();
                other[place] ^= 1;
                assert!(!name.is(&other), "{length} bytes, the one at {place}");
                other.remove(place);
                assert!(!name.is(&other), "{length} bytes without the one at {place}");
            }
        }
    }
}
