//! The orders in which things can arrive: a tree whose branches become known only while it is walked. It must not know
//! what arrives, nor where.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::runtime::dice::Dice;

/// The orders of a tree, the shortest list first: an order is named by the list of its first arrivals, and continues
/// with the first option after the end of that list. So the first order that fails has the shortest list.
#[derive(Debug)]
pub(crate) struct Orders<T> {
    /// The lists that were not walked yet, by length and age.
    waiting: BTreeMap<(usize, usize), Vec<T>>,
    made: usize,
    walks_left: usize,
    /// Whether lists were dropped, because there are more than may be walked.
    is_cut: bool,
}

/// One walk from the root of the tree to a leaf.
#[derive(Debug)]
pub(crate) struct Walk<T> {
    /// What arrives first.
    list: Vec<T>,
    /// Draws the following arrivals; `None` takes the first option.
    dice: Option<Dice>,
    forks: Vec<Fork<T>>,
}

/// A point of a walk, and the options there.
#[derive(Debug)]
struct Fork<T> {
    options: Vec<T>,
    chosen: usize,
}

/// An arrival of the list is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit<T> {
    /// How many arrivals there were before.
    pub(crate) after: usize,
    /// The arrival of the list.
    pub(crate) wanted: T,
    /// The possible arrivals.
    pub(crate) options: Vec<T>,
}

impl<T: Clone + PartialEq> Orders<T> {
    /// All orders, of which at most `walks_max` are walked.
    pub(crate) fn new(walks_max: usize) -> Self {
        Self {
            waiting: BTreeMap::from([((0, 0), Vec::new())]),
            made: 1,
            walks_left: walks_max,
            is_cut: false,
        }
    }

    /// The next walk; `None` if all orders, or as many as allowed, were walked.
    pub(crate) fn next(&mut self) -> Option<Walk<T>> {
        self.walks_left = self.walks_left.checked_sub(1)?;
        let (_, list) = self.waiting.pop_first()?;
        Some(Walk::along(list))
    }

    /// Adds the orders that branch off a finished walk after its list.
    pub(crate) fn walked(&mut self, walk: &Walk<T>) {
        for (depth, fork) in walk.forks.iter().enumerate().skip(walk.list.len()) {
            for option in fork.options.iter().skip(1) {
                let mut list = walk.arrived(depth);
                list.push(option.clone());
                self.waiting.insert((list.len(), self.made), list);
                self.made += 1;
            }
        }
        // The longest lists would never be walked.
        while self.waiting.len() > self.walks_left {
            self.waiting.pop_last();
            self.is_cut = true;
        }
    }

    /// Whether every order was walked.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.waiting.is_empty() && !self.is_cut
    }
}

impl<T: Clone + PartialEq> Walk<T> {
    /// A walk along a list, and then always along the first option.
    pub(crate) fn along(list: Vec<T>) -> Self {
        Self { list, dice: None, forks: Vec::new() }
    }

    /// A walk that draws each arrival.
    pub(crate) fn random(dice: Dice) -> Self {
        Self { list: Vec::new(), dice: Some(dice), forks: Vec::new() }
    }

    /// Chooses the next arrival among at least one option.
    pub(crate) fn choose(&mut self, options: &[T]) -> Result<usize, Misfit<T>> {
        let after = self.forks.len();
        let chosen = match (self.list.get(after), &mut self.dice) {
            (Some(wanted), _) => options
                .iter()
                .position(|option| option == wanted)
                .ok_or_else(|| Misfit { after, wanted: wanted.clone(), options: options.to_vec() })?,
            (None, Some(dice)) => dice.below(options.len() as u64) as usize,
            (None, None) => 0,
        };
        self.forks.push(Fork { options: options.to_vec(), chosen });
        Ok(chosen)
    }

    /// Ends the walk. It is an error if the list has more arrivals.
    pub(crate) fn end(&self) -> Result<(), Misfit<T>> {
        let after = self.forks.len();
        self.list
            .get(after)
            .map_or(Ok(()), |wanted| Err(Misfit { after, wanted: wanted.clone(), options: Vec::new() }))
    }

    /// The given list.
    pub(crate) fn given(&self) -> Vec<T> {
        self.list.clone()
    }

    /// The first arrivals, at most `count`.
    pub(crate) fn arrived(&self, count: usize) -> Vec<T> {
        self.forks.iter().take(count).map(|fork| fork.options[fork.chosen].clone()).collect()
    }

    /// How many have arrived.
    pub(crate) fn len(&self) -> usize {
        self.forks.len()
    }

    /// The shortest list that leads to the same order: first options at its end are left out.
    pub(crate) fn list(&self) -> Vec<T> {
        let last = self.forks.iter().rposition(|fork| fork.chosen > 0);
        self.arrived(last.map_or(0, |last| last + 1))
    }
}

/// Shortens a failing list as long as it fails: first at its end, then anywhere.
pub(crate) async fn shrink<T: Clone>(mut list: Vec<T>, mut fails: impl AsyncFnMut(&[T]) -> bool) -> Vec<T> {
    for length in 0..list.len() {
        if fails(&list[..length]).await {
            list.truncate(length);
            break;
        }
    }
    let mut index = 0;
    while index < list.len() {
        let mut shorter = list.clone();
        shorter.remove(index);
        if fails(&shorter).await {
            // Earlier arrivals may be needless now.
            list = shorter;
            index = 0;
        } else {
            index += 1;
        }
    }
    list
}
