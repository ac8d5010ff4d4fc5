//! Merges the first items of several ascending sequences, and reads no more than it needs. It must not know what they
//! hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The first `limit` items of all sequences, ascending.
///
/// Indexes are kept by shard, but a processor asks about all of its shards at once and needs one order.
pub(super) fn merge<T: Ord>(
    sequences: impl IntoIterator<Item = impl Iterator<Item = T>>,
    limit: usize,
) -> Vec<T> {
    let mut sequences: Vec<_> = sequences.into_iter().collect();
    let mut heads: BinaryHeap<_> = sequences
        .iter_mut()
        .enumerate()
        .filter_map(|(source, items)| Some(Reverse((items.next()?, source))))
        .collect();
    let mut merged = Vec::new();
    while merged.len() < limit
        && let Some(Reverse((item, source))) = heads.pop()
    {
        heads.extend(sequences[source].next().map(|next| Reverse((next, source))));
        merged.push(item);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn merge_is_ascending_and_limited() {
        let sequences = || vec![vec![1, 4, 9], vec![], vec![2, 3, 10]].into_iter().map(Vec::into_iter);
        assert_eq!(merge(sequences(), 4), [1, 2, 3, 4]);
        assert_eq!(merge(sequences(), 100), [1, 2, 3, 4, 9, 10]);
        assert_eq!(merge(sequences(), 0), [0; 0]);
    }
}
