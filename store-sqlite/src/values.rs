//! Converts the seam's ids, numbers and times to and from database values. It must not know a table.

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{
    AppendNo, ClaimId, EventSeq, ExecutorId, InboxNo, LeaseId, MessageId, Name, Position, RunId, ShardId,
};
use pgworkflows_core::store::{ClosedStatus, OpenState, StoreError, SuspectStage};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Decode, Row, Type};

/// The values of parameters, in order. Those of several statements can be joined, which the driver's own cannot.
#[derive(Default)]
pub(crate) struct Arguments(Vec<Argument>);

/// A value as it is stored.
enum Argument {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Arguments {
    /// None, with room for so many.
    pub(crate) fn with_capacity(values: usize) -> Self {
        Self(Vec::with_capacity(values))
    }

    /// Adds the next one.
    pub(crate) fn add(&mut self, value: impl Value) -> &mut Self {
        value.add_to(self);
        self
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds those of the next statement.
    pub(crate) fn extend(&mut self, next: Self) {
        self.0.extend(next.0);
    }

    /// What the driver binds.
    pub(crate) fn encode(self) -> SqliteArguments {
        let mut encoded = SqliteArguments::default();
        encoded.reserve(self.0.len(), 0);
        for argument in self.0 {
            let added = match argument {
                Argument::Null => encoded.add(None::<i64>),
                Argument::Integer(number) => encoded.add(number),
                Argument::Text(text) => encoded.add(text),
                Argument::Blob(bytes) => encoded.add(bytes),
            };
            added.expect("the driver encodes every integer, text and blob");
        }
        encoded
    }
}

/// Something that can be the value of a parameter.
pub(crate) trait Value {
    fn add_to(self, arguments: &mut Arguments);
}

/// Something that can be read from a column.
pub(crate) trait Column: Sized {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError>;
}

/// The value of a column.
pub(crate) fn get<T: Column>(row: &SqliteRow, index: usize) -> Result<T, StoreError> {
    T::read(row, index)
}

fn decode<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(
    row: &'r SqliteRow,
    index: usize,
) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::corrupt(error.to_string()))
}

macro_rules! plain {
    ($($type:ty: $value:ident => $argument:expr;)+) => { $(
        impl Value for $type {
            fn add_to(self, arguments: &mut Arguments) {
                let $value = self;
                arguments.0.push($argument);
            }
        }
    )+ };
}

plain! {
    i64: n => Argument::Integer(n);
    bool: is => Argument::Integer(is.into());
    &str: text => Argument::Text(text.to_owned());
    &[u8]: bytes => Argument::Blob(bytes.to_vec());
    ShardId: shard => Argument::Integer(shard.get().into());
    RunId: run => Argument::Blob(run.as_u128().to_be_bytes().to_vec());
    MessageId: message => Argument::Blob(message.as_u128().to_be_bytes().to_vec());
}

macro_rules! numbers {
    ($($type:ty: $id:ident => $to:expr, $from:expr;)+) => { $(
        impl Value for $type {
            fn add_to(self, arguments: &mut Arguments) {
                let $id = self;
                arguments.0.push(Argument::Integer($to));
            }
        }

        impl Column for $type {
            fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
                let $id: i64 = decode(row, index)?;
                Ok($from)
            }
        }
    )+ };
}

numbers! {
    u64: n => n.cast_signed(), n.cast_unsigned();
    // What does not fit was not written by this store; the greatest number is as wrong as any.
    u32: n => i64::from(n), u32::try_from(n).unwrap_or(u32::MAX);
    u16: n => i64::from(n), u16::try_from(n).unwrap_or(u16::MAX);
    Timestamp: n => n.as_micros(), Timestamp::from_micros(n);
    EventSeq: n => i64::from(n.get()), EventSeq::new(u32::try_from(n).unwrap_or(u32::MAX));
    AppendNo: n => n.get().cast_signed(), AppendNo::new(n.cast_unsigned());
    ClaimId: n => n.get().cast_signed(), ClaimId::new(n.cast_unsigned());
    ExecutorId: n => n.get().cast_signed(), ExecutorId::new(n.cast_unsigned());
    InboxNo: n => n.get().cast_signed(), InboxNo::new(n.cast_unsigned());
    LeaseId: n => n.get().cast_signed(), LeaseId::new(n.cast_unsigned());
    Position: n => n.get().cast_signed(), Position::new(n.cast_unsigned());
    OpenState: n => open_state_number(n), open_state(n);
    ClosedStatus: n => closed_status_number(n), closed_status(n);
    SuspectStage: n => suspect_stage_number(n), suspect_stage(n);
}

