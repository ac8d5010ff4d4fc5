//! Ids and counters, each with its own type, so that no number can be mistaken for another.
//! Nothing here knows where an id is stored, reads a clock or draws a random number.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::data::time::Timestamp;

/// The error for a text or a number that is not an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId(String);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidId {}

/// The id of one run: a UUIDv7 whose 12 bits after the version hold the run's shard.
///
/// So an id alone tells the run's shard, ids sort by the time at which they were made, and each falls into one time
/// partition. The layout is that of RFC 9562 §5.7, with the shard in place of `rand_a`:
///
/// ```text
/// | 48 bits: milliseconds since 1970 | 4: version 7 | 12: shard | 2: variant | 62: random |
/// ```
///
/// ```
/// use pgworkflows::Timestamp;
/// use pgworkflows::id::{RunId, ShardId};
///
/// let born = Timestamp::from_micros(1_700_000_000_000_000);
/// let id = RunId::new(born, ShardId::new(17)?, 42);
/// assert_eq!(id.shard().get(), 17);
/// assert_eq!(id.born(), born);
/// assert_eq!(id.to_string().parse::<RunId>()?, id);
/// # Ok::<(), pgworkflows::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u128);

impl RunId {
    /// Makes an id. `born` is a time of the *store's* clock, kept to the millisecond; `random` gives 62 unpredictable
    /// bits, its upper two are ignored.
    pub fn new(born: Timestamp, shard: ShardId, random: u64) -> Self {
        let millis = (born.as_micros().max(0) / 1000) as u128 & 0xFFFF_FFFF_FFFF;
        let random = u128::from(random) & 0x3FFF_FFFF_FFFF_FFFF;
        Self(millis << 80 | 7 << 76 | u128::from(shard.0) << 64 | 0b10 << 62 | random)
    }

    /// The run's shard. It never changes.
    pub fn shard(self) -> ShardId {
        ShardId((self.0 >> 64) as u16 & 0xFFF)
    }

    /// When the id was made, to the millisecond.
    pub fn born(self) -> Timestamp {
        Timestamp::from_micros((self.0 >> 80) as i64 * 1000)
    }

    /// The id as a number, for stores.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The id of a number that a store kept. The number is not checked.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_u128(self.0).hyphenated(), f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes the id as text.
impl serde::Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads the id from text.
impl<'de> serde::Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match Uuid::parse_str(text) {
            Ok(uuid) if uuid.get_version_num() == 7 => Ok(Self(uuid.as_u128())),
            _ => Err(InvalidId(format!(
                "`{text}` is not a run id: a run id is a UUID of version 7, as `start` returned it"
            ))),
        }
    }
}

/// A fixed slice of all runs, numbered 0 to 4095 over all queues together. Every run belongs to exactly one shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(u16);

impl ShardId {
    /// How many shards there are: a [`RunId`] holds the shard's number in 12 bits.
    pub const COUNT: u16 = 4096;

    /// The first shard.
    pub(crate) const FIRST: Self = Self(0);

    /// The shard with this number.
    ///
    /// # Errors
    /// Returns an error if `number` is above 4095.
    pub fn new(number: u16) -> Result<Self, InvalidId> {
        if number < Self::COUNT {
            Ok(Self(number))
        } else {
            Err(InvalidId(format!("shard {number} is out of range: shards are 0 to 4095")))
        }
    }

    /// The shard's number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// Writes the number.
impl serde::Serialize for ShardId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a message. It stays the same when the message is sent again, so that repetitions are recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// The id with this number.
    pub const fn from_u128(value: u128) -> Self {
        Self(value)
    }

    /// The id as a number.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_u128(self.0).hyphenated(), f)
    }
}

/// Defines a counter type: a number with a meaning, a first value and a successor.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($number:ty), first = $first:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name($number);

        impl $name {
            /// The first value.
            pub const FIRST: Self = Self($first);

            /// The counter with this number.
            pub const fn new(number: $number) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> $number {
                self.0
            }

            /// The next value.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// An event's number within its run: 1, 2, 3, … without a gap.
    EventSeq(u32), first = 1
);
counter!(
    /// An event's number within its shard: 1, 2, 3, … without a gap, in the order of commits.
    Position(u64), first = 1
);
counter!(
    /// A durable call's number within its run, in the order in which the calls were first polled.
    CommandId(u32), first = 1
);
impl CommandId {
    /// Stands for the delay of a run's start, which no call of the code asked for.
    pub(crate) const START_DELAY: Self = Self::new(0);
}

counter!(
    /// An append's number under its lease. Claiming a lease counts as number 0.
    AppendNo(u64), first = 1
);
counter!(
    /// A lease: a processor's right to write to the shards that it owns. No id is used twice.
    LeaseId(u64), first = 1
);
counter!(
    /// One claim of shards under a lease. No id is used twice, so a shard that a lease lost and claimed again has another one.
    ClaimId(u64), first = 1
);
counter!(
    /// An executor: a process's right to execute tasks, under a lease of its own. No id is used twice.
    ExecutorId(u64), first = 1
);
counter!(
    /// A message's number in the inbox. Numbers ascend in the order in which they were drawn, which is not always the
    /// order of commits.
    InboxNo(u64), first = 1
);
