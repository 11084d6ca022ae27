//! What needs a file system: packages, repositories.

mod package;
mod publish;
