//! What the new process does between clone and exec.
//!
//! It is a copy of a process with many threads, of which only one was copied: here nothing may be
//! allocated, no lock taken, and nothing may panic. All that it needs is ready in [`Plan`].
//! The order matters; each step says why it stands where it stands.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use seccompiler::BpfProgram;

use crate::channel;
use crate::error::Step;
use crate::root::Root;
use crate::sys;

/// Everything the child needs, made by the host before the clone. All descriptors in it have
/// numbers above those that the program gets, so that placing these overwrites none.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) channel: OwnedFd,
    /// The host's own pidfd: readable once the host is dead.
    pub(crate) host: OwnedFd,
    pub(crate) null: OwnedFd,
    pub(crate) input: Option<OwnedFd>,
    pub(crate) log: Option<OwnedFd>,
    /// They become 3, 4, ….
    pub(crate) granted: Vec<OwnedFd>,
    pub(crate) landlock: Option<OwnedFd>,
    pub(crate) root: Root,
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    /// It begins a session of its own.
    pub(crate) apart: bool,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) filter: BpfProgram,
    pub(crate) program: CString,
    pub(crate) arguments: sys::Arguments,
    /// Ranges of descriptor numbers, both ends included, that hold nothing of the above.
    pub(crate) foreign: Vec<(u32, u32)>,
}

type Failure = (Step, Errno);

/// Confines this process and runs the program.
pub(crate) fn run(plan: &Plan) -> Infallible {
    let (step, errno) = match confine(plan) {
        Ok(()) => (Step::Execute, sys::execute(&plan.program, &plan.arguments)),
        Err(failure) => failure,
    };
    channel::send_failure(plan.channel.as_fd(), step, errno);
    sys::exit_now(127)
}

fn confine(plan: &Plan) -> Result<(), Failure> {
    // First, so that no step can outlive the host; again after the last change of credentials.
    die_with_host()?;
    place_descriptors(plan)?;
    sys::reset_signals().map_err(at(Step::ResetSignals))?;
    // Out of reach of the terminal's signals, yet in the host's session: the kernel shares processors
    // between sessions first (`man 7 sched`, autogroup), and a question's way there and back between two
    // sessions took three more context switches (2.27 times the floor instead of 1.69). One that is on no
    // question's way takes its processor time from a share of its own.
    let begun = match plan.apart {
        true => rustix::process::setsid().map(drop),
        false => rustix::process::setpgid(None, None),
    };
    begun.map_err(at(Step::ProcessGroup))?;

    // With the rights of root in the initial user namespace, which owns all that is made here.
    let pivoted = enter_root(&plan.root)?;
    rustix::system::sethostname(b"engine").map_err(at(Step::HostName))?;
    for (resource, limit) in &plan.limits {
        rustix::process::setrlimit(*resource, *limit).map_err(at(Step::ResourceLimits))?;
    }
    // A host that was started with readable memory executable, or without random addresses, must not hand
    // that on.
    sys::take_plain_personality().map_err(at(Step::Personality))?;
    rustix::thread::set_thread_groups(&[]).map_err(at(Step::Groups))?;

    // Made while root, so that no other process with the engine's uid owns the namespace and with
    // it every right over the engine.
    let user_namespace = sys::unshare_user().err().map_or(0, Errno::raw_os_error);
    wait_for_host(plan, user_namespace, pivoted)?;
    take_identity(plan)?;

    rustix::thread::set_no_new_privs(true).map_err(at(Step::NoNewPrivileges))?;
    sys::refuse_exec_gain().map_err(at(Step::WriteOrExecute))?;
    die_with_host()?;
    check_host(plan)?;
    if let Some(ruleset) = &plan.landlock {
        sys::enter_landlock(ruleset.as_fd()).map_err(at(Step::Landlock))?;
    }

    // Last, since everything above is refused by it. What follows (sendmsg, execve) is allowed or
    // answered by the host.
    let listener = sys::install_filter(&plan.filter).map_err(at(Step::Seccomp))?;
    channel::send_listener(plan.channel.as_fd(), listener.as_fd()).map_err(at(Step::SendListener))
}

fn at(step: Step) -> impl FnOnce(Errno) -> Failure {
    move |errno| (step, errno)
}

fn die_with_host() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(at(Step::ParentDeathSignal))
}

