//! The values that everything else uses: ids, times, names, payloads, failures. They know nothing about runs.

pub(crate) mod call_map;
pub(crate) mod cancellation;
pub(crate) mod chain;
pub(crate) mod child;
pub(crate) mod derived;
pub(crate) mod divergence;
pub(crate) mod failure;
pub(crate) mod id;
pub(crate) mod id_map;
pub(crate) mod limits;
pub(crate) mod mean_duration;
pub(crate) mod name;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod payload;
pub(crate) mod positional;
pub(crate) mod random;
pub(crate) mod recipient;
pub(crate) mod retry;
pub(crate) mod shards;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod time_limits;
pub(crate) mod trace_context;
pub(crate) mod typed_failure;
pub(crate) mod wait;
