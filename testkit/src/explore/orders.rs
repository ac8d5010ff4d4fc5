//! The orders in which things can arrive: a tree whose branches become known only while somebody walks it. Pure:
//! it must not know what arrives, nor where.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::runtime::dice::Dice;

/// The orders of a tree, the shortest list first: an order is named by what arrives first, and goes on with the
/// first of the options wherever its list is at its end. So the first order that fails has the shortest list.
#[derive(Debug)]
pub(crate) struct Orders<T> {
    /// The lists that nobody walked yet, by their length and age.
    waiting: BTreeMap<(usize, usize), Vec<T>>,
    made: usize,
    walks_left: usize,
    /// Whether lists were let go, because there are more than may be walked.
    is_cut: bool,
}

/// One walk from the root of the tree to a leaf.
#[derive(Debug)]
pub(crate) struct Walk<T> {
    /// What arrives first.
    list: Vec<T>,
    /// What draws the rest; without it, the first option comes.
    dice: Option<Dice>,
    forks: Vec<Fork<T>>,
}

/// A point of a walk, and what could have come there.
#[derive(Debug)]
struct Fork<T> {
    options: Vec<T>,
    chosen: usize,
}

/// What was to arrive cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit<T> {
    /// How many had arrived before.
    pub(crate) after: usize,
    /// What was to come.
    pub(crate) wanted: T,
    /// What could have come.
    pub(crate) options: Vec<T>,
}

impl<T: Clone + PartialEq> Orders<T> {
    /// All orders, of which at most so many are walked.
    pub(crate) fn new(walks_max: usize) -> Self {
        Self {
            waiting: BTreeMap::from([((0, 0), Vec::new())]),
            made: 1,
            walks_left: walks_max,
            is_cut: false,
        }
    }

    /// The next walk; `None` where all are walked, or as many as may be.
    pub(crate) fn next(&mut self) -> Option<Walk<T>> {
        self.walks_left = self.walks_left.checked_sub(1)?;
        let (_, list) = self.waiting.pop_first()?;
        Some(Walk::along(list))
    }

    /// A walk came to its end: where it went on with the first option, others lead to further orders.
    pub(crate) fn walked(&mut self, walk: &Walk<T>) {
        for (depth, fork) in walk.forks.iter().enumerate().skip(walk.list.len()) {
            for option in fork.options.iter().skip(1) {
                let mut list = walk.arrived(depth);
                list.push(option.clone());
                self.waiting.insert((list.len(), self.made), list);
                self.made += 1;
            }
        }
        // The longest lists are those that would never be walked.
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

    /// A walk that draws its way.
    pub(crate) fn random(dice: Dice) -> Self {
        Self { list: Vec::new(), dice: Some(dice), forks: Vec::new() }
    }

    /// Which of the options, of which there is one at least, comes next.
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

    /// Nothing more can arrive: an error if the list has more.
    pub(crate) fn end(&self) -> Result<(), Misfit<T>> {
        let after = self.forks.len();
        self.list
            .get(after)
            .map_or(Ok(()), |wanted| Err(Misfit { after, wanted: wanted.clone(), options: Vec::new() }))
    }

    /// The list that was given.
    pub(crate) fn given(&self) -> Vec<T> {
        self.list.clone()
    }

    /// The first arrivals, at most so many.
    pub(crate) fn arrived(&self, count: usize) -> Vec<T> {
        self.forks.iter().take(count).map(|fork| fork.options[fork.chosen].clone()).collect()
    }

    /// How many have arrived.
    pub(crate) fn len(&self) -> usize {
        self.forks.len()
    }

    /// The shortest list that leads the same way: what comes first among the options comes by itself.
    pub(crate) fn list(&self) -> Vec<T> {
        let last = self.forks.iter().rposition(|fork| fork.chosen > 0);
        self.arrived(last.map_or(0, |last| last + 1))
    }
}

/// Makes a failing list shorter as long as it fails: first its end is left out, then whatever can be.
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
            // What stood before may be needless now.
            list = shorter;
            index = 0;
        } else {
            index += 1;
        }
    }
    list
}
