//! The child as its updater meets it: what it may not do, and what it brings from the network and from folders.

mod folder;
mod http;
mod https;
mod meeting;
mod refusals;
mod server;
