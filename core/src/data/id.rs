//! Ids and counters, each a type of its own, so that no number can be taken for another.
//! Nothing here knows where an id is stored, and nothing here reads a clock or draws a random number.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::data::time::Timestamp;

/// A text or a number that is no id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId(String);

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidId {}

/// The name of one run: a UUIDv7 whose 12 bits after the version hold the run's shard.
///
/// An id therefore routes itself, sorts by birth and falls into one time partition. The layout is that of
/// RFC 9562 §5.7, with `rand_a` used for the shard:
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
    /// Mints an id. `born` is a time of the *store's* clock, `random` any 62 unpredictable bits.
    pub fn new(born: Timestamp, shard: ShardId, random: u64) -> Self {
        let millis = (born.as_micros().max(0) / 1000) as u128 & 0xFFFF_FFFF_FFFF;
        let random = u128::from(random) & 0x3FFF_FFFF_FFFF_FFFF;
        Self(millis << 80 | 7 << 76 | u128::from(shard.0) << 64 | 0b10 << 62 | random)
    }

    /// The shard that this run lives in, for all its life.
    pub fn shard(self) -> ShardId {
        ShardId((self.0 >> 64) as u16 & 0xFFF)
    }

    /// The time at which the id was minted, to the millisecond.
    pub fn born(self) -> Timestamp {
        Timestamp::from_micros((self.0 >> 80) as i64 * 1000)
    }

    /// The id as a number, for stores.
    pub fn as_u128(self) -> u128 {
        self.0
    }

    /// The id behind a number that a store kept.
    pub fn from_u128(value: u128) -> Self {
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

/// A fixed slice of all runs, 0 to 4095 over all queues together. Every run lives in exactly one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(u16);

impl ShardId {
    /// One more than the greatest shard: 12 bits of a [`RunId`] hold its number.
    pub const COUNT: u16 = 4096;

    /// The shard of that number; an error above 4095.
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

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What names a message, so that its redelivery is recognised everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// The id of that number.
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

/// Makes one counter type: a number with a meaning, a first value and a successor.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($number:ty), first = $first:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name($number);

        impl $name {
            /// The first one.
            pub const FIRST: Self = Self($first);

            /// The counter of that number.
            pub const fn new(number: $number) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> $number {
                self.0
            }

            /// The one after this one.
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
    /// The durable call that stands for the delay of a run's start.
    pub(crate) const START_DELAY: Self = Self::new(0);
}

counter!(
    /// An append's number under its lease. Claiming a lease counts as number 0.
    AppendNo(u64), first = 1
);
counter!(
    /// A lease: a processor's right to write to the shards that belong to it. Never used twice.
    LeaseId(u64), first = 1
);
counter!(
    /// A message's number in the inbox, in the order in which the numbers were taken, which is not always
    /// the order of commits.
    InboxNo(u64), first = 1
);
