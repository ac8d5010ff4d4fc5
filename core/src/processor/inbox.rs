//! The processor's part that reads the inbox: which messages were read and are still in it, and the page that is being
//! delivered. It must not know what a message says.
//!
//! A cursor is valid for the shards that it was read with. Shards that were claimed later have a reader of their own,
//! which begins without a cursor, so that a claim does not have the messages of other shards read again. Once a reader
//! has caught up, its shards join the reader that has caught up before: the older cursor covers them as well, because
//! everything that it counts as read was visible when they were read. What became visible in between is read twice, and
//! recognised.
//!
//! While starts are held back, one more reader passes over them, so that open runs get their messages. The others stay
//! where they are, and go on when there is room for starts. What both read is recognised, too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::data::id::{InboxNo, RunId, ShardId};
use crate::processor::memory::{Held, MESSAGE_BYTES, Tally};
use crate::store::inbox::{InboxCursor, InboxMessage, InboxPage, InboxRead, MessageRef};

/// How many messages are read at once, at most.
const PAGE: u32 = 2_000;

/// How far the inbox has been read.
#[derive(Debug)]
pub(super) struct Inbox {
    tally: Tally,
    /// Messages that were taken from a page and are still in the inbox.
    taken: BTreeSet<MessageRef>,
    /// Messages that left the inbox during a read, which may still return them.
    settled: Vec<MessageRef>,
    read: Read,
    page: VecDeque<(InboxMessage, Held)>,
    /// Whether the page was read with starts.
    has_starts: bool,
    /// Messages that came before the start of their run, which was passed over. They are taken after it, and so are all that
    /// follow them, in the order of the readers that read starts.
    early: BTreeMap<RunId, BTreeSet<InboxNo>>,
    /// The readers, in the order of their turns. Every shard has one that reads starts.
    readers: VecDeque<Reader>,
    /// How many readers there have been.
    numbered: u64,
}

/// The progress of a read. It lasts until its page is used up: the rest of the page may hold messages that have left the
/// inbox meanwhile.
#[derive(Debug, Default)]
enum Read {
    #[default]
    None,
    /// It was requested for the reader of this number.
    Asked(u64),
    /// Its page is being delivered.
    Answered,
}

/// How far the inbox of some shards has been read.
#[derive(Debug)]
struct Reader {
    number: u64,
    shards: BTreeSet<ShardId>,
    cursor: InboxCursor,
    /// Whether there may be messages after the cursor.
    mail: bool,
    /// Whether everything has been read up to some time. One reader has, or none.
    level: bool,
    /// Whether it reads starts. The only reader that passes over them has all shards.
    starts: bool,
}

