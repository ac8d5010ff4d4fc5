//! The owner of shards as a reader: it reads, takes, merges its cursors, and logs.

use crate::check::Guards;
use crate::inbox::database::Row;
use crate::inbox::process::{Process, Reading};
use crate::inbox::{Guard, State, property};

impl Process {
    /// Takes the next message of the page, unless it was taken before.
    pub(super) fn take(&mut self, guards: &Guards<Guard>) -> Option<()> {
        let reading = self.reading.as_mut().filter(|reading| reading.arrived)?;
        let (rows, _) = &mut reading.answer;
        let row = rows.remove(0);
        let is_known = guards.has(Guard::TakenIsRemembered) && self.taken.contains(&row);
        if self.serves(row.shard()) && !is_known {
            self.taken.push(row);
            self.queued.push(row);
        }
        self.taken.sort_unstable();
        self.end_read_if_used_up();
        Some(())
    }
}

impl State {
    pub(super) fn process(&mut self, by: u8) -> &mut Process {
        &mut self.processes[usize::from(by)]
    }

    /// A read that returns nothing, and whose snapshot tells nothing new, is left out.
    pub(super) fn read(&mut self, guards: &Guards<Guard>, by: u8, cursor: usize) -> Option<()> {
        let paged = self.left.paged;
        let process = &mut self.processes[usize::from(by)];
        if process.reading.is_some() {
            return None;
        }
        let from = process.cursors[cursor];
        let (rows, after) = from.read(guards, &self.database, paged);
        if after == from {
            return None;
        }
        process.reading =
            Some(Reading { from, changes: process.changes, answer: (rows, after), arrived: false });
        Some(())
    }

    pub(super) fn answer_read(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let process = self.process(by);
        let changes = process.changes;
        let reading = process.reading.as_mut().filter(|reading| !reading.arrived)?;
        let (rows, after) = &mut reading.answer;
        reading.arrived = true;
        if reading.changes != changes && guards.has(Guard::OldReadIsDropped) {
            rows.clear();
        } else if let Some(cursor) = process.cursors.iter_mut().find(|cursor| cursor.shards == after.shards) {
            *cursor = *after;
        }
        process.end_read_if_used_up();
        Some(())
    }

    pub(super) fn append(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let queued = std::mem::take(&mut self.process(by).queued);
        if queued.is_empty() {
            return None;
        }
        if queued.iter().any(|row| self.database.owners[usize::from(row.shard())] != Some(by)) {
            return self.lose(by);
        }
        for row in queued {
            let by_id = guards.has(Guard::ConsumedIsNamedById);
            let is_named = |other: &Row| other.number == row.number && (other.id == row.id || !by_id);
            let Some(place) = self.database.inbox.iter().position(is_named) else {
                if !self.lost.contains(&row.id) {
                    self.breaks(property::NO_CONFLICT);
                }
                return self.lose(by);
            };
            self.database.inbox.remove(place);
            if !(guards.has(Guard::RunKnowsItsMessages) && self.database.logged.contains(&row.id)) {
                self.database.logged.push(row.id);
            }
        }
        self.process(by).end_read_if_used_up();
        Some(())
    }

    pub(super) fn merge(&mut self, guards: &Guards<Guard>, by: u8) -> Option<()> {
        let process = self.process(by);
        let [one, two] = process.cursors[..] else { return None };
        if process.reading.is_some() {
            return None;
        }
        process.cursors = vec![one.merge(guards, two)?];
        Some(())
    }
}
