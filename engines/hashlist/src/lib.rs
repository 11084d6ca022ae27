//! SHA-256 allow and deny lists: the smallest engine that is of use.
//!
//! The content folder holds any number of files `NAME.deny` and `NAME.allow`, in the form that
//! `sha256sum` writes: one hash per line, and after it, if any, a name to show. A file whose content has
//! a listed hash is denied, unless the same hash stands in an allow list: that is how an operator lifts
//! a false denial without touching a list that others maintain. What is in no list is allowed.
//!
//! A folder is taken whole or not at all: after a bad line, the lists that were in force stay so.

#![forbid(unsafe_code)]

mod engine;
mod line;
mod lists;

pub use engine::Hashlist;
pub use line::{HASH_BYTES, Hash, LINE_MAX, LineError};
pub use lists::{ENTRIES_MAX, ListError, Lists, NAMES_BYTES_MAX};
