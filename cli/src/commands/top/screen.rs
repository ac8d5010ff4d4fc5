//! What `top` shows, and how it is drawn: a function of data. It must not ask the store.

use pgworkflows::RunId;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap};

/// Which runs are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Open,
    Stalled,
    Failed,
    All,
}

impl Filter {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Open => Self::Stalled,
            Self::Stalled => Self::Failed,
            Self::Failed => Self::All,
            Self::All => Self::Open,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Open => "open runs",
            Self::Stalled => "stalled runs",
            Self::Failed => "failed runs",
            Self::All => "all runs",
        }
    }
}

/// A queue.
pub(super) struct QueueRow {
    pub(super) name: String,
    pub(super) shards: u16,
    pub(super) free_shards: u16,
    pub(super) workers: usize,
    pub(super) live_runs: u64,
    /// Whether no worker can execute some of its runs.
    pub(super) is_unserved: bool,
}

/// A run.
pub(super) struct RunRow {
    pub(super) id: RunId,
    pub(super) workflow: String,
    pub(super) key: String,
    pub(super) status: &'static str,
    pub(super) age: String,
    pub(super) waits: String,
}

/// Everything that is shown.
pub(super) struct Screen {
    place: String,
    pub(super) now: String,
    pub(super) filter: Filter,
    pub(super) queues: Vec<QueueRow>,
    pub(super) runs: Vec<RunRow>,
    pub(super) selected: usize,
    /// Why the store could not be read the last time. What is shown is older then.
    pub(super) error: Option<String>,
    /// Why the run that was asked about waits.
    pub(super) detail: Option<String>,
}

impl Screen {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            now: String::new(),
            filter: Filter::Open,
            queues: Vec::new(),
            runs: Vec::new(),
            selected: 0,
            error: None,
            detail: None,
        }
    }

    /// Moves the selection by some runs, and keeps it on one that is shown.
    pub(super) fn select(&mut self, by: isize) {
        let last = self.runs.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let queues = u16::try_from(self.queues.len()).unwrap_or(u16::MAX).clamp(1, 6) + 2;
        let detail = self.detail.as_ref().map_or(0, |text| text.lines().count());
        let detail = u16::try_from(detail).unwrap_or(u16::MAX).saturating_add(2);
        let below = if self.detail.is_some() { Constraint::Max(detail) } else { Constraint::Length(0) };
        let areas = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(queues),
            Constraint::Min(4),
            below,
            Constraint::Length(1),
        ]);
        let [head, queues, runs, below, foot] = areas.areas(frame.area());
        frame.render_widget(self.head(), head);
        frame.render_widget(self.queues(), queues);
        let mut state = TableState::default().with_selected(Some(self.selected));
        frame.render_stateful_widget(self.runs(), runs, &mut state);
        if let Some(text) = &self.detail {
            let block = Block::bordered().title(" why ");
            frame.render_widget(Paragraph::new(text.as_str()).wrap(Wrap { trim: false }).block(block), below);
        }
        let keys = "up/down select  enter why  tab other runs  r read now  q end";
        frame.render_widget(Line::styled(keys, Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn head(&self) -> Line<'_> {
        match &self.error {
            Some(error) => Line::styled(format!("not read: {error}"), Style::new().fg(Color::Red)),
            None => Line::raw(format!("pgworkflows top, {}, {}", self.place, self.now)),
        }
    }

    fn queues(&self) -> Table<'_> {
        let rows = self.queues.iter().map(|queue| {
            let style = if queue.is_unserved { Style::new().fg(Color::Red) } else { Style::new() };
            let cells = [
                queue.name.clone(),
                queue.shards.to_string(),
                queue.free_shards.to_string(),
                queue.workers.to_string(),
                queue.live_runs.to_string(),
            ];
            Row::new(cells).style(style)
        });
        let widths = [Constraint::Fill(1), Constraint::Length(7), Constraint::Length(13)];
        let widths = widths.into_iter().chain([Constraint::Length(8), Constraint::Length(14)]);
        Table::new(rows, widths).header(header([
            "QUEUE",
            "SHARDS",
            "WITHOUT OWNER",
            "WORKERS",
            "RUNS IN MEMORY",
        ]))
    }

    fn runs(&self) -> Table<'_> {
        let rows = self.runs.iter().map(|run| {
            let cells = [
                Cell::new(run.id.to_string()),
                Cell::new(run.workflow.as_str()),
                Cell::new(run.key.as_str()),
                Cell::new(run.status).style(colour(run.status)),
                Cell::new(run.age.as_str()),
                Cell::new(run.waits.as_str()),
            ];
            Row::new(cells)
        });
        let widths = [
            Constraint::Length(36),
            Constraint::Max(20),
            Constraint::Max(16),
            Constraint::Length(10),
            Constraint::Length(12),
            Constraint::Fill(1),
        ];
        Table::new(rows, widths)
            .header(header(["RUN", "WORKFLOW", "KEY", "STATUS", "AGE", "WAITS FOR"]))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(Block::new().title(format!("{} ({})", self.filter.title(), self.runs.len())))
    }
}

