//! The worker in Python, which executes what a workflow in Rust asks for, and is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pgworkflows_core::activity::ActivityDef;

use super::*;

/// It is executed in Python.
const GREET: ActivityDef<(String,), String> = ActivityDef::new("greet");

struct Greeting;

impl Workflow for Greeting {
    const NAME: &'static str = "greeting";
    type Input = String;
    type Output = String;

    async fn run(ctx: Context, name: String) -> WorkflowResult<String> {
        ctx.call(GREET, name).queue("python").await
    }
}

/// A Python with psycopg in the directory of the build; `None` if the machine has none and cannot get it.
fn python() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = home.join("bin/python");
    let runs = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let has_psycopg = || runs(Command::new(&python).args(["-c", "import psycopg"]));
    let made = has_psycopg()
        || runs(Command::new("python3").args(["-m", "venv"]).arg(&home))
            && runs(Command::new(&python).args(["-m", "pip", "install", "--quiet", "psycopg[binary]"]))
            && has_psycopg();
    made.then_some(python)
}

/// A running worker, which is killed when it is dropped.
struct PythonWorker(Child);

impl PythonWorker {
    fn start(python: &Path, world: &World) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python_worker.py");
        let mut command = Command::new(python);
        command.arg(script).env("DATABASE_URL", world.database.url());
        Self(command.spawn().unwrap())
    }
}

impl Drop for PythonWorker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn worker_in_python_executes_tasks_and_another_takes_over_when_it_is_killed() {
    let Some(python) = python() else {
        eprintln!("NOT TESTED: there is no python3 with psycopg, and none could be installed");
        return;
    };
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.execute("create table greetings (name text)").await;
    let worker = Worker::builder(world.store.clone()).workflow::<Greeting>();
    let worker = worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap();
    let talk = async {
        let first = PythonWorker::start(&python, &world);
        let run = sql.run(r#"pgworkflows.start('greeting', '"Ada"')"#).await;
        let result = sql.until(&format!("pgworkflows.result('{run}')")).await;
        assert_eq!(result["result"], "Hello from Python, Ada!");

        // Given an attempt that cannot write, and a worker that is killed in the middle of it
        let mut lock = Caller::new(&world).await;
        lock.execute("begin; lock table greetings in share mode").await;
        let run = sql.run(r#"pgworkflows.start('greeting', '"Grace"')"#).await;
        sql.until(
            "select to_jsonb(true) from pg_locks l join pg_database d on d.oid = l.database
             where d.datname = current_database() and l.relation = 'greetings'::regclass and not l.granted",
        )
        .await;
        drop(first);
        sql.execute("update pgworkflows.executors set expires_at = now()").await;
        // Then another one executes it, since its lease has ended, and what was written exists once
        let _second = PythonWorker::start(&python, &world);
        lock.execute("commit").await;
        let result = sql.until(&format!("pgworkflows.result('{run}')")).await;
        assert_eq!(result["result"], "Hello from Python, Grace!");
        assert_eq!(sql.text("select string_agg(name, ' ' order by name) from greetings").await, "Ada Grace");
        assert_eq!(
            sql.text("select count(*) from pgworkflows.history where name = 'activity.completed'").await,
            "2"
        );
    };
    worker.run_until(talk).await.unwrap();
}
