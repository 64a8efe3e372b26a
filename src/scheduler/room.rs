//! Room in lists that have an entry for each node or name.

/// A list that is full grows by one part in so many. There are many lists, most of which stay as they are once a cluster is
/// complete: were they doubled, nearly half of the memory could be for nothing.
const GROWTH_SHARE: usize = 4;

/// Entries that a list grows by at least.
const GROWTH_MIN: usize = 4;

/// Adds an entry at the end.
#[inline]
pub fn push<T>(list: &mut Vec<T>, entry: T) {
    make_room(list, 1);
    list.push(entry);
}

/// Adds entries at the end until there are so many, if there are fewer.
#[inline]
pub fn extend_to<T: Default>(list: &mut Vec<T>, length: usize) {
    if let Some(more) = length.checked_sub(list.len()) {
        make_room(list, more);
        list.resize_with(length, T::default);
    }
}

#[inline]
fn make_room<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve_exact(more.max(list.len() / GROWTH_SHARE).max(GROWTH_MIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_little_more_room_than_it_needs_and_grows_seldom() {
        let (mut list, mut growths) = (Vec::new(), 0);
        for entry in 0..100_000 {
            let before = list.capacity();
            push(&mut list, entry);
            growths += usize::from(list.capacity() > before);
            assert!(list.capacity() <= list.len() + (list.len() / GROWTH_SHARE).max(GROWTH_MIN));
        }
        assert!(growths < 60, "{growths} times");
        extend_to(&mut list, 1_000_000);
        assert_eq!((list.len(), list.capacity()), (1_000_000, 1_000_000));
        extend_to(&mut list, 10);
        assert_eq!(list.len(), 1_000_000);
    }
}
