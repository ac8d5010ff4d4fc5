//! A map by id without an order, for what is looked up several times per run. It must not know what it holds.
//!
//! The engine is a function of its inputs, so nothing may depend on the order of a hash map. This one lists its entries
//! only in the order of their ids.

use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Index;

/// A map by an id or by a tuple of ids. Its entries are found faster than those of a `BTreeMap`, and have no order.
///
/// ```
/// use pgworkflows::RunId;
/// use pgworkflows::id::IdMap;
///
/// let mut names = IdMap::default();
/// names.insert(RunId::from_u128(7), "seven");
/// assert_eq!(names.get(&RunId::from_u128(7)), Some(&"seven"));
/// ```
#[derive(Clone)]
pub struct IdMap<K, V>(Hashed<K, V>);

#[expect(clippy::disallowed_types, reason = "the wrapper never shows its order")]
type Hashed<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Mixes the bits of ids, which are random or consecutive. It has no secret key, so somebody who chooses the ids can make
/// them collide. Only callers that are trusted with the store can do that.
#[derive(Clone, Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u16(&mut self, part: u16) {
        self.write_u64(u64::from(part));
    }

    fn write_u32(&mut self, part: u32) {
        self.write_u64(u64::from(part));
    }

    fn write_u64(&mut self, part: u64) {
        // Both halves of the product, because the map uses the upper and the lower bits of a hash.
        let product = u128::from(self.0 ^ part) * u128::from(MULTIPLIER);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u128(&mut self, id: u128) {
        self.write_u64(id as u64 ^ (id >> 64) as u64);
    }
}

/// An odd number whose bits are evenly distributed: the golden ratio's fraction.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl<K: Eq + Hash, V> IdMap<K, V> {
    /// An empty map with room for that many entries.
    pub fn with_capacity(entries: usize) -> Self {
        Self(Hashed::with_capacity_and_hasher(entries, BuildHasherDefault::default()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is an entry for this id.
    pub fn contains_key(&self, id: &K) -> bool {
        self.0.contains_key(id)
    }

    /// The value of this id.
    pub fn get(&self, id: &K) -> Option<&V> {
        self.0.get(id)
    }

    /// The value of this id, to change it.
    pub fn get_mut(&mut self, id: &K) -> Option<&mut V> {
        self.0.get_mut(id)
    }

    /// The place of this id's value.
    pub fn entry(&mut self, id: K) -> Entry<'_, K, V> {
        self.0.entry(id)
    }

    /// Sets the value of this id. Returns the value that it replaces.
    pub fn insert(&mut self, id: K, value: V) -> Option<V> {
        self.0.insert(id, value)
    }

    /// Removes the value of this id.
    pub fn remove(&mut self, id: &K) -> Option<V> {
        self.0.remove(id)
    }
}

impl<K: Eq + Hash + Ord, V> IdMap<K, V> {
    /// All entries, ascending by id. They are sorted for each call, so this is for rare reads.
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        entries
    }
}

impl<K: Eq + Hash, V> Index<&K> for IdMap<K, V> {
    type Output = V;

    /// # Panics
    /// Panics if there is no entry for this id.
    fn index(&self, id: &K) -> &V {
        &self.0[id]
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for IdMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Eq + Hash, V: Eq> Eq for IdMap<K, V> {}

impl<K, V> Default for IdMap<K, V> {
    fn default() -> Self {
        Self(Hashed::default())
    }
}

impl<K, V> fmt::Debug for IdMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdMap").field("len", &self.0.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run_id;

    #[test]
    fn entries_are_found_by_their_ids_and_sorted_on_demand() {
        let mut map = IdMap::default();
        for number in [3, 1, 2] {
            assert_eq!(map.insert(run_id(number), number), None);
        }
        assert_eq!(map.insert(run_id(2), 20), Some(2));
        assert_eq!(map.remove(&run_id(3)), Some(3));
        assert_eq!(map.sorted(), [(&run_id(1), &1), (&run_id(2), &20)]);
    }

    #[test]
    fn hashes_of_similar_ids_differ_in_their_upper_and_lower_bits() {
        // Given consecutive ids, as tests make them
        let hash = |number: u128| {
            let mut hasher = IdHasher::default();
            crate::data::id::RunId::from_u128(number).hash(&mut hasher);
            hasher.finish()
        };
        let distinct = |part: fn(u64) -> u64| {
            (0..128).map(|number| part(hash(number))).collect::<std::collections::BTreeSet<_>>().len()
        };
        // Then they spread over the buckets of a map, and over the tags within one
        assert!(distinct(|hash| hash & 127) > 64);
        assert!(distinct(|hash| hash >> 57) > 64);
    }
}
