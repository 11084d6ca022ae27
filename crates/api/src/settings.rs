//! What is written down before anything starts: the engine's manifest, what a package of it says about
//! itself, the list of its releases, the host's configuration, and where releases come from.
//!
//! All are TOML files. A file is taken whole or not at all: [`Manifest::parse`], [`Release::parse`],
//! [`Releases::parse`], [`HostConfig::parse`] and [`UpdatesConfig::parse`] give either a value in which
//! every key was checked, or every error that was found, each with file, line, column, key, what was
//! found, the limit and a suggestion.
//!
//! All but the last two come from a vendor and are hostile. Before a file is parsed its length and
//! the number of its values are checked, nesting and lists are limited, and only [`ERRORS_MAX`] errors
//! are kept (the rest is counted), so that reading any file takes less than 100 MiB and a moment.
//!
//! The keys, their ranges and defaults stand in one place, `settings/keys.rs`; the reference pages
//! the pages of `docs/reference` are tested against it.

mod config;
mod error;
mod file;
mod filter;
mod instruction;
mod interprets;
mod keys;
mod kind;
mod manifest;
mod protect;
mod reader;
mod release;
mod rollout;
mod suggest;
mod updates;
mod values;

pub use config::{
    CacheConfig, ContentGrant, EngineConfig, EngineSource, EventPolicy, GuardConfig, HostConfig,
    OnQuarantine, RecordConfig, RecordContent, RulesConfig,
};
pub use error::{ERRORS_MAX, Place, Problem, SettingsError, SettingsErrors};
pub use filter::{ALTERNATIVES_MAX, Filter};
pub use instruction::{ACTIONS_MAX, Instruction, MACHINES_MAX, RepairAction};
pub use manifest::{Fields, Limits, Manifest, Need, Subscription};
pub use protect::{PlaceConfig, ProtectConfig, ProtectMode, TypeConfig};
pub use release::{
    ContentHead, DEPTH_MAX, MANIFEST_FILE, NAME_MAX, Offered, PATH_MAX, PathFault, RELEASE_FILE,
    RELEASE_FILES_MAX, RELEASE_FORMAT, RELEASES_FILE, RELEASES_MAX, Release, ReleaseFile, Releases,
    check_path, package_target, release_version, releases_target,
};
pub use rollout::{Approval, Day, Freeze, Pin, PinConfig, RolloutConfig, WeekTime};
pub use updates::{
    BootConfig, DownloadConfig, PreflightConfig, ProbationConfig, RepairConfig, RepositoryConfig,
    ShadowConfig, Source, UPDATES_FILE, UpdatesConfig,
};

/// Longest file that is parsed, in bytes.
pub const FILE_MAX: u64 = 1 << 20;
/// Most values, tables and parts of keys that a file may hold. Counted without parsing, by the signs
/// that each of them needs, so one in a comment or text counts as well.
pub const VALUES_MAX: usize = 1 << 16;
