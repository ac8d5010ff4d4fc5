//! The table at the end. It must not know how anything was found.

use std::collections::BTreeMap;
use std::time::Duration;

use pgworkflows::sqlx::{self, PgConnection};

use crate::faults::FAULTS;
use crate::options::Options;
use crate::scene::Scene;
use crate::workload::KINDS;

/// How often each fault was injected.
#[derive(Debug, Default)]
pub(crate) struct Injected(BTreeMap<usize, u64>);

impl Injected {
    pub(crate) fn add(&mut self, (fault, count): (usize, u64)) {
        *self.0.entry(fault).or_default() += count;
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.values().sum()
    }
}

/// What a run of this program found.
#[derive(Debug)]
pub(crate) struct Report {
    injected: Injected,
    finished_after: Duration,
    cuts: BTreeMap<&'static str, u64>,
    lost_notifications: u64,
    /// By workflow: starts that were asked for, runs, and runs that are over.
    runs: BTreeMap<String, [i64; 3]>,
    figures: Vec<(String, i64)>,
    pub(crate) violations: Vec<String>,
}

/// Counts of other things, each with its words.
const FIGURES: &str = "
    select what, count from (values
        (1, 'events in the log', (select count(*) from chaos.events)),
        (2, 'appends', (select count(*) from chaos.appended)),
        (3, 'leases that were fenced', (select count(*) from chaos.fenced)),
        (4, 'new owners of shards', (select count(*) from chaos.owned where lease is not null)),
        (5, 'signals acknowledged', (select count(*) from chaos.notes where kind = 'signalled')),
        (6, 'updates answered', (select count(*) from chaos.notes where kind = 'answered')),
        (7, 'runs that continue others', (select count(*) from chaos.runs where run_id <> first)),
        (8, 'children', (select count(*) from chaos.runs where parent is not null)),
        (9, 'activity attempts that were lost', (select count(*) from chaos.events where name = 'activity.attempt-lost')),
        (10, 'messages after the end of their run', (select count(*) from pgworkflows.undelivered))
    ) figures (place, what, count) order by place";

impl Report {
    /// Adds to what is known what the checks' tables say.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        scene: &Scene,
        injected: Injected,
        finished_after: Duration,
        violations: Vec<String>,
    ) -> anyhow::Result<Self> {
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
            "select n.fact->>'workflow', count(*), count(r.run_id), count(e.run_id)
             from chaos.notes n
             left join chaos.runs r on r.token = n.token and r.run_id = r.first
             left join chaos.ends e on e.run_id = r.run_id
             where n.kind = 'starts' group by 1",
        )
        .fetch_all(&mut *connection)
        .await?;
        let runs = rows.into_iter().map(|(workflow, asked, begun, over)| (workflow, [asked, begun, over]));
        Ok(Self {
            injected,
            finished_after,
            cuts: scene.cuts_made(),
            lost_notifications: scene.lost_notifications(),
            runs: runs.collect(),
            figures: sqlx::query_as(FIGURES).fetch_all(connection).await?,
            violations,
        })
    }

    pub(crate) fn print(&self, options: &Options) {
        println!("{:<13} {:>8}", "fault", "injected");
        let asked = options.faults();
        for (place, fault) in FAULTS.iter().enumerate().filter(|(place, _)| asked.contains(place)) {
            let count = self.injected.0.get(&place).copied().unwrap_or_default();
            match (fault.missing)(options) {
                None => println!("{:<13} {count:>8}  {}", fault.name, fault.about),
                Some(why) => println!("{:<13} {:>8}  NOT TESTED: {why}", fault.name, "-"),
            }
        }
        println!("{:<13} {:>8}", "all", self.injected.sum());
        let cuts: Vec<String> = self.cuts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!("connections cut at a statement: {} ({})", self.cuts.values().sum::<u64>(), cuts.join(", "));
        println!("notifications lost: {}", self.lost_notifications);

        println!("\n{:<13} {:>8} {:>8} {:>8}", "run", "asked", "begun", "over");
        let mut sums = [0; 3];
        for kind in KINDS {
            let counts = self.runs.get(kind.name).copied().unwrap_or_default();
            print_counts(kind.name, counts, kind.about);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        print_counts("all", sums, "a start may be asked for and rolled back, or not be acknowledged");
        println!();
        for (what, count) in &self.figures {
            println!("{what}: {count}");
        }

        println!(
            "after the last fault, everything was over within {:.1} s",
            self.finished_after.as_secs_f64()
        );

        println!("\nviolations: {}", self.violations.len());
        for violation in &self.violations {
            println!("  {violation}");
        }
        println!("the same plan again: {}", options.again());
    }
}

fn print_counts(name: &str, [asked, begun, over]: [i64; 3], about: &str) {
    println!("{name:<13} {asked:>8} {begun:>8} {over:>8}  {about}");
}