impl Inbox {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            tally,
            taken: BTreeSet::new(),
            settled: Vec::new(),
            read: Read::None,
            page: VecDeque::new(),
            has_starts: true,
            early: BTreeMap::new(),
            readers: VecDeque::new(),
            numbered: 0,
        }
    }

    /// Shards were claimed: reads them from the beginning. Messages that were taken already are recognised.
    pub(super) fn claim(&mut self, shards: BTreeSet<ShardId>) {
        // The next reader that passes over starts has these shards, too.
        self.readers.retain(|reader| reader.starts);
        self.begin(shards, true);
    }

    fn begin(&mut self, shards: BTreeSet<ShardId>, starts: bool) {
        self.numbered += 1;
        let (number, cursor) = (self.numbered, InboxCursor::default());
        self.readers.push_back(Reader { number, shards, cursor, mail: true, level: false, starts });
    }

    /// These shards go to another owner, which reads the messages that are still in the inbox.
    pub(super) fn leave(&mut self, shards: &BTreeSet<ShardId>) {
        self.drop_readers_of(shards);
        self.taken.retain(|message| !shards.contains(&message.shard));
        self.settled.retain(|message| !shards.contains(&message.shard));
        self.page.retain(|(message, _)| !shards.contains(&message.run.shard()));
        self.early.retain(|run, _| !shards.contains(&run.shard()));
        self.end_if_used_up();
    }

    fn drop_readers_of(&mut self, shards: &BTreeSet<ShardId>) {
        self.readers.iter_mut().for_each(|reader| reader.shards.retain(|shard| !shards.contains(shard)));
        self.readers.retain(|reader| !reader.shards.is_empty());
    }

    /// There may be messages for this shard.
    pub(super) fn has_mail_of(&mut self, shard: ShardId) {
        let readers = self.readers.iter_mut().filter(|reader| reader.shards.contains(&shard));
        readers.for_each(|reader| reader.mail = true);
    }

    /// Notes whether there may be messages for any shard.
    pub(super) fn has_mail(&mut self, mail: bool) {
        self.readers.iter_mut().for_each(|reader| reader.mail |= mail);
    }

    /// The cursor of those shards whose messages have all been read up to some time.
    pub(super) fn cursor(&self) -> InboxCursor {
        let level = self.readers.iter().find(|reader| reader.level);
        level.map(|reader| reader.cursor.clone()).unwrap_or_default()
    }

    /// Returns the next read, with starts or without them, if there may be something to read and the last page is used up.
    pub(super) fn ask(&mut self, starts: bool, bytes: usize) -> Option<InboxRead> {
        let Read::None = self.read else { return None };
        if !starts && self.readers.iter().all(|reader| reader.starts) {
            let shards = self.readers.iter().flat_map(|reader| reader.shards.iter().copied()).collect();
            self.begin(shards, false);
        }
        let next = self.readers.iter().position(|reader| reader.mail && reader.starts == starts)?;
        let mut reader = self.readers.remove(next)?;
        reader.mail = false;
        self.read = Read::Asked(reader.number);
        let (shards, cursor) = (reader.shards.iter().copied().collect(), reader.cursor.clone());
        self.readers.push_back(reader);
        let limit = u32::try_from(bytes / MESSAGE_BYTES).map_or(PAGE, |limit| limit.clamp(1, PAGE));
        Some(InboxRead { shards, cursor, limit, bytes, starts })
    }

    /// Whether a read is in progress, or its page is not used up.
    pub(super) fn is_reading(&self) -> bool {
        !matches!(self.read, Read::None)
    }

    fn asked(&mut self) -> Option<usize> {
        let Read::Asked(number) = std::mem::replace(&mut self.read, Read::Answered) else { return None };
        self.readers.iter().position(|reader| reader.number == number)
    }

    /// Takes the answer. It may cover shards that have left since: their messages are not delivered, not even if the shard
    /// was claimed again.
    pub(super) fn answer(&mut self, page: InboxPage) {
        if let Some(index) = self.asked() {
            let reader = &mut self.readers[index];
            reader.cursor = page.cursor;
            reader.mail |= page.more;
            let messages = page.messages.into_iter();
            let messages = messages.filter(|message| reader.shards.contains(&message.run.shard()));
            self.has_starts = reader.starts;
            let hold = |message: InboxMessage| {
                let held = self.tally.hold(MESSAGE_BYTES + message.body.len());
                (message, held)
            };
            self.page = messages.map(hold).collect();
            if !page.more && reader.starts {
                self.caught_up(index);
            }
        }
        self.end_if_used_up();
    }

    /// A reader has read everything: its shards join those that were level before, if there are any.
    fn caught_up(&mut self, index: usize) {
        let Some(mut reader) = self.readers.remove(index) else { return };
        if let Some(level) = self.readers.iter_mut().find(|other| other.level) {
            level.shards.append(&mut reader.shards);
            level.mail |= reader.mail;
        } else {
            self.readers.push_back(Reader { level: true, ..reader });
        }
    }

    /// The read failed, and must be repeated.
    pub(super) fn failed(&mut self) {
        if let Some(index) = self.asked() {
            self.readers[index].mail = true;
        }
        self.end_if_used_up();
    }

    /// Takes the next message of the page that was not taken already.
    pub(super) fn take(&mut self) -> Option<(InboxMessage, Held)> {
        let mut next = None;
        while next.is_none()
            && let Some((message, held)) = self.page.pop_front()
        {
            let (shard, number, id) = (message.run.shard(), message.number, message.message);
            let reference = MessageRef { shard, number, message: id };
            if !self.taken.contains(&reference) && self.is_early(&message) {
                continue;
            }
            next = self.taken.insert(reference).then_some((message, held));
        }
        self.end_if_used_up();
        next
    }

    /// These messages have left the inbox.
    pub(super) fn settle<'a>(&mut self, messages: impl IntoIterator<Item = &'a MessageRef>) {
        if let Read::None = self.read {
            messages.into_iter().for_each(|message| _ = self.taken.remove(message));
        } else {
            self.settled.extend(messages);
        }
    }

    /// These messages came before the start of their run, which was passed over: they are read again after it.
    pub(super) fn forget(&mut self, run: RunId, messages: &[MessageRef]) {
        for message in messages {
            self.taken.remove(message);
            self.early.entry(run).or_default().insert(message.number);
        }
    }

    /// Whether a message has to wait until those of its run are taken that came too early.
    fn is_early(&mut self, message: &InboxMessage) -> bool {
        let Some(early) = self.early.get_mut(&message.run) else { return false };
        if !self.has_starts {
            early.insert(message.number);
            return true;
        }
        early.remove(&message.number);
        if early.is_empty() {
            self.early.remove(&message.run);
        }
        false
    }

    /// Reads these messages again, from the beginning of their shards' inbox.
    pub(super) fn read_again(&mut self, messages: &[MessageRef]) {
        messages.iter().for_each(|message| _ = self.taken.remove(message));
        let shards = messages.iter().map(|message| message.shard).collect();
        self.drop_readers_of(&shards);
        // What follows them in the page must not overtake them.
        self.page.retain(|(message, _)| !shards.contains(&message.run.shard()));
        self.claim(shards);
        self.end_if_used_up();
    }

    /// Once no read is in progress, messages that left the inbox are not returned again.
    fn end_if_used_up(&mut self) {
        if let Read::Answered = self.read
            && self.page.is_empty()
        {
            self.read = Read::None;
        }
        if let Read::None = self.read {
            for message in self.settled.drain(..) {
                self.taken.remove(&message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::id::MessageId;
    use crate::testing::BORN;
    use bytes::Bytes;

    fn shard(number: u16) -> ShardId {
        ShardId::new(number).expect("the number is small")
    }

    fn shards<const COUNT: usize>(numbers: [u16; COUNT]) -> BTreeSet<ShardId> {
        numbers.into_iter().map(shard).collect()
    }

    fn message(of: u16, number: u64) -> InboxMessage {
        let (run, id) = (RunId::new(BORN, shard(of), number), MessageId::from_u128(u128::from(number)));
        InboxMessage { number: InboxNo::new(number), run, current: run, message: id, body: Bytes::new() }
    }

    fn page<const COUNT: usize>(
        cursor: &'static str,
        messages: [InboxMessage; COUNT],
        more: bool,
    ) -> InboxPage {
        let cursor = InboxCursor(Bytes::from_static(cursor.as_bytes()));
        InboxPage { messages: messages.into(), cursor, more, now: BORN }
    }

    /// The next read: its shards, and its cursor.
    fn ask(inbox: &mut Inbox) -> Option<(Vec<u16>, String)> {
        let InboxRead { shards, cursor, .. } = inbox.ask(true, usize::MAX)?;
        let cursor = String::from_utf8(cursor.0.to_vec()).expect("a test's cursor is text");
        Some((shards.into_iter().map(ShardId::get).collect(), cursor))
    }

    fn taken(inbox: &mut Inbox) -> Vec<u64> {
        std::iter::from_fn(|| inbox.take()).map(|(message, _)| message.number.get()).collect()
    }

    /// An inbox that has read everything of shard 1, where messages 5 and 6 wait to be logged.
    fn level() -> Inbox {
        let mut inbox = Inbox::new(Tally::unlimited());
        inbox.claim(shards([1]));
        assert_eq!(ask(&mut inbox), Some((vec![1], String::new())));
        inbox.answer(page("A", [message(1, 5), message(1, 6)], false));
        assert_eq!(taken(&mut inbox), [5, 6]);
        inbox
    }

    #[test]
    fn claimed_shard_is_read_by_itself_until_it_has_caught_up() {
        // Given a backlog of two pages in a claimed shard
        let mut inbox = level();
        inbox.claim(shards([2]));
        assert_eq!(ask(&mut inbox), Some((vec![2], String::new())));
        inbox.answer(page("B1", [message(2, 3)], true));
        assert_eq!(inbox.cursor().0, "A", "a heartbeat asks for what comes after the level cursor");
        assert_eq!(taken(&mut inbox), [3]);

        // When it was read, the older cursor serves both, and what is read twice is recognised
        assert_eq!(ask(&mut inbox), Some((vec![2], "B1".to_owned())));
        inbox.answer(page("B2", [message(2, 9)], false));
        assert_eq!(taken(&mut inbox), [9]);
        inbox.has_mail(true);
        assert_eq!(ask(&mut inbox), Some((vec![1, 2], "A".to_owned())));
        inbox.answer(page("A2", [message(2, 9), message(1, 10)], false));
        assert_eq!(taken(&mut inbox), [10]);
    }

    #[test]
    fn answer_for_a_shard_that_left_and_came_back_is_dropped() {
        // Given a read of two shards, of which one leaves and is claimed again meanwhile
        let mut inbox = level();
        inbox.claim(shards([2]));
        inbox.has_mail(true);
        assert_eq!(ask(&mut inbox), Some((vec![1], "A".to_owned())));
        inbox.leave(&shards([1]));
        inbox.claim(shards([1]));
        inbox.answer(page("A2", [message(1, 7)], false));
        assert_eq!(taken(&mut inbox), [0; 0], "another owner may have consumed the message");

        // Then the shard is read from the beginning
        assert_eq!(ask(&mut inbox), Some((vec![2], String::new())));
        inbox.answer(page("B", [], false));
        assert_eq!(ask(&mut inbox), Some((vec![1], String::new())));
        inbox.answer(page("C", [message(1, 5), message(1, 7)], false));
        assert_eq!(taken(&mut inbox), [5, 7]);
    }

    #[test]
    fn messages_of_all_shards_are_read_while_starts_are_passed_over() {
        // Given shards that are read separately
        let mut inbox = level();
        inbox.claim(shards([2]));
        // When starts are held back, then one reader has all of them, and what was taken is recognised
        let read = inbox.ask(false, usize::MAX).expect("there may be messages");
        assert_eq!((read.shards.len(), read.cursor, read.starts), (2, InboxCursor::default(), false));
        inbox.answer(page("passed", [message(1, 5), message(2, 9)], false));
        assert_eq!(taken(&mut inbox), [9]);
        assert_eq!(inbox.cursor().0, "A", "it counts for no other reader");
        assert_eq!(inbox.ask(false, usize::MAX), None);
        // When there is room again, then the others go on where they were
        assert_eq!(ask(&mut inbox), Some((vec![2], String::new())));
        inbox.answer(page("B", [message(2, 8), message(2, 9)], false));
        assert_eq!(taken(&mut inbox), [8]);
        inbox.has_mail_of(shard(2));
        let read = inbox.ask(false, usize::MAX).expect("there may be messages");
        assert_eq!(read.cursor.0, "passed");
    }

    #[test]
    fn message_before_the_start_of_its_run_is_taken_again_after_it() {
        let mut inbox = level();
        assert!(inbox.ask(false, usize::MAX).is_some());
        let early = message(1, 8);
        inbox.answer(page("passed", [early.clone()], false));
        assert_eq!(taken(&mut inbox), [8]);
        inbox.forget(
            early.run,
            &[MessageRef { shard: shard(1), number: early.number, message: early.message }],
        );
        // And one that follows it does not overtake it, even if the start is read in between
        let next = || InboxMessage { run: early.run, ..message(1, 9) };
        let start = || InboxMessage { run: early.run, ..message(1, 7) };
        inbox.has_mail(true);
        assert_eq!(ask(&mut inbox), Some((vec![1], "A".to_owned())));
        inbox.answer(page("A2", [start()], true));
        assert_eq!(taken(&mut inbox), [7]);
        assert!(inbox.ask(false, usize::MAX).is_some());
        inbox.answer(page("passed 2", [next()], false));
        assert_eq!(taken(&mut inbox), [0; 0]);
        assert_eq!(ask(&mut inbox), Some((vec![1], "A2".to_owned())));
        inbox.answer(page("A3", [early.clone(), next()], false));
        assert_eq!(taken(&mut inbox), [8, 9]);
        // When they have been taken, the run's messages go their ways again
        inbox.has_mail(true);
        assert!(inbox.ask(false, usize::MAX).is_some());
        inbox.answer(page("passed 3", [InboxMessage { run: early.run, ..message(1, 10) }], false));
        assert_eq!(taken(&mut inbox), [10]);
    }

    #[test]
    fn messages_that_are_read_again_are_not_overtaken_by_the_rest_of_the_page() {
        let mut inbox = level();
        inbox.has_mail(true);
        assert!(ask(&mut inbox).is_some());
        inbox.answer(page("A2", [message(1, 7), message(1, 8)], false));
        assert_eq!(inbox.take().map(|(message, _)| message.number.get()), Some(7));
        let again = message(1, 5);
        inbox.read_again(&[MessageRef { shard: shard(1), number: again.number, message: again.message }]);
        assert_eq!(taken(&mut inbox), [0; 0]);
        assert_eq!(ask(&mut inbox), Some((vec![1], String::new())));
        inbox.answer(page("B", [again, message(1, 6), message(1, 7), message(1, 8)], false));
        assert_eq!(taken(&mut inbox), [5, 8]);
    }

    #[test]
    fn rest_of_a_page_is_dropped_with_its_shard() {
        let mut inbox = level();
        inbox.has_mail(true);
        assert!(ask(&mut inbox).is_some());
        inbox.answer(page("A2", [message(1, 7), message(1, 8)], false));
        inbox.leave(&shards([1]));
        assert_eq!(taken(&mut inbox), [0; 0]);
        assert_eq!(ask(&mut inbox), None);
    }

    #[test]
    fn message_that_left_the_inbox_during_a_read_is_not_taken_again() {
        let mut inbox = level();
        inbox.has_mail(true);
        assert!(ask(&mut inbox).is_some());
        let settled = message(1, 5);
        inbox.settle([&MessageRef { shard: shard(1), number: settled.number, message: settled.message }]);
        inbox.answer(page("A2", [settled, message(1, 7)], false));
        assert_eq!(taken(&mut inbox), [7]);
        assert!(inbox.settled.is_empty());
    }
}
