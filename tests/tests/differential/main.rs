//! The memory store and the Postgres store, given the same random operations, answer alike: the errors by their kind, and
//! everything else to the last field, times and numbers of their own aside. It must not know what is right.

mod dice;
mod model;
mod operation;
mod stores;

use std::fmt::Write;

use pgworkflows_simulator::minimal_parts;
use tokio::runtime::Runtime;

use self::dice::Dice;
use self::model::Model;
use self::operation::{Answer, Operation};
use self::stores::Sides;

/// How many sequences each run of the tests tries, and how long they are.
const SEEDS: u64 = 40;
const OPERATIONS: u32 = 60;

/// Names one sequence to be tried, and no other.
const SEED_VARIABLE: &str = "PGWORKFLOWS_DIFFERENTIAL_SEED";

#[test]
fn memory_and_postgres_answer_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut sides = runtime.block_on(Sides::new());
    let seed = std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse().expect("a seed is a number"));
    for seed in seed.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        if play(&runtime, &mut sides, seed, |_| true).is_ok() {
            continue;
        }
        let parts = minimal_parts(OPERATIONS, |parts| {
            play(&runtime, &mut sides, seed, |part| parts.contains(&part)).is_err()
        });
        let difference = play(&runtime, &mut sides, seed, |part| parts.contains(&part));
        panic!(
            "{}\nto see it again: {SEED_VARIABLE}={seed} cargo test -p pgworkflows-tests --test differential",
            difference.expect_err("it went wrong before, and all is the same"),
        );
    }
}

/// Plays those operations of a sequence that are kept. The error tells all of them, and the difference.
fn play(
    runtime: &Runtime,
    sides: &mut Sides,
    seed: u64,
    is_kept: impl Fn(u32) -> bool,
) -> Result<(), String> {
    runtime.block_on(async {
        let mut model = Model::new(sides.begin().await);
        let mut told = String::new();
        let played = async {
            for part in (0..OPERATIONS).filter(|part| is_kept(*part)) {
                let operation = model.draw(&mut Dice::new(seed, part));
                let answer = perform(sides, &operation, &mut told).await?;
                model.learn(&operation, &answer);
            }
            // In the end everything is looked at, whatever was kept.
            for operation in model.last_looks() {
                let _ = perform(sides, &operation, &mut told).await?;
            }
            Ok(())
        };
        let played: Result<(), Difference> = played.await;
        sides.end().await;
        played.map_err(|Difference| told)
    })
}

/// The two sides do not answer alike.
struct Difference;

/// Has both sides perform an operation, and tells what they answer.
async fn perform(sides: &mut Sides, operation: &Operation, told: &mut String) -> Result<Answer, Difference> {
    let [memory, postgres] = sides.perform(operation).await;
    let _ = writeln!(told, "{operation:?}\n  -> {memory:?}");
    if memory == postgres {
        return Ok(memory);
    }
    let _ = writeln!(told, "but on Postgres\n  -> {postgres:?}");
    Err(Difference)
}
