//! The memory store and each other store give equal answers to the same random operations. Errors are compared by their
//! kind, everything else in full, except for times and numbers that each store assigns. It must not know what is right.

mod dice;
mod draw;
mod draw_append;
mod model;
mod operation;
mod stores;
mod tasks;

use std::fmt::Write;

use pgworkflows_simulator::minimal_parts;
use tokio::runtime::Runtime;

use self::dice::Dice;
use self::model::Model;
use self::operation::{Answer, Operation};
use self::stores::Stores;

/// How many sequences are tried, half of them with tasks, and how many operations each has.
const SEEDS: u64 = 80;
const OPERATIONS: u32 = 60;

/// The environment variable that names a single sequence to try.
const SEED_VARIABLE: &str = "PGWORKFLOWS_DIFFERENTIAL_SEED";

#[test]
fn memory_and_postgres_give_equal_answers() {
    compare(Stores::with_postgres());
}

#[test]
fn memory_and_sqlite_give_equal_answers() {
    compare(Stores::with_sqlite());
}

fn compare(stores: impl Future<Output = Stores>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stores = runtime.block_on(stores);
    let seed = std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse().expect("a seed is a number"));
    for seed in seed.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        if play(&runtime, &mut stores, seed, |_| true).is_ok() {
            continue;
        }
        let parts = minimal_parts(OPERATIONS, |parts| {
            play(&runtime, &mut stores, seed, |part| parts.contains(&part)).is_err()
        });
        let difference = play(&runtime, &mut stores, seed, |part| parts.contains(&part));
        panic!(
            "{}\nto reproduce it: {SEED_VARIABLE}={seed} cargo test -p pgworkflows-tests --test differential",
            difference.expect_err("the sequence is deterministic"),
        );
    }
}

/// Performs the kept operations of a sequence. The error lists all of them, and the difference.
fn play(
    runtime: &Runtime,
    stores: &mut Stores,
    seed: u64,
    is_kept: impl Fn(u32) -> bool,
) -> Result<(), String> {
    runtime.block_on(async {
        let mut model = Model::new(stores.begin().await, seed % 2 == 1);
        let mut transcript = String::new();
        let played = async {
            for part in (0..OPERATIONS).filter(|part| is_kept(*part)) {
                let operation = model.draw(&mut Dice::new(seed, part));
                if !stores.can(&operation) {
                    continue;
                }
                let answer = perform(stores, &operation, &mut transcript).await?;
                model.learn(&operation, &answer);
            }
            // The final state is compared, whichever operations were kept.
            for operation in model.final_reads() {
                let _ = perform(stores, &operation, &mut transcript).await?;
            }
            Ok(())
        };
        let played: Result<(), Difference> = played.await;
        stores.end().await;
        played.map_err(|Difference| transcript)
    })
}

/// The answers of the two stores differ.
struct Difference;

/// Performs an operation on both stores, and adds their answers to the transcript.
async fn perform(
    stores: &mut Stores,
    operation: &Operation,
    transcript: &mut String,
) -> Result<Answer, Difference> {
    let [memory, other] = stores.perform(operation).await;
    let _ = writeln!(transcript, "{operation:?}\n  -> {memory:?}");
    if memory == other {
        return Ok(memory);
    }
    let _ = writeln!(transcript, "but on {}\n  -> {other:?}", stores.name);
    Err(Difference)
}
