//! The incidents: releases with the faults that took machines down elsewhere, offered to the platform at work.
//!
//! Each is data (`scenarios/*.toml`, see [`scenario`](Scenario)): which engine, what is wrong with the release and
//! when that shows, and which step has to stop it. It is played by the commands that people use, from a signed
//! repository, with a host that decides by the release before and eight threads that open files. What is judged
//! stands in `judge`: nobody refused wrongly, nobody waiting too long, nothing guarded denied, the release before
//! deciding again within its time, offline, with the same host, and no healthy report meanwhile.
//!
//! Every scenario is played in a world of its own (`outrigger_testkit::world`), so nothing of it outlives it.

mod bad;
mod judge;
mod load;
mod outcome;
mod page;
mod play;
mod run;
mod scenario;
mod settings;
mod site;
mod table;
mod watch;

pub use run::run;
pub use scenario::{Scenario, all};
pub use settings::Settings;
