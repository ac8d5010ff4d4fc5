//! Runs the checker: explores all states of a protocol, or finds the shortest way to break a property. It must not know what
//! is modelled.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model, Path};

/// A model of a protocol, with rules that it can do without.
pub trait Protocol
where
    Self: Clone + Send + Sync + 'static,
    Self: Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Copy + Debug + PartialEq>,
{
    /// Its rules.
    type Guard: Guard;

    /// The protocol without one of its rules, within bounds in which that shows.
    fn without(guard: Self::Guard) -> Self;

    /// A step in words, by the state before it.
    fn tell(before: &Self::State, step: Self::Action) -> String;
}

/// A rule of a protocol. The model does without it to show what it is good for.
pub trait Guard: Copy + Debug + Eq + Send + Sync + 'static {
    /// Every rule of the protocol.
    const ALL: &'static [Self];

    /// The property that breaks without it.
    fn protects(self) -> &'static str;
}

/// The rules of a protocol: all of them, or all but one.
#[derive(Clone, Copy, Debug)]
pub struct Guards<G>(Option<G>);

impl<G: Guard> Guards<G> {
    /// The protocol as it is.
    pub const ALL: Self = Self(None);

    /// All rules but this one.
    pub fn without(guard: G) -> Self {
        Self(Some(guard))
    }

    /// Whether the protocol keeps this rule.
    pub fn has(&self, guard: G) -> bool {
        self.0 != Some(guard)
    }
}

/// Explores every state of the protocol within its bounds, and returns how many there are.
///
/// # Panics
///
/// If a property does not hold, or if something that has to be possible is not. The panic shows a way there.
pub fn explore<P: Protocol>(protocol: P) -> usize {
    let checker = protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// Removes each rule of the protocol by itself, and tells the shortest way on which a property breaks then.
///
/// # Panics
///
/// If the property that a rule protects holds without it.
pub fn counter_examples<P: Protocol>() -> String {
    let mut told = String::new();
    for guard in P::Guard::ALL {
        let (property, protocol) = (guard.protects(), P::without(*guard));
        let path = counter_example(&protocol, property);
        let path = path.unwrap_or_else(|| panic!("{guard:?} is not needed: \"{property}\" holds without it"));
        writeln!(told, "Without {guard:?}, this does not hold: {property}.").expect("a string takes it");
        for (before, step) in path.into_vec() {
            let step = step.map(|step| P::tell(&before, step));
            step.into_iter().for_each(|step| writeln!(told, "  {step}").expect("a string takes it"));
        }
        told.push('\n');
    }
    told.truncate(told.trim_end().len());
    told.push('\n');
    told
}

/// Returns the shortest way on which the property breaks, unless it holds in every state.
pub fn counter_example<P: Protocol>(
    protocol: &P,
    property: &'static str,
) -> Option<Path<P::State, P::Action>> {
    let mut shortest: Option<Path<P::State, P::Action>> = None;
    // The checker goes on for a while after its first find, and keeps the last one.
    while let Some(shorter) =
        find(protocol, property, shortest.as_ref().map(|path| path.clone().into_vec().len()))
    {
        shortest = Some(shorter);
    }
    shortest
}

/// Returns a way on which the property breaks, with fewer states than that.
fn find<P: Protocol>(
    protocol: &P,
    property: &'static str,
    below: Option<usize>,
) -> Option<Path<P::State, P::Action>> {
    let until = HasDiscoveries::AllOf(BTreeSet::from([property]));
    let checker = protocol.clone().checker().finish_when(until);
    // The checker does not look at states at its greatest depth. 0 is no limit.
    let checker = checker.target_max_depth(below.unwrap_or(0)).spawn_bfs().join();
    checker.discovery(property)
}

#[cfg(test)]
pub(crate) mod tests {
    //! What the tests of every protocol assert.

    use expect_test::ExpectFile;

    use super::{Protocol, counter_examples, explore};

    /// Explores the protocol with all its rules, and asserts that it has at least that many states: with fewer, its bounds
    /// have become so narrow that nothing happens in it.
    pub(crate) fn holds<P: Protocol>(protocol: P, states_min: usize) {
        let states = explore(protocol);
        assert!(states >= states_min, "only {states} states, expected at least {states_min}");
    }

    /// Removes each rule, and compares the ways on which a property breaks then with those of a file. `UPDATE_EXPECT=1`
    /// writes it.
    pub(crate) fn needs_every_rule<P: Protocol>(traces: ExpectFile) {
        traces.assert_eq(&counter_examples::<P>());
    }
}
