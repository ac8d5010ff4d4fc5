//! The command line: any words, most of them in the form of a command, on a store with runs in every state. It ends with one of its exit
//! codes, says why it failed, and shows no password and nothing that a terminal obeys.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use pgworkflows::history::History;
use pgworkflows::{AnyStore, MemoryStore, RunId};
use pgworkflows_cli::testing::{Host, Ran, Shape, Value, shapes};
use pgworkflows_memory::Snapshot;

use crate::runs::Runs;
use crate::{SECRET, words};

/// The longest that a command may take by its own clock, which jumps: one that follows a run has no end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The greatest exit code of the documentation.
const CODE_MAX: u8 = 5;

/// Files that commands may read.
const FILES: [(&str, &[u8]); 3] =
    [("input.json", b"{\"item\": 4}"), ("broken.json", b"{\"item\": "), ("bytes", b"\xff\xfe\x00")];

/// The name of the file of a history.
const HISTORY: &str = "history.json";

/// A place for commands.
#[derive(Debug)]
pub struct CommandLine {
    host: Host,
    store: MemoryStore,
    /// The store before every command.
    content: Snapshot,
    shapes: Vec<Shape>,
    /// The words of all commands and options.
    words: Vec<String>,
    /// The runs, which are in every state.
    runs: Vec<RunId>,
    history: History,
    directory: PathBuf,
}

impl CommandLine {
    /// Makes a store with runs. The current directory becomes one for the files of the commands, which is removed with this value.
    ///
    /// # Panics
    /// Panics if there is no such directory, or the runs cannot be made.
    pub fn new() -> Self {
        let Runs { store, ids, history } = Runs::new();
        let directory = std::env::temp_dir().join(format!("pgworkflows-hostile-{}", std::process::id()));
        let shapes = shapes();
        let words = shapes
            .iter()
            .flat_map(|shape| shape.words.iter().chain(shape.options.iter().map(|option| &option.name)));
        let fixture = Self {
            words: words.cloned().collect(),
            shapes,
            host: Host::new(Arc::new(store.clone()) as AnyStore),
            content: store.snapshot(),
            store,
            runs: ids,
            history,
            directory,
        };
        fixture.clean();
        std::env::set_current_dir(&fixture.directory).expect("it is a directory");
        fixture
    }

    /// Runs the command that these bytes make. Returns its exit code; `None` if it would have gone on.
    ///
    /// # Panics
    /// Panics if the command does, or if its exit code, its output or its errors are not as documented.
    pub fn run(&self, data: &[u8]) -> Option<u8> {
        let arguments = self.arguments(&mut Unstructured::new(data)).unwrap_or_default();
        self.store.restore(&self.content);
        // A new one each time, so that nothing of one command is left for the next. While everything waits, its time jumps.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let program = std::iter::once("pgworkflows".into()).chain(arguments.iter().cloned());
        let ran = runtime
            .expect("a runtime starts")
            .block_on(async { tokio::time::timeout(PATIENCE, self.host.run(program)).await });
        // What fails leaves no file behind.
        let names_output = arguments.iter().any(|word| word.as_encoded_bytes().starts_with(b"--output"));
        if names_output && ran.as_ref().map_or(true, |ran| ran.code == 0) {
            self.clean();
        }
        let Ok(ran) = ran else {
            self.host.forget();
            return None;
        };
        check(&arguments, &ran);
        Some(ran.code)
    }

    fn arguments(&self, u: &mut Unstructured<'_>) -> Result<Vec<OsString>> {
        let mut words = Vec::new();
        if u.ratio(1, 10)? {
            for _ in 0..u.int_in_range(0..=8)? {
                words.push(self.word(u)?);
            }
        } else {
            let shape = u.choose(&self.shapes)?;
            words.extend(shape.words.iter().map(OsString::from));
            for operand in &shape.operands {
                if u.ratio(9, 10)? {
                    words.push(self.value(u, operand)?);
                }
            }
            for option in &shape.options {
                if u.ratio(1, 5)? {
                    words.push(option.name.clone().into());
                    if let Some(value) = &option.value {
                        words.push(self.value(u, value)?);
                    }
                }
            }
        }
        if u.ratio(1, 4)? {
            self.change(u, &mut words)?;
        }
        // A lone dash reads the standard input.
        words.retain(|word| word != "-");
        Ok(words)
    }