fn header<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::BOLD))
}

fn colour(status: &str) -> Style {
    match status {
        "stalled" | "failed" | "timed-out" => Style::new().fg(Color::Red),
        "paused" | "terminated" | "cancelled" => Style::new().fg(Color::Yellow),
        "completed" => Style::new().fg(Color::Green),
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen() -> Screen {
        let run = |id: &str, status, waits: &str| RunRow {
            id: id.parse().unwrap(),
            workflow: "order".to_owned(),
            key: "o-7".to_owned(),
            status,
            age: "3 min".to_owned(),
            waits: waits.to_owned(),
        };
        Screen {
            now: "2026-01-31 12:00:00Z".to_owned(),
            queues: vec![QueueRow {
                name: "default".to_owned(),
                shards: 64,
                free_shards: 0,
                workers: 2,
                live_runs: 17,
                is_unserved: false,
            }],
            runs: vec![
                run("019b7a00-0000-7007-8000-000000000002", "waiting", "signal `approve`"),
                run("019b7a00-0000-7007-8000-000000000001", "stalled", "event 3 is timer.started"),
            ],
            ..Screen::new("schema `pgworkflows`".to_owned())
        }
    }

    fn drawn(screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 16)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let text = terminal.backend().to_string();
        let lines = text.lines().map(|line| line.trim_matches('"').trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn screen_shows_queues_runs_and_keys() {
        expect![[r#"
            pgworkflows top, schema `pgworkflows`, 2026-01-31 12:00:00Z
            QUEUE                                                                      SHARDS  WITHOUT OWNER WORKERS  RUNS IN MEMORY
            default                                                                    64      0             2        17

            open runs (2)
            RUN                                  WORKFLOW             KEY              STATUS     AGE          WAITS FOR
            019b7a00-0000-7007-8000-000000000002 order                o-7              waiting    3 min        signal `approve`
            019b7a00-0000-7007-8000-000000000001 order                o-7              stalled    3 min        event 3 is timer.star







            up/down select  enter why  tab other runs  r read now  q end"#]].assert_eq(&drawn(&screen()));
    }

    #[test]
    fn explanation_is_below_the_runs_and_an_error_replaces_the_head() {
        let mut screen = screen();
        screen.detail = Some("Run 2 waits.\n\n* it waits for signal `approve`".to_owned());
        screen.error = Some("the store is unavailable".to_owned());
        expect![[r#"
            not read: the store is unavailable
            QUEUE                                                                      SHARDS  WITHOUT OWNER WORKERS  RUNS IN MEMORY
            default                                                                    64      0             2        17

            open runs (2)
            RUN                                  WORKFLOW             KEY              STATUS     AGE          WAITS FOR
            019b7a00-0000-7007-8000-000000000002 order                o-7              waiting    3 min        signal `approve`
            019b7a00-0000-7007-8000-000000000001 order                o-7              stalled    3 min        event 3 is timer.star


            ┌ why ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────┐
            │Run 2 waits.                                                                                                          │
            │                                                                                                                      │
            │* it waits for signal `approve`                                                                                       │
            └──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
            up/down select  enter why  tab other runs  r read now  q end"#]].assert_eq(&drawn(&screen));
    }

    #[test]
    fn selection_stays_on_a_run_that_is_shown() {
        let mut screen = screen();
        screen.select(-1);
        assert_eq!(screen.selected, 0);
        screen.select(5);
        assert_eq!(screen.selected, 1);
        screen.runs.clear();
        screen.select(0);
        assert_eq!(screen.selected, 0);
        assert_eq!(drawn(&screen).matches("open runs (0)").count(), 1);
    }
}
