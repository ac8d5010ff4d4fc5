//! Converts the seam's ids, numbers and times to and from database values. It must not know a table.

use bytes::Bytes;
use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{MessageId, RunId, ShardId};
use pgworkflows_core::store::{ClosedStatus, OpenState, StoreError, SuspectStage};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueRef, Postgres};
use sqlx::types::Uuid;
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::{ColumnIndex, Decode, Encode, Row, Type};

use crate::error::store_error;

/// The value of a column.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: impl ColumnIndex<PgRow>) -> Result<T, StoreError>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(store_error)
}

/// A run as `uuid`.
pub(crate) fn uuid(run: RunId) -> Uuid {
    Uuid::from_u128(run.as_u128())
}

/// A message as `uuid`.
pub(crate) fn message_uuid(message: MessageId) -> Uuid {
    Uuid::from_u128(message.as_u128())
}

/// The message in a `uuid` column.
pub(crate) fn message_id(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<MessageId, StoreError> {
    Ok(MessageId::from_u128(get::<Uuid>(row, column)?.as_u128()))
}

/// The run in a `uuid` column.
pub(crate) fn run_id(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<RunId, StoreError> {
    Ok(RunId::from_u128(get::<Uuid>(row, column)?.as_u128()))
}

pub(crate) fn optional_run_id(
    row: &PgRow,
    column: impl ColumnIndex<PgRow>,
) -> Result<Option<RunId>, StoreError> {
    Ok(get::<Option<Uuid>>(row, column)?.map(|run| RunId::from_u128(run.as_u128())))
}

/// The bytes in a `bytea` column.
pub(crate) fn bytes(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Bytes, StoreError> {
    Ok(Bytes::copy_from_slice(get(row, column)?))
}

/// The time in a `timestamptz` column.
pub(crate) fn timestamp(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Timestamp, StoreError> {
    Ok(get::<Time>(row, column)?.0)
}

/// A shard as `smallint`.
pub(crate) fn shard_number(shard: ShardId) -> i16 {
    // At most 4095, so the cast loses no bit.
    shard.get().cast_signed()
}

/// The shard of a `smallint`.
pub(crate) fn shard_id(number: i16) -> Result<ShardId, StoreError> {
    u16::try_from(number)
        .ok()
        .and_then(|number| ShardId::new(number).ok())
        .ok_or_else(|| StoreError::corrupt(format!("shard {number} is out of range: shards are 0 to 4095")))
}

/// A limit in bytes as `bigint`.
pub(crate) fn byte_count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// An open run's state as it is stored.
pub(crate) fn open_state_number(state: OpenState) -> i16 {
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
pub(crate) fn open_state(number: i16) -> OpenState {
    match number {
        0 => OpenState::Pending,
        1 => OpenState::Busy,
        2 => OpenState::Parked,
        4 => OpenState::Paused,
        _ => OpenState::Stalled,
    }
}

/// A closed run's status as it is stored.
pub(crate) fn closed_status_number(status: ClosedStatus) -> i16 {
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
/// a completion. An error would hide the other runs of the same read.
pub(crate) fn closed_status(number: i16) -> ClosedStatus {
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
pub(crate) fn suspect_stage_number(stage: SuspectStage) -> i16 {
    match stage {
        SuspectStage::Held => 0,
        SuspectStage::Tried => 1,
        SuspectStage::SetAside => 2,
        SuspectStage::Marked => 3,
    }
}

/// The suspect's stage for a stored number. A stage that only a newer version knows is `SetAside`, so that the run is
/// left alone.
pub(crate) fn suspect_stage(number: i16) -> SuspectStage {
    match number {
        0 => SuspectStage::Held,
        1 => SuspectStage::Tried,
        3 => SuspectStage::Marked,
        _ => SuspectStage::SetAside,
    }
}

/// A time as `timestamptz`, in full range: `Timestamp::MIN` is `-infinity`. No calendar conversion is involved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// PostgreSQL counts microseconds from 2000-01-01, which is this many after 1970-01-01.
    const EPOCH_MICROS: i64 = 946_684_800_000_000;
}

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        <DateTime<Utc> as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_micros().saturating_sub(Self::EPOCH_MICROS);
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(match micros {
            i64::MIN => Timestamp::MIN,
            _ => Timestamp::from_micros(micros.saturating_add(Self::EPOCH_MICROS)),
        }))
    }
}
