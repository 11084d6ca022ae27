//! Where the programs under test lie: beside the program that tests them.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The platform's trusted processes.
pub const HOST: &str = "outriggerd";
/// The operator's tool.
pub const TOOL: &str = "outrigger";
/// The smallest engine.
pub const HASHLIST: &str = "outrigger-engine-hashlist";
/// The engine of the YARA rules.
pub const YARA: &str = "outrigger-engine-yara";
/// The interpreter of 19 July 2024 (`engines/channel291`).
pub const CHANNEL291: &str = "outrigger-engine-channel291";
/// The engine that attacks on command (`engines/hostile`).
pub const HOSTILE: &str = "outrigger-engine-hostile";

/// The built program `name`: from the folder in `OUTRIGGER_BIN_DIR`, else from the folder of the
/// running program or one above it.
///
/// # Errors
///
/// If it is not there; says how to build it.
pub fn path(name: &str) -> Result<PathBuf> {
    let named = env::var_os("OUTRIGGER_BIN_DIR").map(PathBuf::from);
    let own = env::current_exe().context("cannot tell which program this is")?;
    let folders = named.iter().map(PathBuf::as_path).chain(own.ancestors().skip(1).take(2));
    folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not built: run `cargo build --bins` with this profile"))
}
