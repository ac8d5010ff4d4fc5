//! The Postgres store: the log, the inbox and the leases as tables. It must not know a kind of event.
