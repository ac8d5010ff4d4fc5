//! Checks the settings of a worker. It must not know what a setting is used for.

use crate::data::id::ShardId;
use crate::data::limits;
use crate::data::name::Name;
use crate::error::Error;
use crate::store::tasks::executor_of;
use crate::worker::config::WorkerConfig;
use crate::workflow::registry::{Definitions, check_name};

/// Checks the activity queues, and adds the one of the worker's own queue.
pub(super) fn serve_queues(config: &mut WorkerConfig, definitions: &Definitions) -> Result<(), Error> {
    let own = Name::from(&*config.queue);
    config.processor.activity_queue = own.clone();
    let has_activities = definitions.activity_names().next().is_some();
    for (index, (name, slots)) in config.activity_queues.iter().enumerate() {
        check_name("activity queue", name)?;
        let problem = if *slots == Some(0) {
            "has 0 slots, and would execute nothing; give at least 1"
        } else if config.activity_queues[..index].iter().any(|(other, _)| other == name) {
            "is given twice; name each activity queue once"
        } else if executor_of(name).is_some() {
            "belongs to one worker; give a name that does not begin with `executor:`"
        } else if !has_activities {
            "is served by a worker without activities; register those that it executes"
        } else {
            continue;
        };
        return Err(Error::invalid(format!("the activity queue `{name}` {problem}")));
    }
    let serves_own = config.processors > 0 || config.activity_queues.is_empty();
    if has_activities && serves_own && config.activity_queues.iter().all(|(name, _)| *name != own) {
        config.activity_queues.push((own, None));
    }
    Ok(())
}

/// Checks the ranges. `processors` is what the builder was given.
pub(super) fn check(config: &WorkerConfig, processors: Option<usize>) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::invalid(message));
    if let Some(shards) = config.queue_shards.filter(|shards| !(1..=ShardId::COUNT).contains(shards)) {
        return refuse(format!("queue_shards is {shards}; give 1 to 4096"));
    }
    if processors == Some(0) || config.processors > 1024 {
        return refuse(format!("processors is {}; give 1 to 1024", config.processors));
    }
    if config.activities_max == 0 {
        return refuse("activities_max is 0; no activity would ever be executed, give at least 1".to_owned());
    }
    if config.lease_ttl < limits::LEASE_TTL_MIN || config.lease_ttl > limits::TIMEOUT_MAX {
        return refuse(format!(
            "lease_ttl is {:?}; give {:?} to {:?}",
            config.lease_ttl,
            limits::LEASE_TTL_MIN,
            limits::TIMEOUT_MAX
        ));
    }
    if config.heartbeat_interval.is_zero() || config.heartbeat_interval > config.lease_ttl / 3 {
        return refuse(format!(
            "heartbeat_interval is {:?}; give more than zero and at most a third of lease_ttl, which is {:?}",
            config.heartbeat_interval, config.lease_ttl
        ));
    }
    for (what, value) in [
        ("owners", config.processor.deaths_before_suspicion),
        ("attempts", config.processor.attempts_lost_max),
    ] {
        if !(1..=limits::DEATHS_MAX).contains(&value) {
            return refuse(format!("deaths_max has {what}: {value}; give 1 to {}", limits::DEATHS_MAX));
        }
    }
    let memory = config.processor.memory.max();
    if memory < limits::MEMORY_MAX_MIN {
        return refuse(format!(
            "memory_max is {memory} bytes; give at least {}, which is 16 KiB",
            limits::MEMORY_MAX_MIN
        ));
    }
    if i64::try_from(config.generation).is_err() {
        return refuse(format!("generation is {}; give 0 to {}", config.generation, i64::MAX));
    }
    if config.processor.history_events_max == 0 {
        return refuse("the limit of history_events is 0; give at least 1".to_owned());
    }
    Ok(())
}
