//! Every block of SQL in the guide is executed, in its order.

use super::*;

/// The workflow of the guide.
struct Onboarding;

impl Workflow for Onboarding {
    const NAME: &'static str = "trial-onboarding";
    type Input = Signup;
    type Output = String;

    async fn run(ctx: Context, signup: Signup) -> WorkflowResult<String> {
        Trial::run(ctx, signup).await
    }
}

#[tokio::test]
async fn blocks_of_the_guide_are_executed_one_after_the_other() {
    let guide = include_str!("../../../../docs/sql.md");
    let blocks: Vec<&str> =
        guide.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 10, "{}", blocks.len());
    let world = World::new().await;
    world.execute(pgworkflows_postgres::PostgresStore::roles_sql("pgworkflows").unwrap()).await;
    let mut sql = Caller::new(&world).await;
    let worker = Worker::builder(world.store.clone()).workflow::<Onboarding>();
    let worker = worker.heartbeat_interval(Duration::from_millis(50)).build().unwrap();
    let role = format!("app_{}", world.database.name());
    let talk = async {
        for block in blocks {
            // Roles belong to the whole server, on which other tests run.
            sql.execute(
                &block.replace("role app", &format!("role {role}")).replace("to app", &format!("to {role}")),
            )
            .await;
        }
        let mut ends = Vec::new();
        for key in ["signup:42", "customer:1", "customer:2"] {
            let result = format!("pgworkflows.result(pgworkflows.run_of('trial-onboarding', '{key}'))");
            ends.push(sql.until(&result).await["status"].as_str().unwrap().to_owned());
        }
        assert_eq!(ends, ["completed", "cancelled", "terminated"]);
        assert_eq!(sql.text(&format!("pg_has_role('{role}', 'pgworkflows_client', 'usage')")).await, "true");
        // What the guide shows of a result
        let result =
            sql.json("pgworkflows.result(pgworkflows.run_of('trial-onboarding', 'signup:42'))").await;
        assert!(guide.contains(&format!("\"result\": {}", result["result"])), "{result}");
        // The table of errors has those that are raised
        for code in ["PW101", "PW102", "PW103", "PW104", "PW105", "PW106", "PW107", "PW003"] {
            assert!(guide.contains(&format!("`{code}`")), "{code}");
        }
    };
    worker.run_until(talk).await.unwrap();
    sql.execute(&format!("drop role {role}")).await;
}
