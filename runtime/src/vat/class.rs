//! Sizes of chunks: whole pages, and the power of two under which a chunk is filed.
//!
//! Owns: the arithmetic. Knows nothing of who has chunks.

/// The least chunk, and what all are multiples of.
pub(crate) const PAGE: u64 = 4096;
/// How many classes there are: the last one's chunks have 512 GiB.
pub(crate) const CLASSES: usize = 28;

/// What `bytes` take in whole pages; `None` where that is too long for a chunk, and of nothing one page.
pub(crate) fn in_pages(bytes: u64) -> Option<u64> {
    let rounded = bytes.max(1).checked_next_multiple_of(PAGE)?;
    (rounded <= size_of(CLASSES - 1)).then_some(rounded)
}

/// The class of a chunk: the least that is no shorter.
///
/// `bytes` is what [`in_pages`] answered.
pub(crate) fn class_of(bytes: u64) -> usize {
    (bytes.next_power_of_two() / PAGE).trailing_zeros() as usize
}

/// How long the chunks of a class are.
pub(crate) const fn size_of(class: usize) -> u64 {
    PAGE << class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_filed_under_the_least_power_of_two_that_holds_it() {
        assert_eq!([0, 1, 4096, 4097].map(in_pages), [Some(4096), Some(4096), Some(4096), Some(8192)]);
        assert_eq!([4096, 8192, 12 << 10, 16 << 10].map(class_of), [0, 1, 2, 2]);
        assert_eq!([0, 1, 4].map(size_of), [4096, 8192, 65536]);
        let longest = size_of(CLASSES - 1);
        assert_eq!(in_pages(longest), Some(longest));
        assert_eq!(class_of(longest), CLASSES - 1);
        assert_eq!([longest + 1, u64::MAX].map(in_pages), [None, None]);
    }
}
