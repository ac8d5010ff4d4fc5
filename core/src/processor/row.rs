//! A run's row in the store, which tells people and the next owner what an open run is doing. It must not know when it is
//! written.

use crate::data::limits;
use crate::data::name::Name;
use crate::data::text;
use crate::processor::group::RowChange;
use crate::store::append::OpenRow;

/// A run's row in the store, as it will be when all queued groups are committed.
pub(super) enum Row {
    /// There is no row.
    Absent,
    /// A row that this processor has not read.
    Unknown,
    Known(OpenRow),
}

impl Row {
    /// The row that a start in the inbox comes with, which counts as that of a busy run once the run has an event; and the row
    /// with which a run continues another.
    pub(super) fn submitted() -> Self {
        Self::Known(OpenRow::default())
    }

    /// Returns the change that must be written to make this the row, if any.
    pub(super) fn change(&mut self, workflow: &Name, row: OpenRow) -> Option<RowChange> {
        if matches!(self, Self::Known(known) if *known == row) {
            return None;
        }
        let workflow = matches!(self, Self::Absent).then(|| workflow.clone());
        *self = Self::Known(row.clone());
        Some(RowChange::Open { workflow, row })
    }
}

/// Limits a text to characters that every store can hold and to a length that people read.
pub(super) fn printable(text: String) -> String {
    text::printable(&text, limits::WAITING_ON_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::append::OpenState;

    #[test]
    fn row_is_written_when_it_differs_and_opened_once() {
        let workflow = Name::from_static("works");
        let row = |state| OpenRow { state, ..OpenRow::default() };
        let mut absent = Row::Absent;
        let opened = absent.change(&workflow, row(OpenState::Busy));
        assert!(matches!(opened, Some(RowChange::Open { workflow: Some(_), .. })));
        assert!(absent.change(&workflow, row(OpenState::Busy)).is_none());
        let updated = absent.change(&workflow, row(OpenState::Parked));
        assert!(matches!(updated, Some(RowChange::Open { workflow: None, .. })));
        let unknown = Row::Unknown.change(&workflow, row(OpenState::Busy));
        assert!(matches!(unknown, Some(RowChange::Open { workflow: None, .. })));
        assert!(Row::submitted().change(&workflow, row(OpenState::Busy)).is_none());
        assert!(Row::submitted().change(&workflow, row(OpenState::Parked)).is_some());
    }

    #[test]
    fn text_of_a_row_is_cut_and_has_no_control_characters() {
        assert_eq!(printable("a\u{0}b\tc\nd".to_owned()), "abc\nd");
        assert_eq!(
            printable("x".repeat(limits::WAITING_ON_CHARS_MAX + 1)).len(),
            limits::WAITING_ON_CHARS_MAX
        );
    }
}