impl Column for i64 {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        decode(row, index)
    }
}

impl Column for bool {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        Ok(decode::<i64>(row, index)? != 0)
    }
}

impl Column for String {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        decode(row, index)
    }
}

impl Column for Name {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        Ok(Name::from(decode::<&str>(row, index)?))
    }
}

impl Column for Bytes {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        Ok(Bytes::from(decode::<Vec<u8>>(row, index)?))
    }
}

impl Column for ShardId {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        let number: i64 = decode(row, index)?;
        u16::try_from(number).ok().and_then(|number| ShardId::new(number).ok()).ok_or_else(|| {
            StoreError::corrupt(format!("shard {number} is out of range: shards are 0 to 4095"))
        })
    }
}

impl Column for RunId {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        id(row, index).map(Self::from_u128)
    }
}

impl Column for MessageId {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        id(row, index).map(Self::from_u128)
    }
}

fn id(row: &SqliteRow, index: usize) -> Result<u128, StoreError> {
    let bytes: &[u8] = decode(row, index)?;
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::corrupt(format!("an id has {} bytes: ids have 16", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

/// The greatest run id, as bytes.
pub(crate) const RUN_MAX: RunId = RunId::from_u128(u128::MAX);

macro_rules! optional {
    ($($type:ty),+) => { $(
        impl Value for Option<$type> {
            fn add_to(self, arguments: &mut Arguments) {
                match self {
                    Some(value) => value.add_to(arguments),
                    None => arguments.0.push(Argument::Null),
                }
            }
        }
    )+ };
}

optional!(i64, &str, &[u8], RunId, Timestamp, LeaseId, ExecutorId, OpenState, ClosedStatus);

impl<T: Column> Column for Option<T> {
    fn read(row: &SqliteRow, index: usize) -> Result<Self, StoreError> {
        let value = row.try_get_raw(index).map_err(|error| StoreError::corrupt(error.to_string()))?;
        if sqlx::ValueRef::is_null(&value) { Ok(None) } else { T::read(row, index).map(Some) }
    }
}

/// An open run's state as it is stored.
fn open_state_number(state: OpenState) -> i64 {
    match state {
        OpenState::Pending => 0,
        OpenState::Busy => 1,
        OpenState::Parked => 2,
        OpenState::Stalled => 3,
        OpenState::Paused => 4,
    }
}

/// The open run's state for a stored number. A state that only a newer version knows is `Stalled`, because this version
/// cannot continue such a run. An error would hide the other runs of the same read.
fn open_state(number: i64) -> OpenState {
    match number {
        0 => OpenState::Pending,
        1 => OpenState::Busy,
        2 => OpenState::Parked,
        4 => OpenState::Paused,
        _ => OpenState::Stalled,
    }
}

/// A closed run's status as it is stored.
fn closed_status_number(status: ClosedStatus) -> i64 {
    match status {
        ClosedStatus::Completed => 0,
        ClosedStatus::Failed => 1,
        ClosedStatus::Cancelled => 2,
        ClosedStatus::Terminated => 3,
        ClosedStatus::Continued => 4,
        ClosedStatus::Retried => 5,
        ClosedStatus::TimedOut => 6,
    }
}

/// The closed run's status for a stored number. A status that only a newer version knows is `Failed`, because it is not
/// a completion.
fn closed_status(number: i64) -> ClosedStatus {
    match number {
        0 => ClosedStatus::Completed,
        2 => ClosedStatus::Cancelled,
        3 => ClosedStatus::Terminated,
        4 => ClosedStatus::Continued,
        5 => ClosedStatus::Retried,
        6 => ClosedStatus::TimedOut,
        _ => ClosedStatus::Failed,
    }
}

/// A suspect's stage as it is stored.
fn suspect_stage_number(stage: SuspectStage) -> i64 {
    match stage {
        SuspectStage::Held => 0,
        SuspectStage::Tried => 1,
        SuspectStage::SetAside => 2,
        SuspectStage::Marked => 3,
    }
}

/// The suspect's stage for a stored number. A stage that only a newer version knows is `SetAside`, so that the run is
/// left alone.
fn suspect_stage(number: i64) -> SuspectStage {
    match number {
        0 => SuspectStage::Held,
        1 => SuspectStage::Tried,
        3 => SuspectStage::Marked,
        _ => SuspectStage::SetAside,
    }
}
