//! What needs a file system: packages, repositories, the store.

mod package;
mod publish;
mod repository;
mod store;
