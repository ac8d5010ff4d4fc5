//! How far a reader has read the inbox, as a value and as bytes. This file reads nothing from the database.
//!
//! A message may take its number early and commit late, so "read up to number n" is not enough. A reader has read what
//! was visible in a snapshot. The cursor also holds the greatest number read. After a crash the server may reuse a
//! transaction id that a snapshot counts as finished, if that transaction left nothing durable. A message which is then
//! written under the reused id has a greater number than any that was read. That is true of one server only: a standby that is
//! promoted may have lost the numbers, too. So a cursor names the server that it was read from, by the time of its start, and
//! is worth nothing to another one.

use bytes::Bytes;
use pgworkflows_core::store::{InboxCursor, StoreError};

/// How much of the inbox of a fixed set of shards has been read. An owner that gets another shard starts a new cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// When the server started that it was read from, in microseconds since 1970.
    pub(crate) server: i64,
    /// Everything visible in this snapshot has been read; `None` at the beginning.
    pub(crate) seen: Option<String>,
    /// The greatest number read.
    pub(crate) greatest: i64,
    /// The progress of a read that takes several pages.
    pub(crate) paging: Option<Paging>,
}

/// The progress of a read that has further pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    /// The first page's snapshot. All pages read what was visible in it; otherwise a client's second message could be
    /// read before its first, which was committed later under a smaller number.
    pub(crate) snapshot: String,
    /// The number of the last message read.
    pub(crate) last: i64,
}

impl Cursor {
    /// The first transaction id after the latest snapshot.
    pub(crate) fn xmax(&self) -> Result<u64, StoreError> {
        let snapshot = self.paging.as_ref().map(|paging| &paging.snapshot).or(self.seen.as_ref());
        snapshot.map_or(Ok(0), |snapshot| xmax(snapshot))
    }

    /// The cursor as bytes: fields separated by bars.
    pub(crate) fn encode(&self) -> InboxCursor {
        let seen = self.seen.as_deref().unwrap_or_default();
        let mut text = format!("{}|{seen}|{}", self.server, self.greatest);
        if let Some(Paging { snapshot, last }) = &self.paging {
            text.push_str(&format!("|{snapshot}|{last}"));
        }
        InboxCursor(Bytes::from(text))
    }

    /// The cursor that [`Cursor::encode`] wrote; the empty one is the beginning.
    pub(crate) fn decode(cursor: &InboxCursor) -> Result<Self, StoreError> {
        if cursor.0.is_empty() {
            return Ok(Self::default());
        }
        Self::parse(&cursor.0).ok_or_else(|| {
            let text = String::from_utf8_lossy(&cursor.0);
            StoreError::corrupt(format!(
                "`{text}` is not an inbox cursor of this store: read the inbox from the start"
            ))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<&str> = std::str::from_utf8(bytes).ok()?.split('|').collect();
        let (server, seen, greatest, paging) = match fields[..] {
            [server, seen, greatest] => (server, seen, greatest, None),
            [server, seen, greatest, snapshot, last] => {
                let paging = Paging { snapshot: snapshot.to_owned(), last: last.parse().ok()? };
                (server, seen, greatest, Some(paging))
            }
            _ => return None,
        };
        Some(Self {
            server: server.parse().ok()?,
            seen: (!seen.is_empty()).then(|| seen.to_owned()),
            greatest: greatest.parse().ok()?,
            paging,
        })
    }
}

/// The `xmax` of a snapshot in PostgreSQL's text form, `xmin:xmax:xip,…`.
pub(crate) fn xmax(snapshot: &str) -> Result<u64, StoreError> {
    snapshot
        .split(':')
        .nth(1)
        .and_then(|xmax| xmax.parse().ok())
        .ok_or_else(|| StoreError::corrupt(format!("`{snapshot}` is not a snapshot")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_decoded_as_it_was_encoded() {
        let whole = Cursor { server: 7, seen: Some("10:20:12,15".to_owned()), greatest: 99, paging: None };
        let unfinished =
            Cursor { paging: Some(Paging { snapshot: "30:40:".to_owned(), last: 120 }), ..whole.clone() };
        for cursor in [Cursor::default(), whole, unfinished] {
            assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }
        assert_eq!(Cursor::decode(&InboxCursor::default()).unwrap(), Cursor::default());
    }

    #[test]
    fn bytes_of_another_format_are_refused() {
        let error = Cursor::decode(&InboxCursor(Bytes::from_static(b"a|b|c"))).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn the_xmax_is_that_of_the_latest_snapshot() {
        let mut cursor = Cursor { seen: Some("10:20:12,15".to_owned()), ..Cursor::default() };
        assert_eq!(cursor.xmax().unwrap(), 20);
        cursor.paging = Some(Paging { snapshot: "30:40:".to_owned(), last: 0 });
        assert_eq!(cursor.xmax().unwrap(), 40);
    }
}
