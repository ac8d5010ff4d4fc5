//! A history in words, one line per event.

use pgworkflows::HistoryEvent;

pub(crate) fn timeline(history: &[HistoryEvent]) -> String {
    let line = |event: &HistoryEvent| {
        format!("{:>4} {} {} {:?}\n", event.seq, event.at, event.event.name(), event.event)
    };
    history.iter().map(line).collect()
}
