//! What goes wrong: kinds of faults, and when which one is injected. It must not know the workload.
//!
//! To add a fault, write its function in a file of `faults/` and add its line to [`FAULTS`].

mod clock;
mod disk;
mod network;
mod processes;
mod server;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use pgworkflows_testkit::runtime::dice::Dice;

use crate::options::Options;
use crate::scene::Scene;

/// A kind of fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What happens, for people.
    pub(crate) about: &'static str,
    /// How often it is drawn, relative to the others.
    pub(crate) weight: u64,
    /// Why it cannot be injected on this machine with these options, if it cannot.
    pub(crate) missing: fn(&Options) -> Option<String>,
    /// Injects it, and returns when everything is as before, and how often it was injected. It may be at work while others
    /// are, and ends early when the scene is to be calm.
    pub(crate) inject: fn(Arc<Scene>, Dice) -> BoxFuture<'static, anyhow::Result<u64>>,
}

/// All faults.
pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "kill",
        about: "a worker is killed (SIGKILL), and started again after up to 3 s",
        weight: 6,
        missing: |_| None,
        inject: |scene, dice| Box::pin(processes::kill(scene, dice)),
    },
    Fault {
        name: "kill-all",
        about: "all workers are killed at once, and started again",
        weight: 1,
        missing: |_| None,
        inject: |scene, dice| Box::pin(processes::kill_all(scene, dice)),
    },
    Fault {
        name: "pause",
        about: "a worker is stopped (SIGSTOP) for up to three lease times, and continues",
        weight: 6,
        missing: |_| None,
        inject: |scene, dice| Box::pin(processes::pause(scene, dice)),
    },
    Fault {
        name: "roll",
        about: "the workers are shut down (SIGTERM) and started again, one after the other",
        weight: 1,
        missing: |_| None,
        inject: |scene, _| Box::pin(processes::roll(scene)),
    },
    Fault {
        name: "clock",
        about: "a worker is killed, and its successor's clock is up to an hour off (libfaketime)",
        weight: 2,
        missing: |_| clock::missing(),
        inject: |scene, dice| Box::pin(clock::skew(scene, dice)),
    },
    Fault {
        name: "partition",
        about: "nothing passes between a process and the server for up to three lease times",
        weight: 5,
        missing: |_| None,
        inject: |scene, dice| Box::pin(network::partition(scene, dice)),
    },
    Fault {
        name: "cut-before",
        about: "for 2 s, connections of a process are cut before the server receives a commit",
        weight: 6,
        missing: |_| None,
        inject: |scene, dice| Box::pin(network::cut_before(scene, dice)),
    },
    Fault {
        name: "cut-after",
        about: "for 2 s, connections of a process are cut before it receives the answer to a commit",
        weight: 6,
        missing: |_| None,
        inject: |scene, dice| Box::pin(network::cut_after(scene, dice)),
    },
    Fault {
        name: "disconnect",
        about: "all connections of a process end",
        weight: 2,
        missing: |_| None,
        inject: |scene, dice| Box::pin(network::disconnect(scene, dice)),
    },
    Fault {
        name: "delay",
        about: "requests and answers of a process take up to 400 ms longer, for up to 5 s",
        weight: 2,
        missing: |_| None,
        inject: |scene, dice| Box::pin(network::delay(scene, dice)),
    },
    Fault {
        name: "deaf",
        about: "nobody receives a notification, for up to 15 s",
        weight: 2,
        missing: |_| None,
        inject: |scene, dice| Box::pin(network::deaf(scene, dice)),
    },
    Fault {
        name: "crash-server",
        about: "PostgreSQL is stopped with `-m immediate`, and started again after up to 3 s",
        weight: 2,
        missing: |_| None,
        inject: |scene, dice| Box::pin(server::crash(scene, dice)),
    },
    Fault {
        name: "promote",
        about: "PostgreSQL is stopped, and a standby that lags up to 10 s is promoted (synchronous replication)",
        weight: 1,
        missing: |_| server::no_standby(),
        inject: |scene, dice| Box::pin(server::promote(scene, dice)),
    },
    Fault {
        name: "terminate",
        about: "the server ends half of its sessions (pg_terminate_backend)",
        weight: 2,
        missing: |_| None,
        inject: |scene, _| Box::pin(server::terminate(scene)),
    },
    Fault {
        name: "crowd",
        about: "others take all connections that the server allows, for up to 5 s",
        weight: 1,
        missing: |_| None,
        inject: |scene, dice| Box::pin(server::crowd(scene, dice)),
    },
    Fault {
        name: "hold",
        about: "a transaction with a snapshot stays open for up to two minutes (xmin horizon)",
        weight: 1,
        missing: |_| None,
        inject: |scene, dice| Box::pin(server::hold(scene, dice)),
    },
    Fault {
        name: "disk",
        about: "the disk of the server is full for up to 10 s",
        weight: 1,
        missing: disk::missing,
        inject: |scene, dice| Box::pin(disk::fill(scene, dice)),
    },
];

/// When which fault is injected.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Since the beginning.
    pub(crate) at: Duration,
    /// Its place among [`FAULTS`].
    pub(crate) fault: usize,
    pub(crate) dice: Dice,
}

/// The plan of a seed: which of these faults are injected, for that long, with that pause between two on average.
pub(crate) fn plan(seed: u64, faults: &[usize], lasts: Duration, pause: Duration) -> Vec<Planned> {
    let mut dice = Dice::new(seed).fork(0);
    let mut planned = Vec::new();
    let weights: u64 = faults.iter().map(|fault| FAULTS[*fault].weight).sum();
    if weights == 0 {
        return planned;
    }
    let mut at = Duration::ZERO;
    loop {
        // Pauses of all lengths up to twice the average.
        at += Duration::from_micros(dice.below(2 * pause.as_micros() as u64 + 1));
        if at >= lasts {
            return planned;
        }
        let mut left = dice.below(weights);
        let drawn = faults.iter().find(|fault| match left.checked_sub(FAULTS[**fault].weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let dice = dice.fork(planned.len() as u64);
        planned.extend(drawn.map(|fault| Planned { at, fault: *fault, dice }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{FAULTS, plan};

    #[test]
    fn plan_of_a_seed_is_always_the_same_and_has_every_fault() {
        let all: Vec<usize> = (0..FAULTS.len()).collect();
        let drawn = |seed| -> Vec<(Duration, usize)> {
            let plan = plan(seed, &all, Duration::from_secs(600), Duration::from_secs(1));
            plan.iter().map(|planned| (planned.at, planned.fault)).collect()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let kinds: BTreeSet<usize> = drawn(7).iter().map(|(_, fault)| *fault).collect();
        let weighted = FAULTS.iter().filter(|fault| fault.weight > 0).count();
        assert_eq!(kinds.len(), weighted);
        assert!((450..750).contains(&drawn(7).len()), "one per second on average: {}", drawn(7).len());
    }

    #[test]
    fn no_fault_is_planned_if_none_is_asked_for() {
        assert!(plan(7, &[], Duration::from_secs(600), Duration::from_secs(1)).is_empty());
    }

    #[test]
    fn names_of_faults_are_unique() {
        let names: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
    }
}
