//! `pgworkflows top`: a live view of queues and runs. It reads, and changes nothing.

mod keyboard;
mod screen;

use std::time::Duration;

use clap::Args;
use pgworkflows::client::{RunInfo, RunStatus};
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use self::keyboard::{Keyboard, told_to_end};
use self::screen::{Filter, QueueRow, RunRow, Screen};
use crate::age;
use crate::answer::Answers;
use crate::args::Global;
use crate::connect::Connected;
use crate::failure::{Code, Failure};
use crate::situation::Situation;
use crate::why::explain;

/// How many runs are read for a screen.
const RUNS: u32 = 100;

/// Shows queues and runs, again and again. Keys: up and down select a run, enter says why it waits, tab shows other runs, q ends.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Reads again after so many seconds
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// What a key asks for.
enum Asked {
    Nothing,
    /// To read now.
    Reading,
    End,
}

impl Top {
    pub(super) async fn run(&self, global: &Global, answers: Answers) -> Result<Code, Failure> {
        if answers.json || !answers.streams.are_on_a_terminal() {
            return Err(Failure::usage(
                "`top` draws on a terminal, and this is none: scripts use `pgworkflows runs list --json` and `queues --json`",
            ));
        }
        self.show_on_terminal(&global.connect().await?).await
    }

    /// Shows a store, until the user ends it.
    pub(super) async fn show_on_terminal(&self, store: &Connected) -> Result<Code, Failure> {
        // It restores the terminal at a panic, too.
        let mut terminal = ratatui::try_init()?;
        let ended = self.show_until_ended(store, &mut terminal).await;
        ratatui::try_restore()?;
        ended
    }

    /// A store that does not answer does not keep the user from ending it.
    async fn show_until_ended(
        &self,
        store: &Connected,
        terminal: &mut ratatui::DefaultTerminal,
    ) -> Result<Code, Failure> {
        let (keyboard, key_ends) = Keyboard::open()?;
        tokio::select! {
            shown = self.show(store, terminal, keyboard) => shown,
            Ok(()) = key_ends => Ok(Code::Done),
            told = told_to_end() => Ok(told.map(|()| Code::Done)?),
        }
    }

    async fn show(
        &self,
        store: &Connected,
        terminal: &mut ratatui::DefaultTerminal,
        mut keyboard: Keyboard,
    ) -> Result<Code, Failure> {
        let mut screen = Screen::new(store.place.clone());
        loop {
            screen.error = read(store, &mut screen).await.err().map(|failure| failure.to_string());
            let until = tokio::time::Instant::now() + Duration::from_secs(self.interval);
            loop {
                terminal.draw(|frame| screen.draw(frame))?;
                match keyboard.key().await? {
                    Some(key) => match press(store, &mut screen, key).await {
                        Asked::Nothing => {}
                        Asked::Reading => break,
                        Asked::End => return Ok(Code::Done),
                    },
                    None if tokio::time::Instant::now() >= until => break,
                    None => {}
                }
            }
        }
    }
}

async fn press(store: &Connected, screen: &mut Screen, key: KeyEvent) -> Asked {
    match key.code {
        KeyCode::Esc if screen.detail.take().is_none() => return Asked::End,
        KeyCode::Up | KeyCode::Char('k') => screen.select(-1),
        KeyCode::Down | KeyCode::Char('j') => screen.select(1),
        KeyCode::Tab => {
            screen.filter = screen.filter.next();
            screen.selected = 0;
            screen.detail = None;
            return Asked::Reading;
        }
        KeyCode::Char('r') => return Asked::Reading,
        KeyCode::Enter => {
            let why = why(store, screen).await;
            screen.detail = why.unwrap_or_else(|failure| Some(failure.to_string()));
        }
        _ => {}
    }
    Asked::Nothing
}

/// Why the selected run does not go on.
async fn why(store: &Connected, screen: &Screen) -> Result<Option<String>, Failure> {
    let Some(run) = screen.runs.get(screen.selected) else { return Ok(None) };
    let info = store.client.describe(run.id).await?;
    Ok(Some(explain(&Situation::read(store, info).await?).to_string()))
}

/// Reads what the screen shows.
async fn read(store: &Connected, screen: &mut Screen) -> Result<(), Failure> {
    let list = store.client.list().limit(RUNS);
    let list = match screen.filter {
        Filter::Open => list.open(),
        Filter::Stalled => list.status(RunStatus::Stalled),
        Filter::Failed => list.status(RunStatus::Failed),
        Filter::All => list,
    };
    let (queues, runs, now) = tokio::try_join!(store.client.queues(), list, store.client.now())?;
    let now = now.unwrap_or_else(chrono::Utc::now);
    let queue = |queue: pgworkflows::client::QueueInfo| QueueRow {
        workers: queue.workers.len(),
        live_runs: queue.workers.iter().map(|worker| worker.live_runs).sum(),
        is_unserved: !queue.unserved.is_empty() || queue.workers.is_empty(),
        name: queue.name,
        shards: queue.shard_count,
        free_shards: queue.free_shards,
    };
    let run = |run: RunInfo| RunRow {
        id: run.run_id,
        workflow: run.workflow,
        key: run.key.unwrap_or_default(),
        status: run.status.name(),
        age: age::span((now - run.created_at).to_std().unwrap_or_default()),
        waits: run.waiting_on.unwrap_or_default(),
    };
    screen.now = age::time(now);
    screen.queues = queues.into_iter().map(queue).collect();
    screen.runs = runs.into_iter().map(run).collect();
    screen.select(0);
    Ok(())
}
