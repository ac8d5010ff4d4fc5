//! The trial-onboarding workflow, which examples and tests share.

pub mod trial;
