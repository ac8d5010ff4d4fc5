//! What `TestEnv` promises to those who test their workflows with it. No test here waits on a wall clock.

mod time;
