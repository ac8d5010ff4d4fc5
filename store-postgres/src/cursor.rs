//! How far somebody has read the inbox, as a value and as bytes. It reads nothing itself.
//!
//! A message's number may be taken early and committed late, so "up to number n" says nothing. What has been read is
//! what was visible in a snapshot. The greatest number read comes in addition: after a crash the server may give
//! a transaction id again that a snapshot counts as finished, if its transaction left nothing durable; what is
//! written under it then has a number that was never seen.

use bytes::Bytes;
use pgworkflows_core::store::{InboxCursor, StoreError};

/// What has been read of the inbox of some shards: always the same ones. Who gets another shard begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Everything visible in this snapshot has been read; `None` at the beginning.
    pub(crate) behind: Option<String>,
    /// The greatest number read.
    pub(crate) greatest: i64,
    /// Where a read in pages stands.
    pub(crate) paging: Option<Paging>,
}

/// A read that has not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    /// The snapshot of its first page: all pages read what was visible in it, or a client's second message
    /// could come before its first, which was committed later under a smaller number.
    pub(crate) snapshot: String,
    /// The number of the last message read.
    pub(crate) last: i64,
}

impl Cursor {
    /// The first transaction id that the last snapshot knew nothing of.
    pub(crate) fn xmax(&self) -> Result<u64, StoreError> {
        let snapshot = self.paging.as_ref().map(|paging| &paging.snapshot).or(self.behind.as_ref());
        snapshot.map_or(Ok(0), |snapshot| xmax(snapshot))
    }

    /// The cursor in a store's own writing: fields between bars.
    pub(crate) fn encode(&self) -> InboxCursor {
        let mut text = format!("{}|{}", self.behind.as_deref().unwrap_or_default(), self.greatest);
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
            StoreError::corrupt(format!("`{text}` is not an inbox cursor of this store"))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fields: Vec<&str> = std::str::from_utf8(bytes).ok()?.split('|').collect();
        let (behind, greatest, paging) = match fields[..] {
            [behind, greatest] => (behind, greatest, None),
            [behind, greatest, snapshot, last] => {
                let paging = Paging { snapshot: snapshot.to_owned(), last: last.parse().ok()? };
                (behind, greatest, Some(paging))
            }
            _ => return None,
        };
        Some(Self {
            behind: (!behind.is_empty()).then(|| behind.to_owned()),
            greatest: greatest.parse().ok()?,
            paging,
        })
    }
}

/// The `xmax` of a snapshot in PostgreSQL's writing, `xmin:xmax:xip,…`.
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
    fn a_cursor_survives_its_writing() {
        let whole = Cursor { behind: Some("10:20:12,15".to_owned()), greatest: 99, paging: None };
        let unfinished =
            Cursor { paging: Some(Paging { snapshot: "30:40:".to_owned(), last: 120 }), ..whole.clone() };
        for cursor in [Cursor::default(), whole, unfinished] {
            assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }
        assert_eq!(Cursor::decode(&InboxCursor::default()).unwrap(), Cursor::default());
    }

    #[test]
    fn bytes_of_somebody_else_are_no_cursor() {
        let error = Cursor::decode(&InboxCursor(Bytes::from_static(b"a|b|c"))).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn the_xmax_is_that_of_the_latest_snapshot() {
        let mut cursor = Cursor { behind: Some("10:20:12,15".to_owned()), ..Cursor::default() };
        assert_eq!(cursor.xmax().unwrap(), 20);
        cursor.paging = Some(Paging { snapshot: "30:40:".to_owned(), last: 0 });
        assert_eq!(cursor.xmax().unwrap(), 40);
    }
}
