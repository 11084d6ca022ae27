//! What any process can give up for good, without privileges: no sandbox, but better than nothing.

use std::io;

use landlock::Access as _;
use landlock::{
    ABI, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

use crate::confined::Enforcement;

/// The newest rights that this code handles: 7 is Linux 6.15.
const HANDLED: ABI = ABI::V7;

/// Takes from this thread, and from what it makes from now on: new privileges (`no_new_privs`), and as
/// far as the kernel's Landlock goes, writing to files and making them, TCP, abstract sockets and signals
/// to who has not given up the same. Reading and executing stay as they are. Cannot be taken back.
///
/// # Errors
///
/// What `prctl(2)` and `landlock_restrict_self(2)` give.
pub fn hold_back() -> io::Result<Enforcement> {
    rustix::thread::set_no_new_privs(true)?;
    let restricted = restrict().map_err(io::Error::other)?;
    Ok(match restricted {
        RulesetStatus::FullyEnforced => Enforcement::Full,
        RulesetStatus::PartiallyEnforced => Enforcement::Partial(
            "this kernel's Landlock is older than ABI 7: some of what was to be given up is not"
                .to_owned(),
        ),
        RulesetStatus::NotEnforced => Enforcement::Missing(
            "this kernel has no Landlock: it can write what its user can, and use the network"
                .to_owned(),
        ),
    })
}

fn restrict() -> Result<RulesetStatus, RulesetError> {
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(HANDLED))?
        .handle_access(AccessNet::from_all(HANDLED))?
        .scope(Scope::from_all(HANDLED))?
        .create()?
        .restrict_self()?;
    Ok(restricted.ruleset)
}