/// The death signal of a host that was dead before it was asked for never comes.
fn check_host(plan: &Plan) -> Result<(), Failure> {
    let mut host = [PollFd::new(&plan.host, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut host, Some(&now)) {
        Ok(0) => Ok(()),
        Ok(_) => Err((Step::WaitForHost, Errno::SRCH)),
        Err(errno) => Err((Step::WaitForHost, errno)),
    }
}

/// The host's descriptors go first: among them are groups that must not outlive the host.
fn place_descriptors(plan: &Plan) -> Result<(), Failure> {
    for (first, last) in &plan.foreign {
        sys::close_range(*first, *last).map_err(at(Step::CloseDescriptors))?;
    }
    let log = plan.log.as_ref().unwrap_or(&plan.null);
    let input = plan.input.as_ref().unwrap_or(&plan.null);
    let standard = [input, log, log];
    let numbers = 0 as RawFd..;
    for (fd, number) in standard.into_iter().chain(&plan.granted).zip(numbers) {
        sys::place(fd.as_fd(), number).map_err(at(Step::PlaceDescriptors))?;
    }
    Ok(())
}

/// Builds the root on top of the host's and swaps the two. False where the root could not be
/// pivoted (the host runs on an initial ramfs) and was only changed.
fn enter_root(root: &Root) -> Result<bool, Failure> {
    use rustix::mount::{mount_change, move_mount, unmount};

    // Nothing of what follows may show up in the host's namespace.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(c"/", private).map_err(at(Step::PrivateMounts))?;

    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&root.tmpfs, c"", rustix::fs::CWD, c"/", flags).map_err(at(Step::PlaceMounts))?;
    for place in &root.places {
        move_mount(&place.mount, c"", &root.tmpfs, place.target.as_c_str(), flags)
            .map_err(at(Step::PlaceMounts))?;
    }
    sys::set_mount_attributes(root.tmpfs.as_fd(), Root::FROZEN).map_err(at(Step::FreezeRoot))?;

    rustix::process::fchdir(&root.tmpfs).map_err(at(Step::EnterRoot))?;
    let pivoted = match rustix::process::pivot_root(c".", c".") {
        Ok(()) => {
            // The old root now lies on top of the new one.
            unmount(c".", UnmountFlags::DETACH).map_err(at(Step::LeaveOldRoot))?;
            true
        }
        Err(Errno::INVAL) => {
            rustix::process::chroot(c".").map_err(at(Step::EnterRoot))?;
            false
        }
        Err(errno) => return Err((Step::EnterRoot, errno)),
    };
    rustix::process::chdir(c"/").map_err(at(Step::EnterRoot))?;
    Ok(pivoted)
}

/// Reports, and waits until the host has written the identity maps.
fn wait_for_host(plan: &Plan, user_namespace: i32, pivoted: bool) -> Result<(), Failure> {
    channel::send_ready(plan.channel.as_fd(), user_namespace, pivoted)
        .map_err(at(Step::WaitForHost))?;
    let mut go = [0_u8; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(&plan.channel, &mut go)) {
        Ok(1) => Ok(()),
        Ok(_) => Err((Step::WaitForHost, Errno::PIPE)),
        Err(errno) => Err((Step::WaitForHost, errno)),
    }
}

/// Becomes the engine's user, with no capability and no way to one.
fn take_identity(plan: &Plan) -> Result<(), Failure> {
    // Before the uid changes: without a user namespace that takes the right to do it.
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // past the last one that this kernel knows
            Err(errno) => return Err((Step::BoundingSet, errno)),
        }
    }
    rustix::thread::set_capabilities_secure_bits(SECURE_BITS).map_err(at(Step::SecureBits))?;
    let (uid, gid) = (plan.uid, plan.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(Step::Gid))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(Step::Uid))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // Empties the ambient set too, which never exceeds the permitted one.
    rustix::thread::set_capabilities(None, none).map_err(at(Step::Capabilities))
}

/// No uid means anything special any more, and none of this can be taken back.
const SECURE_BITS: CapabilitiesSecureBits = CapabilitiesSecureBits::NO_ROOT
    .union(CapabilitiesSecureBits::NO_ROOT_LOCKED)
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED)
    .union(CapabilitiesSecureBits::KEEP_CAPS_LOCKED)
    .union(CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE)
    .union(CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED);

impl Plan {
    /// Fills `foreign` from the numbers that the plan uses.
    pub(crate) fn note_foreign(&mut self) {
        let mut own: Vec<RawFd> = [&self.channel, &self.host, &self.null, &self.root.tmpfs]
            .into_iter()
            .chain(&self.input)
            .chain(&self.log)
            .chain(&self.landlock)
            .chain(&self.granted)
            .chain(self.root.places.iter().map(|place| &place.mount))
            .map(AsRawFd::as_raw_fd)
            .collect();
        own.sort_unstable();
        self.foreign = gaps(&own);
    }
}

/// The numbers that are not in the sorted list, as ranges with both ends included.
fn gaps(own: &[RawFd]) -> Vec<(u32, u32)> {
    let mut next = 0;
    let mut gaps = Vec::with_capacity(own.len() + 1);
    for fd in own.iter().filter_map(|fd| u32::try_from(*fd).ok()) {
        if next < fd {
            gaps.push((next, fd - 1));
        }
        next = fd + 1;
    }
    gaps.push((next, u32::MAX));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plan_does_not_own_is_closed() {
        assert_eq!(gaps(&[3, 5, 6, 9]), [(0, 2), (4, 4), (7, 8), (10, u32::MAX)]);
    }
}
