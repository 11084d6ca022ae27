//! The Landlock domain of a confined process.
//!
//! Made by the host on the mounts of the new root, before the process exists: the child only enters
//! it. A second wall behind the read-only root: what a bug in the mounts would show, the domain
//! still refuses, and it refuses execution of everything but the program and its libraries.

use std::os::fd::{OwnedFd, RawFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::io::fcntl_dupfd_cloexec;

use crate::confined::Enforcement;
use crate::error::StartError;
use crate::root::{Kind, Root};

/// The newest rights that this code handles: 7 is Linux 6.15.
const HANDLED: ABI = ABI::V7;

/// Makes the ruleset for `root`; `None` where the kernel has no Landlock.
pub(crate) fn ruleset(
    root: &Root,
    least: RawFd,
) -> Result<(Option<OwnedFd>, Enforcement), StartError> {
    let complete = build(root, CompatLevel::HardRequirement);
    let (built, enforced) = match complete {
        Ok(ruleset) => (Ok(ruleset), Enforcement::Full),
        Err(reason) => (
            build(root, CompatLevel::BestEffort),
            Enforcement::Partial(format!("this kernel's Landlock is older than ABI 7: {reason}")),
        ),
    };
    let refused = |reason: String| StartError::Prepare {
        what: "make the Landlock ruleset".into(),
        source: std::io::Error::other(reason),
    };
    let Some(ruleset) = built.map_err(|reason| refused(reason.to_string()))? else {
        return Ok((None, Enforcement::Missing("this kernel has no Landlock".into())));
    };
    let ruleset = fcntl_dupfd_cloexec(&ruleset, least).map_err(|e| refused(e.to_string()))?;
    Ok((Some(ruleset), enforced))
}

fn build(root: &Root, level: CompatLevel) -> Result<Option<OwnedFd>, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(HANDLED))?
        .handle_access(AccessNet::from_all(HANDLED))?
        .scope(Scope::from_all(HANDLED))?
        .create()?
        // A rule on a file cannot hold the rights of folders; best effort leaves these out.
        .set_compatibility(CompatLevel::BestEffort);
    for place in &root.places {
        ruleset = ruleset.add_rule(PathBeneath::new(&place.mount, rights(place.kind)))?;
    }
    Ok(ruleset.into())
}

fn rights(kind: Kind) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match kind {
        Kind::Data => read,
        Kind::Code => read | AccessFs::Execute,
        Kind::Device => AccessFs::ReadFile | AccessFs::WriteFile,
    }
}
