//! The memory store: the readable reference of the store seam. It must not know a kind of event.