    /// Does to the words what a hasty person or a script does.
    fn change(&self, u: &mut Unstructured<'_>, words: &mut Vec<OsString>) -> Result<()> {
        let at = u.choose_index(words.len() + 1)?;
        let is_word = at < words.len();
        match u.int_in_range(0..=5)? {
            0 if is_word => drop(words.remove(at)),
            1 if is_word => words.insert(at, words[at].clone()),
            2 if is_word => words.swap(at, 0),
            3 if is_word => {
                words[at] = OsString::from_vec(u.arbitrary::<[u8; 3]>()?.map(|byte| byte | 0x80).to_vec())
            }
            4 if at + 1 < words.len() => {
                let value = words.remove(at + 1);
                words[at].push("=");
                words[at].push(value);
            }
            _ => words.insert(at, self.word(u)?),
        }
        Ok(())
    }

    /// Any word.
    fn word(&self, u: &mut Unstructured<'_>) -> Result<OsString> {
        Ok(match u.int_in_range(0..=6)? {
            0 | 1 => u.choose(&self.words)?.into(),
            2 => self.run_id(u)?.into(),
            3 => words::address(u)?.into(),
            4 => words::file(u)?.into(),
            5 => words::number(u)?.into(),
            _ => words::text(u)?.into(),
        })
    }

    /// A value of an option or an operand: what belongs there, or any word.
    fn value(&self, u: &mut Unstructured<'_>, value: &Value) -> Result<OsString> {
        if u.ratio(1, 6)? {
            return self.word(u);
        }
        if !value.words.is_empty() {
            return Ok(u.choose(&value.words)?.into());
        }
        Ok(match value.id.as_str() {
            "run" | "before" => self.run_id(u)?,
            "workflow" => (*u.choose(&["order", "relay", "ship", "unknown", "\u{202e}gpj"])?).to_owned(),
            "key" => (*u.choose(&["open", "over", "failed", "stalled", "paused", "\u{2066}yek", "new"])?)
                .to_owned(),
            "words" => (*u.choose(&["approve", "true", "null", "refuse"])?).to_owned(),
            "input" if u.ratio(1, 3)? => words::file(u)?,
            "input" => words::json(u)?,
            "file" | "output" => words::file(u)?,
            "url" => words::address(u)?,
            "schema" => (*u.choose(&["pgworkflows", "flows", "No Schema", "x; drop"])?).to_owned(),
            "limit" | "delay" | "timeout" | "interval" => words::number(u)?,
            _ => words::text(u)?,
        }
        .into())
    }

    fn run_id(&self, u: &mut Unstructured<'_>) -> Result<String> {
        let mut id = if u.ratio(1, 8)? { u.arbitrary::<u128>()? } else { u.choose(&self.runs)?.as_u128() };
        if u.ratio(1, 8)? {
            id ^= 1 << u.int_in_range(0..=127)?;
        }
        let mut text = RunId::from_u128(id).to_string();
        if u.ratio(1, 4)? {
            text.truncate(u.int_in_range(0..=36)?);
        }
        if u.ratio(1, 16)? {
            text = text.to_uppercase();
        }
        Ok(text)
    }

    /// Removes what commands have written, and writes what they read.
    fn clean(&self) {
        drop(std::fs::remove_dir_all(&self.directory));
        std::fs::create_dir_all(&self.directory).expect("a directory for files");
        let write = |name: &str, content: &[u8]| {
            std::fs::write(self.directory.join(name), content).expect("a file is written")
        };
        FILES.iter().for_each(|(name, content)| write(name, content));
        write(HISTORY, &serde_json::to_vec(&self.history).expect("a history can be written"));
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for CommandLine {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// Compares what a command did with what the documentation says.
fn check(arguments: &[OsString], ran: &Ran) {
    assert!(ran.code <= CODE_MAX, "{arguments:?}: {ran:?}");
    let is_silent = ran.out.is_empty() && ran.err.is_empty();
    assert!(ran.code == 0 || !is_silent, "it does not say why it failed: {arguments:?}: {ran:?}");
    // What a run has is shown as it is. What somebody typed in the wrong place is not.
    assert!(!ran.err.contains(SECRET), "{arguments:?}: {ran:?}");
    let is_obeyed = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
    assert!(!ran.out.contains(is_obeyed) && !ran.err.contains(is_obeyed), "{arguments:?}: {ran:?}");
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let is_script =
        has("completions") || has("help") || has("--help") || has("--version") || has("-V") || has("-h");
    if has("--json") && !has("--") && !is_script {
        for text in [&ran.out, &ran.err] {
            let values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
            values.for_each(|value| assert!(value.is_ok(), "it is not JSON: {arguments:?}: {ran:?}"));
        }
    }
}
