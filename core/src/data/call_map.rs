//! A map by durable call. It must not know what it holds.
//!
//! A run numbers its calls in order, and they mostly end in the order in which they began. So the entries lie in a queue, and
//! an entry is mostly as far from the first one as its number says. The usual map, of one call, allocates room for one.

use std::collections::VecDeque;
use std::fmt;

use crate::data::id::CommandId;

/// Values by durable call.
#[derive(Clone)]
pub(crate) struct CallMap<V> {
    /// Ascending by call. A call that was removed between others leaves its place empty until too many are. Neither the first
    /// nor the last place is empty.
    places: VecDeque<(CommandId, Option<V>)>,
    len: usize,
}

/// How many places are kept, whatever the number of entries.
const SPARE: usize = 16;

impl<V> CallMap<V> {
    pub(crate) const fn new() -> Self {
        Self { places: VecDeque::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains(&self, call: CommandId) -> bool {
        self.get(call).is_some()
    }

    pub(crate) fn get(&self, call: CommandId) -> Option<&V> {
        self.places[self.find(call).ok()?].1.as_ref()
    }

    pub(crate) fn get_mut(&mut self, call: CommandId) -> Option<&mut V> {
        let place = self.find(call).ok()?;
        self.places[place].1.as_mut()
    }

    /// Sets the value of a call. Returns the value that it replaces.
    pub(crate) fn insert(&mut self, call: CommandId, value: V) -> Option<V> {
        if self.places.capacity() == 0 {
            self.places = VecDeque::with_capacity(1);
        }
        if self.places.back().is_none_or(|(last, _)| *last < call) {
            self.places.push_back((call, Some(value)));
            self.len += 1;
            return None;
        }
        match self.find(call) {
            Ok(place) => {
                let before = self.places[place].1.replace(value);
                self.len += usize::from(before.is_none());
                before
            }
            Err(place) => {
                self.places.insert(place, (call, Some(value)));
                self.len += 1;
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, call: CommandId) -> Option<V> {
        self.remove_if(call, |_| true)
    }

    /// Removes the value of a call if it meets the condition.
    pub(crate) fn remove_if(&mut self, call: CommandId, condition: impl FnOnce(&V) -> bool) -> Option<V> {
        let place = self.find(call).ok()?;
        if !self.places[place].1.as_ref().is_some_and(condition) {
            return None;
        }
        self.len -= 1;
        // Values may be large: the first one is moved only once.
        let removed =
            if place == 0 { self.places.pop_front()?.1 } else { std::mem::take(&mut self.places[place].1) };
        if self.places.len() > self.len || self.places.capacity() > SPARE {
            self.tidy();
        }
        removed
    }

    /// Removes empty places at the ends, and the others if they are too many.
    #[inline(never)]
    fn tidy(&mut self) {
        while self.places.front().is_some_and(|(_, value)| value.is_none()) {
            self.places.pop_front();
        }
        while self.places.back().is_some_and(|(_, value)| value.is_none()) {
            self.places.pop_back();
        }
        if self.places.capacity() > 4 * self.len + SPARE {
            self.places.retain(|(_, value)| value.is_some());
            self.places.shrink_to(2 * self.len);
        }
    }

    /// Adds all entries of another map.
    pub(crate) fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            other.into_iter().for_each(|(call, value)| _ = self.insert(call, value));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.len = 0;
    }

    /// The last call.
    pub(crate) fn last(&self) -> Option<CommandId> {
        self.places.back().map(|(call, _)| *call)
    }

    /// All entries, ascending by call.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (CommandId, &V)> {
        self.places.iter().filter_map(|(call, value)| Some((*call, value.as_ref()?)))
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> impl Iterator<Item = CommandId> {
        self.iter().map(|(call, _)| call)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The place of a call, or where it would be.
    #[inline]
    fn find(&self, call: CommandId) -> Result<usize, usize> {
        let Some((first, _)) = self.places.front() else { return Err(0) };
        // Where it is if there is a place for every call since the first one.
        let place = call.get().wrapping_sub(first.get()) as usize;
        match self.places.get(place) {
            Some((found, _)) if *found == call => Ok(place),
            Some(_) | None => self.places.binary_search_by_key(&call, |(found, _)| *found),
        }
    }
}

impl<V> Default for CallMap<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> IntoIterator for CallMap<V> {
    type Item = (CommandId, V);
    type IntoIter = std::iter::FilterMap<
        std::collections::vec_deque::IntoIter<(CommandId, Option<V>)>,
        fn((CommandId, Option<V>)) -> Option<(CommandId, V)>,
    >;

    /// All entries, ascending by call.
    fn into_iter(self) -> Self::IntoIter {
        self.places.into_iter().filter_map(|(call, value)| Some((call, value?)))
    }
}

impl<V: PartialEq> PartialEq for CallMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for CallMap<V> {}

impl<V: fmt::Debug> fmt::Debug for CallMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::CallMap;
    use crate::data::id::CommandId;

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Insert(u32, u8),
        Remove(u32),
        RemoveIfEven(u32),
    }

    fn change() -> impl Strategy<Value = Change> {
        // Few calls, so that they meet, or many, so that there are gaps.
        let call = prop_oneof![0..8_u32, 0..1_000_u32];
        prop_oneof![
            (call.clone(), any::<u8>()).prop_map(|(call, value)| Change::Insert(call, value)),
            call.clone().prop_map(Change::Remove),
            call.prop_map(Change::RemoveIfEven),
        ]
    }

    proptest! {
        #[test]
        fn map_holds_what_an_ordinary_map_holds_and_few_empty_places(
            changes in prop::collection::vec(change(), 0..200),
        ) {
            // Given an ordinary map of the same content
            let (mut map, mut ordinary) = (CallMap::new(), BTreeMap::new());
            for change in changes {
                // When an entry changes, then the answers are the same
                match change {
                    Change::Insert(call, value) => {
                        let call = CommandId::new(call);
                        prop_assert_eq!(map.insert(call, value), ordinary.insert(call, value));
                        prop_assert_eq!(map.get_mut(call).copied(), Some(value));
                    }
                    Change::Remove(call) => {
                        let call = CommandId::new(call);
                        prop_assert_eq!(map.remove(call), ordinary.remove(&call));
                        prop_assert!(!map.contains(call));
                    }
                    Change::RemoveIfEven(call) => {
                        let call = CommandId::new(call);
                        let is_even = ordinary.get(&call).is_some_and(|value| value % 2 == 0);
                        let removed = if is_even { ordinary.remove(&call) } else { None };
                        prop_assert_eq!(map.remove_if(call, |value| value % 2 == 0), removed);
                        prop_assert_eq!(map.get(call), ordinary.get(&call));
                    }
                }
                // And so are the entries, in as many places as they need
                prop_assert_eq!(map.len(), ordinary.len());
                prop_assert_eq!(map.last(), ordinary.last_key_value().map(|(call, _)| *call));
                prop_assert!(map.iter().eq(ordinary.iter().map(|(call, value)| (*call, value))));
                prop_assert!(map.places.capacity() <= 4 * map.len() + super::SPARE);
            }
            prop_assert!(map.into_iter().eq(ordinary));
        }
    }
}
