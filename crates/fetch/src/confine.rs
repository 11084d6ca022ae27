//! How the child gives up what it does not need.
//!
//! In this order, and all of it before the first byte from the network:
//!
//! 1. limits: memory, descriptors, no file written, no process made, no core;
//! 2. `no_new_privs`; if it was started by root, another user without groups and without capabilities;
//! 3. Landlock: files of name resolution, or the folder that is the repository, to read; TCP to a few ports;
//!    no Unix socket of another process by an abstract name, no signal to another;
//! 4. the system calls of [`outrigger_sandbox::FETCH`], and no others.
//!
//! 1, 2 and 4 must succeed. What of 3 this kernel does not have is told to the updater.

use std::os::fd::BorrowedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use outrigger_sandbox::{FETCH, Otherwise, confine_self};
use rustix::fs::{Gid, Uid};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What a child needs of this machine.
#[derive(Debug)]
pub struct Grants<'a> {
    /// Folders to read files in.
    pub folders: Vec<BorrowedFd<'a>>,
    /// Whether it resolves names.
    pub network: bool,
    /// TCP ports to connect to.
    pub ports: Vec<u16>,
}

/// The user that a child of root becomes: the kernel's own nobody (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65_534;
/// The newest rights that this code handles: 7 is Linux 6.15.
const HANDLED: ABI = ABI::V7;
/// Most memory, in bytes of address space. A transfer takes a few MiB; the program's own mappings, some tens.
const MEMORY: u64 = 512 << 20;
/// Most descriptors: the socket, a folder, a file or a few connections.
const DESCRIPTORS: u64 = 32;
/// What the C library reads to resolve a name. A link is followed when the rule is made.
const NAME_RESOLUTION: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/services",
];

/// Confines this process, which must have one thread; what this kernel did not give, as a sentence, or nothing.
///
/// # Errors
///
/// What failed. The process may be confined in part and must end.
pub fn confine(grants: &Grants<'_>) -> Result<String, String> {
    limit().map_err(|errno| format!("its limits cannot be set: {errno}"))?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|errno| format!("no_new_privs cannot be set: {errno}"))?;
    become_nobody(grants).map_err(|errno| format!("its rights cannot be given up: {errno}"))?;
    let weak = enter_landlock(grants).map_err(|error| format!("Landlock failed: {error}"))?;
    confine_self(&FETCH, Otherwise::Errno(libc_eperm()))
        .map_err(|error| format!("its system calls cannot be limited: {error}"))?;
    Ok(weak)
}

const fn libc_eperm() -> i32 {
    rustix::io::Errno::PERM.raw_os_error()
}

fn limit() -> Result<(), rustix::io::Errno> {
    for (resource, most) in [
        (Resource::As, MEMORY),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Fsize, 0),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// Gives up root. A child for a folder keeps the right to read what its user may not, since such a folder is
/// often the administrator's own: it speaks with no network, and Landlock shows it nothing but that folder.
fn become_nobody(grants: &Grants<'_>) -> Result<(), rustix::io::Errno> {
    if !rustix::process::geteuid().is_root() {
        return rustix::thread::set_capabilities(None, capabilities(CapabilitySet::empty()));
    }
    let keeps =
        if grants.network { CapabilitySet::empty() } else { CapabilitySet::DAC_READ_SEARCH };
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    rustix::thread::set_capabilities(None, capabilities(keeps))
}

const fn capabilities(keeps: CapabilitySet) -> CapabilitySets {
    CapabilitySets { effective: keeps, permitted: keeps, inheritable: CapabilitySet::empty() }
}

fn enter_landlock(grants: &Grants<'_>) -> Result<String, RulesetError> {
    match build(grants, CompatLevel::HardRequirement) {
        Ok(ruleset) => {
            ruleset.restrict_self()?;
            Ok(String::new())
        }
        Err(reason) => {
            let status = build(grants, CompatLevel::BestEffort)?.restrict_self()?;
            Ok(match status.ruleset {
                RulesetStatus::NotEnforced => "this kernel has no Landlock".to_owned(),
                _ => format!("this kernel's Landlock is older than ABI 7: {reason}"),
            })
        }
    }
}

fn build(grants: &Grants<'_>, level: CompatLevel) -> Result<RulesetCreated, RulesetError> {
    let read = BitFlags::from(AccessFs::ReadFile);
    let mut ruleset = Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(HANDLED))?
        .handle_access(AccessNet::from_all(HANDLED))?
        .scope(Scope::from_all(HANDLED))?
        .create()?
        .set_compatibility(CompatLevel::BestEffort);
    for folder in &grants.folders {
        ruleset = ruleset.add_rule(PathBeneath::new(folder, read))?;
    }
    for file in NAME_RESOLUTION.iter().filter(|file| grants.network && Path::new(file).exists()) {
        // It may have gone since; then there is nothing to read.
        if let Ok(file) = PathFd::new(file) {
            ruleset = ruleset.add_rule(PathBeneath::new(file, read))?;
        }
    }
    for port in &grants.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset)
}
