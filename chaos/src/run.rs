//! From the first process to the last check. It must not know what a fault does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pgworkflows::sqlx;
use tokio::task::JoinSet;

use crate::check;
use crate::faults::{self, FAULTS};
use crate::options::Options;
use crate::progress::Progress;
use crate::report::{Injected, Report};
use crate::role::CALM;
use crate::scene::Scene;
use crate::slot::Role;

/// How often processes are looked after.
const LOOK: Duration = Duration::from_millis(500);

/// Disturbs everything for as long as the options say, and checks. Whether nothing was violated.
pub(crate) async fn run(options: &Options) -> anyhow::Result<bool> {
    let scene = Arc::new(Scene::new(options).await?);
    scene.begin().await?;
    let mut progress = Progress::new();
    let injected = disturb(&scene, options, &mut progress).await?;
    let finished_after = finish(&scene, options, &mut progress).await?;
    progress.show(&scene, "checking").await;
    let mut connection = scene.connect().await?;
    check::read(&mut connection, &scene.directory).await?;
    let mut violations = scene.violations();
    violations.extend(check::violations(&mut connection).await?);
    let report = Report::read(&mut connection, &scene, injected, finished_after, violations).await?;
    drop(connection);
    progress.end();
    report.print(options);
    let is_good = report.violations.is_empty();
    clean_up(&scene, options.keep || !is_good).await?;
    Ok(is_good)
}

/// Injects the faults of the plan.
async fn disturb(scene: &Arc<Scene>, options: &Options, progress: &mut Progress) -> anyhow::Result<Injected> {
    let possible = |fault: &usize| (FAULTS[*fault].missing)(options).is_none();
    let asked = options.faults().into_iter().filter(possible).collect::<Vec<_>>();
    let mut plan =
        faults::plan(options.seed(), &asked, options.lasts(), options.pause()).into_iter().peekable();
    let mut injected = Injected::default();
    let mut at_work = JoinSet::new();
    let mut last = "nothing yet";
    let begun = Instant::now();
    loop {
        let elapsed = begun.elapsed();
        while let Some(next) = plan.next_if(|next| next.at <= elapsed) {
            let fault = &FAULTS[next.fault];
            last = fault.name;
            let inject = (fault.inject)(Arc::clone(scene), next.dice);
            at_work.spawn(async move {
                let count =
                    inject.await.with_context(|| format!("the fault `{}`", FAULTS[next.fault].name))?;
                anyhow::Ok((next.fault, count))
            });
        }
        while let Some(done) = at_work.try_join_next() {
            injected.add(done??);
        }
        if elapsed >= options.lasts() {
            break;
        }
        scene.look_after()?;
        // The server may be down.
        let _ = tokio::time::timeout(LOOK, scene.look_for_owners()).await;
        let (now, end) = (elapsed.as_secs(), options.lasts().as_secs());
        progress.show(scene, &format!("{now} of {end} s: {} faults, the last {last}", injected.sum())).await;
        let next = plan.peek().map_or(options.lasts(), |next| next.at);
        let pause = next.saturating_sub(begun.elapsed()).min(LOOK);
        tokio::time::sleep(pause).await;
    }
    scene.calm_down();
    while let Some(done) = at_work.join_next().await {
        injected.add(done??);
    }
    Ok(injected)
}

/// Lets everything finish: no fault, all workers, and no new runs. How long that took.
async fn finish(scene: &Scene, options: &Options, progress: &mut Progress) -> anyhow::Result<Duration> {
    let mut clients = Vec::new();
    for slot in &scene.slots {
        let mut process = slot.process.lock().await;
        process.iter().for_each(|process| slot.recover(process));
        if slot.role == Role::Client {
            clients.extend(process.take().map(|process| (slot, process)));
        }
    }
    let calm = scene.directory.join(CALM);
    std::fs::write(&calm, []).with_context(|| calm.display().to_string())?;
    let begun = Instant::now();
    loop {
        scene.look_after()?;
        clients.retain_mut(|(slot, client)| match client.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) if status.success() => false,
            ended => {
                scene.violated(format!("{} ended with {ended:?}; its log says why", slot.name));
                false
            }
        });
        if clients.is_empty() && is_over(scene).await.unwrap_or_default() {
            break;
        }
        if begun.elapsed() > options.patience() {
            let waiting: Vec<&str> = clients.iter().map(|(slot, _)| slot.name.as_str()).collect();
            scene.violated(format!(
                "not everything is over {:?} after the last fault; clients that still wait: {waiting:?}",
                options.patience()
            ));
            break;
        }
        progress.show(scene, &format!("finishing for {} s", begun.elapsed().as_secs())).await;
        tokio::time::sleep(LOOK).await;
    }
    let took = begun.elapsed();
    for (_, client) in &mut clients {
        client.kill().await?;
    }
    for slot in scene.slots.iter().filter(|slot| slot.role == Role::Worker) {
        if let Some(mut worker) = slot.process.lock().await.take() {
            scene.stop(slot, &mut worker).await;
        }
    }
    Ok(took)
}

/// Whether no run is open, no message waits, and no task is left.
async fn is_over(scene: &Scene) -> anyhow::Result<bool> {
    let nothing = "
        select not exists (select from pgworkflows.open_runs) and not exists (select from pgworkflows.inbox)
           and not exists (select from pgworkflows.tasks)";
    Ok(sqlx::query_scalar(nothing).fetch_one(&mut scene.connect().await?).await?)
}

/// Removes what is left, or says where it is.
async fn clean_up(scene: &Scene, keep: bool) -> anyhow::Result<()> {
    let directory = scene.directory.clone();
    if !keep {
        return std::fs::remove_dir_all(&directory).with_context(|| directory.display().to_string());
    }
    let (server, data) = (scene.server(), directory.join("data"));
    std::fs::write(directory.join("server.log"), server.log())?;
    let copy = data.clone();
    tokio::task::spawn_blocking(move || server.stop().and_then(|()| server.copy_data_dir_to(&copy)))
        .await??;
    println!("logs and journals: {}", directory.display());
    println!("data of the server, database {}: {}", scene.database(), data.display());
    Ok(())
}
