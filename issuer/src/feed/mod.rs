//! What verifiers must refuse before it expires: sessions that ended early. Entries are numbered in the order in which
//! they are committed, so that a reader who knows the last number misses none.

pub mod store;
