//! What a test explores, and what it leaves out because it makes no difference. It must not know which orders there
//! are.

use std::fmt;

use pgworkflows_core::Activity;

/// What is explored.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    ignored: Vec<Ignored>,
    /// Whether time may pass while something else can arrive.
    pub(super) timeouts: bool,
}

/// An activity whose outcomes arrive at once.
#[derive(Clone, Debug)]
struct Ignored {
    name: &'static str,
    type_name: &'static str,
}

impl Default for Scope {
    /// Everything.
    fn default() -> Self {
        Self { ignored: Vec::new(), timeouts: true }
    }
}

impl Scope {
    pub(super) fn ignore<A: Activity>(&mut self) {
        if !self.ignores(A::NAME) {
            self.ignored.push(Ignored { name: A::NAME, type_name: std::any::type_name::<A>() });
        }
    }

    pub(super) fn ignores(&self, activity: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored.name == activity)
    }

    /// The names of the activities that are left out.
    pub(super) fn ignored(&self) -> impl Iterator<Item = &'static str> {
        self.ignored.iter().map(|ignored| ignored.name)
    }
}

impl fmt::Display for Scope {
    /// As a test writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Ignored { type_name, .. } in &self.ignored {
            write!(f, ".ignore::<{}>()", short(type_name))?;
        }
        if self.timeouts { Ok(()) } else { f.write_str(".timeouts(false)") }
    }
}

/// A type's name without its path, which a test need not write. A name with type parameters is kept whole.
fn short(type_name: &str) -> &str {
    if type_name.contains('<') {
        return type_name;
    }
    type_name.rsplit("::").next().unwrap_or(type_name)
}
