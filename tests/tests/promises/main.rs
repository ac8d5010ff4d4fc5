//! What PgWorkflows promises, one test per promise, on every store. Each file lists its promises at its top.

mod signals;
