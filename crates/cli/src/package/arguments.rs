//! The command line of `outrigger package`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use outrigger_api::ContentType;
use outrigger_api::key::EngineName;
use outrigger_api::release::Part;
use outrigger_api::settings::release_version;
use outrigger_update::publish::Role;
use semver::{Version, VersionReq};

/// Longest that anything is signed for, in days.
const DAYS_MAX: i64 = 3650;

/// What is done.
#[derive(Debug, Subcommand)]
pub(crate) enum PackageCommand {
    /// Make a key: FILE, for its owner alone, and FILE.pub; never over another
    NewKey {
        /// The private key's file
        file: PathBuf,
    },
    /// Build a package from a folder; the same files give the same bytes
    Build(Build),
    /// Make a repository, or change which keys sign in it; then sign the new root
    Root(Root),
    /// Add releases to a repository and sign them
    Sign(Sign),
    /// Put in force what is signed, and renew the timestamp
    Publish(Publish),
    /// Show what a package or a repository holds; exit status 1 if something needs attention
    Inspect {
        /// The package's file, or the repository's folder
        path: PathBuf,
    },
}

/// What a package is built from.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The folder of its files; a release.toml in it says what the package is
    pub(crate) folder: PathBuf,
    /// Where the package is written; ENGINE-PART-VERSION.tar.gz here if not given
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A release.toml elsewhere than in the folder
    #[arg(long, value_name = "FILE")]
    pub(crate) template: Option<PathBuf>,
    /// Whose it is; for code, the manifest says it
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<EngineName>,
    /// `code` or `content`; a folder with a manifest.toml is code
    #[arg(long)]
    pub(crate) part: Option<Part>,
    /// Its version; for code, the manifest says it
    #[arg(long, value_parser = version)]
    pub(crate) version: Option<Version>,
    /// The content's type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<ContentType>,
    /// The version of the content's schema
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub(crate) schema: Option<u32>,
    /// The versions of the code that the content is for, such as ">=1.2, <2"
    #[arg(long, value_name = "VERSIONS")]
    pub(crate) interpreter: Option<VersionReq>,
}

/// What becomes of a root.
#[derive(Debug, Args)]
pub(crate) struct Root {
    /// The repository's folder; made if it is not there
    pub(crate) repository: PathBuf,
    /// Let a key sign for roles: root, targets, snapshot, timestamp, or several with commas between
    #[arg(long, value_name = "ROLE=FILE")]
    pub(crate) add: Vec<Given>,
    /// Let a key sign for roles no more
    #[arg(long, value_name = "ROLE=FILE|ID")]
    pub(crate) remove: Vec<Given>,
    /// How many of a role's keys must sign
    #[arg(long, value_name = "ROLE=NUMBER")]
    pub(crate) threshold: Vec<Given>,
    /// Make a new root that lives longer, whatever else is changed
    #[arg(long)]
    pub(crate) renew: bool,
    /// A private key to sign the new root with; its other holders sign with this option alone
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// How long a new root is good
    #[arg(long, default_value = "365", value_parser = days())]
    pub(crate) days: u32,
}

/// What is added to a repository and signed.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The repository's folder
    pub(crate) repository: PathBuf,
    /// Packages to add; without any, what is pending is signed, or what is published for longer
    pub(crate) package: Vec<PathBuf>,
    /// Offer a release no more
    #[arg(long, value_name = "ENGINE/PART/VERSION")]
    pub(crate) withdraw: Vec<String>,
    /// Drop what is pending first
    #[arg(long)]
    pub(crate) discard: bool,
    /// A private key of the role `targets` to sign with
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// How long the releases are good, from their first signature
    #[arg(long, default_value = "180", value_parser = days())]
    pub(crate) days: u32,
}

/// What is put in force.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The repository's folder
    pub(crate) repository: PathBuf,
    /// A private key of the roles `snapshot` and `timestamp`
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    /// Only renew the timestamp, and leave pending what is pending
    #[arg(long)]
    pub(crate) refresh: bool,
    /// How long the timestamp is good: publish again before
    #[arg(long, default_value = "7", value_parser = days())]
    pub(crate) timestamp_days: u32,
    /// How long the snapshot is good
    #[arg(long, default_value = "30", value_parser = days())]
    pub(crate) snapshot_days: u32,
}

/// Something for one or more roles.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) roles: Vec<Role>,
    pub(crate) value: String,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (roles, value) = text.split_once('=').ok_or("a role and `=` are missing")?;
        let roles = roles.split(',').map(str::parse).collect::<Result<Vec<Role>, String>>()?;
        Ok(Self { roles, value: value.to_owned() })
    }
}

fn version(text: &str) -> Result<Version, String> {
    release_version(text)
        .ok_or_else(|| "a semantic version without build metadata, such as 1.2.0".to_owned())
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=DAYS_MAX)
}
