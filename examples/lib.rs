//! What the examples share: the trial-onboarding workflow, which the tests run as well.

pub mod trial;
