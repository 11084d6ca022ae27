//! Attacks on a repository's metadata, each by its name: refused with its reason, nothing written but in the
//! store's folder, what was trusted before in force, and over when the attack is.

mod author;
mod child;
mod clock;
mod freshness;
mod keeping;
mod mixture;
mod signatures;
mod size;
mod world;
