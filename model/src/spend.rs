//! The budget of a way through a model: without one, there would be no end of states.

/// Spends one of what may still happen. `None` if nothing is left of it.
pub(crate) fn spend(left: &mut u8) -> Option<()> {
    *left = left.checked_sub(1)?;
    Some(())
}
