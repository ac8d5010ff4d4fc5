//! Activities that wait for something real: no time is skipped meanwhile. Here that is a channel to another thread, so
//! no test waits for a clock.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::thread;

use futures::join;
use pgworkflows_core::prelude::*;
use pgworkflows_testkit::{Error, TestEnv};
use tokio::sync::oneshot;

use crate::definitions::{APPROVED, Charge, DAY, HOUR, Order, Reserve, approved_order, order, orders};

/// Asks another thread.
struct Asks(Mutex<Option<oneshot::Receiver<u64>>>);

#[async_trait]
impl Activity for Asks {
    const NAME: &'static str = Reserve::NAME;
    type Input = String;
    type Output = u64;

    async fn execute(&self, ctx: ActivityContext, _: String) -> ActivityResult<u64> {
        let answer = self.0.lock().expect("one thread").take().expect("one attempt");
        tokio::select! {
            answer = answer => Ok(answer.map_err(ActivityError::from)?),
            // Neither of these lets time be skipped.
            () = ctx.sleep(DAY) => Err(ActivityError::new("late", "time was skipped")),
            () = ctx.cancellation().cancelled() => Err(ActivityError::new("cancelled", "it was given up")),
        }
    }
}

fn asking() -> (oneshot::Sender<u64>, TestEnv) {
    let (sender, answer) = oneshot::channel();
    let env = TestEnv::builder()
        .workflow::<Order>()
        .activity(Asks(Mutex::new(Some(answer))))
        .mock::<Charge>(|cents| Ok(format!("charged {cents}")))
        .build();
    (sender, env)
}

#[tokio::test]
async fn time_stands_still_while_an_activity_waits_for_another_thread() -> Result<(), Error> {
    let (sender, env) = asking();
    let run = approved_order(&env).await?;
    let (waits, waiting) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || {
        // Answers when the test waits, or is about to.
        waiting.recv().expect("the test continues");
        sender.send(17).expect("the activity waits");
    });
    waits.send(()).expect("the thread waits");
    assert_eq!(run.result().await?, "charged 17");
    assert_eq!(env.elapsed(), Duration::ZERO);
    other.join().expect("it only answers");
    Ok(())
}

#[tokio::test]
async fn answer_from_another_task_of_the_test_is_waited_for() -> Result<(), Error> {
    let (sender, env) = asking();
    let run = approved_order(&env).await?;
    let answer = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        sender.send(3).expect("the activity waits");
    };
    let (result, ()) = join!(run.result(), answer);
    assert_eq!(result?, "charged 3");
    assert_eq!(env.elapsed(), Duration::ZERO);
    Ok(())
}

#[tokio::test]
async fn client_of_an_environment_works_where_it_is_driven() -> Result<(), Error> {
    let env = orders().build();
    let client = env.client();
    // A handler as in production, which knows nothing of the test.
    let handler = async {
        let run = client.start::<Order>("book".to_owned()).key("order:1").await?;
        client.signal(run.run_id(), APPROVED, true).await?;
        Ok::<_, pgworkflows_core::Error>(run.run_id())
    };
    let run = env.drive(handler).await??;
    assert_eq!(env.run::<Order>(run).result().await?, "charged 4");
    Ok(())
}

#[tokio::test]
async fn step_that_waits_for_another_thread_is_waited_for() -> Result<(), Error> {
    type Answers = Arc<Mutex<Option<oneshot::Receiver<u64>>>>;
    static ANSWER: Mutex<Option<Answers>> = Mutex::new(None);

    workflow!(Steps, "steps", |ctx, (): ()| -> u64 {
        ctx.step("ask", || async {
            let answers = ANSWER.lock().expect("one thread").clone().expect("the test put it there");
            let answer = answers.lock().expect("one thread").take().expect("one attempt");
            Ok(answer.await?)
        })
        .await
    });

    let (sender, answer) = oneshot::channel();
    *ANSWER.lock().expect("one thread") = Some(Arc::new(Mutex::new(Some(answer))));
    let env = TestEnv::builder().workflow::<Steps>().build();
    let run = env.start::<Steps>(()).await?;
    let other = thread::spawn(move || sender.send(5).expect("the activity waits"));
    assert_eq!(run.result().await?, 5);
    other.join().expect("it only answers");
    assert!(env.elapsed() < HOUR);
    Ok(())
}

#[tokio::test]
async fn task_of_the_test_uses_the_client_while_the_environment_is_served() -> Result<(), Error> {
    let env = orders().build();
    let client = env.client();
    let handler = tokio::spawn(async move {
        let run = client.start::<Order>("book".to_owned()).await?;
        run.signal(APPROVED, true).await?;
        run.result().await
    });
    let result = env.serve(handler).await.expect("the task does not panic");
    assert_eq!(result?, "charged 4");
    assert_eq!(env.elapsed(), Duration::ZERO);
    Ok(())
}

#[tokio::test]
async fn timeout_of_a_client_is_one_in_virtual_time() -> Result<(), Error> {
    let env = orders().build();
    let run = order(&env).await?;
    let error = env.drive(run.handle().result().timeout(HOUR).into_future()).await?.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(env.elapsed(), HOUR);
    Ok(())
}
