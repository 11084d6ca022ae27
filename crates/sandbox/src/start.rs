//! The host's side of a start: prepares everything, clones, and keeps the child company until its
//! program runs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Gid, PidfdFlags, Resource, Rlimit, Uid, getpid, getrlimit, pidfd_open};

use crate::access;
use crate::calls::Calls;
use crate::cgroup::{Applied, Groups};
use crate::channel::{self, Packet};
use crate::child::{self, Plan};
use crate::confined::{Confined, Enforced, Enforcement};
use crate::confinement::{Bind, Confinement, Limits, PROGRAM};
use crate::error::StartError;
use crate::libraries::needed_libraries;
use crate::root::{self, Ignore, Root};
use crate::seccomp;
use crate::sys;

/// The longest that a new process may take until its program runs. Far above what it needs: a
/// machine under load must not fail a start, a child that hangs must not hang its host.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Starts `confinement`'s program and returns once it runs.
///
/// The program lives no longer than the *thread* that called this (`PR_SET_PDEATHSIG`): call it from
/// one that lasts. Takes some milliseconds; a new process that does not get to its program within
/// 5 s is killed.
///
/// # Errors
///
/// [`StartError`] says what failed and whose doing it is; nothing is left behind.
pub fn start(confinement: Confinement) -> Result<Confined, StartError> {
    confinement.check()?;
    let deadline = Instant::now() + START_LIMIT;
    let binds = all_binds(&confinement)?;
    let visible = root::visible(&binds);
    let name = confinement.name.clone();
    let identity = (confinement.uid, confinement.gid);
    let (groups, applied) = Groups::create(&name, &confinement.limits);

    let attempt = (|| {
        let (plan, channel, landlock) = prepare(confinement, &binds, &applied)?;
        let (pid, pidfd) = sys::clone_confined(|| child::run(&plan))
            .map_err(StartError::prepare("clone a process into new namespaces"))?;
        Ok((pid, pidfd, channel, landlock))
    })();
    let (pid, pidfd, channel, landlock) = attempt.inspect_err(|_| groups.remove())?;

    // From here on, whatever fails drops `confined`, which kills the child and removes its groups.
    let mut confined = Confined {
        pid,
        pidfd,
        calls: Calls::none(),
        enforced: enforced(applied, landlock),
        groups,
        end: OnceLock::new(),
    };
    confined
        .groups
        .join(pid)
        .map_err(StartError::prepare("put the new process into its control groups"))?;
    Company { channel, deadline, name: &name, identity, visible }.keep(&mut confined)?;
    Ok(confined)
}

/// What the root holds: what the caller names, the program, and the libraries that are not there yet.
fn all_binds(confinement: &Confinement) -> Result<Vec<Bind>, StartError> {
    let mut binds = confinement.read_only.clone();
    binds.push(Bind::code(&confinement.program, PROGRAM));
    for library in needed_libraries(&confinement.program)? {
        // In a folder of data it could not be run: left in, it is refused as an overlap.
        let covers = |bind: &Bind| bind.execute && library.target.starts_with(&bind.target);
        if !binds.iter().any(covers) {
            binds.push(library);
        }
    }
    Ok(binds)
}

/// Makes all that the child needs; returns also the host's end of the channel.
fn prepare(
    confinement: Confinement,
    binds: &[Bind],
    applied: &Applied,
) -> Result<(Plan, OwnedFd, Enforcement), StartError> {
    // Above the numbers that the program gets, so that placing those overwrites none of these.
    let least = RawFd::try_from(3 + confinement.descriptors.len()).unwrap_or(RawFd::MAX);
    let high = |fd: OwnedFd| {
        fcntl_dupfd_cloexec(&fd, least)
            .map_err(|errno| StartError::prepare("duplicate a descriptor")(errno.into()))
    };
    let Confinement { program, arguments, descriptors, input, log, limits, .. } = confinement;

    let ignore = Ignore { groups: &confinement.ignore_groups, mask: confinement.ignore_mask };
    let root = Root::build(binds, ignore, least)?;
    let (landlock, landlock_enforced) = access::ruleset(&root, least)?;
    let (ours, theirs) = open_channel().map_err(StartError::prepare("make a socket pair"))?;
    let host = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|errno| StartError::prepare("open its own pidfd")(errno.into()))?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| StartError::prepare("open /dev/null")(errno.into()))?;
    let mut plan = Plan {
        channel: high(theirs)?,
        host: high(host)?,
        null: high(null)?,
        input: input.map(high).transpose()?,
        log: log.map(high).transpose()?,
        granted: descriptors.into_iter().map(high).collect::<Result<_, _>>()?,
        landlock,
        root,
        apart: confinement.apart,
        limits: resource_limits(&limits, applied),
        uid: Uid::from_raw(confinement.uid),
        gid: Gid::from_raw(confinement.gid),
        filter: seccomp::engine_filter()
            .map_err(StartError::prepare("compile the system call filter"))?,
        program: c_string(PROGRAM)?,
        arguments: sys::Arguments::new(argument_strings(&program, &arguments)?),
        foreign: Vec::new(),
    };
    plan.note_foreign();
    Ok((plan, ours, landlock_enforced))
}

fn open_channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

fn argument_strings(
    program: &std::path::Path,
    arguments: &[String],
) -> Result<Vec<CString>, StartError> {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let first = CString::new(name.as_bytes())
        .map_err(|_| StartError::Nul(program.display().to_string()))?;
    std::iter::once(Ok(first)).chain(arguments.iter().map(|a| c_string(a))).collect()
}

fn c_string(text: &str) -> Result<CString, StartError> {
    CString::new(text).map_err(|_| StartError::Nul(text.to_owned()))
}

/// The limits that hold per process, soft and hard alike. None is above what the host has itself.
fn resource_limits(limits: &Limits, applied: &Applied) -> Vec<(Resource, Rlimit)> {
    let mut wanted = vec![
        (Resource::Nofile, u64::from(limits.descriptors)),
        // Counted per user and user namespace, so beside the control group and not instead of it. One
        // higher where the group holds: the kernel looks at this one first, and only the group counts
        // what it refuses.
        (
            Resource::Nproc,
            u64::from(limits.threads) + u64::from(applied.threads == Enforcement::Full),
        ),
        // 1 and not 0: only 1 also stops a dump through a pipe to a crash handler (core(5)), which
        // would carry what the process has read.
        (Resource::Core, 1),
        (Resource::Memlock, 64 << 10),
        (Resource::Fsize, 0),
        (Resource::Sigpending, 64),
        (Resource::Msgqueue, 0),
        (Resource::Nice, 0),
        (Resource::Rtprio, 0),
    ];
    if applied.memory != Enforcement::Full {
        wanted.push((Resource::Data, limits.memory_bytes));
    }
    let lowered = |(resource, value): (Resource, u64)| {
        let value = getrlimit(resource).maximum.map_or(value, |most| value.min(most));
        (resource, Rlimit { current: Some(value), maximum: Some(value) })
    };
    wanted.into_iter().map(lowered).collect()
}

/// What is known before the child has said anything.
fn enforced(applied: Applied, landlock: Enforcement) -> Enforced {
    let Applied { memory, threads, cpu } = applied;
    let weaker = |enforcement, instead: &str| match enforcement {
        Enforcement::Missing(why) => Enforcement::Partial(format!("{why}; {instead}")),
        other => other,
    };
    Enforced {
        root: Enforcement::Full,
        user_namespace: Enforcement::Full,
        landlock,
        memory: weaker(memory, "RLIMIT_DATA holds the heap alone"),
        threads: weaker(threads, "RLIMIT_NPROC holds"),
        cpu,
    }
}

/// The host's part of the talk with the child.
struct Company<'a> {
    channel: OwnedFd,
    deadline: Instant,
    name: &'a str,
    identity: (u32, u32),
    visible: Vec<PathBuf>,
}

impl Company<'_> {
    /// Answers the child until its program runs.
    fn keep(mut self, confined: &mut Confined) -> Result<(), StartError> {
        let mut filtered = false;
        while let Some(packet) = self.next_packet()? {
            match packet {
                Packet::Ready { user_namespace, pivoted } => {
                    self.let_go_on(confined, user_namespace, pivoted)?;
                }
                Packet::Filtered(listener) => {
                    filtered = true;
                    let visible = std::mem::take(&mut self.visible);
                    // The watch also lets the first execve through.
                    confined.calls = Calls::watch(self.name, listener, visible)
                        .map_err(StartError::prepare("start the thread that answers calls"))?;
                }
                Packet::Failed(step, errno) => {
                    return Err(StartError::Step { step, source: errno.into() });
                }
            }
        }
        // The channel closed: by the exec or, which its exit status will tell, by a kill just before.
        if filtered {
            return Ok(());
        }
        confined.ended_within(Timespec { tv_sec: 1, tv_nsec: 0 });
        let end = confined.exit().ok().flatten();
        Err(StartError::Died(end.map_or_else(|| "unknown".to_owned(), |end| end.to_string())))
    }

    fn next_packet(&self) -> Result<Option<Packet>, StartError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).unwrap_or_default();
        let mut socket = [PollFd::new(&self.channel, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut socket, Some(&limit)));
        if ready.map_err(|e| StartError::prepare("wait for the new process")(e.into()))? == 0 {
            let limit_ms = START_LIMIT.as_secs() * 1000;
            return Err(StartError::Late { limit_ms });
        }
        channel::receive(&self.channel)
            .map_err(|e| StartError::prepare("hear the new process")(e.into()))
    }

    /// Notes what the child got, writes its identity maps and sends it on.
    fn let_go_on(
        &self,
        confined: &mut Confined,
        user_namespace: i32,
        pivoted: bool,
    ) -> Result<(), StartError> {
        if !pivoted {
            let why = "the host runs on an initial ramfs: chroot instead of pivot_root";
            confined.enforced.root = Enforcement::Partial(why.into());
        }
        if user_namespace == 0 {
            write_maps(confined.pid, self.identity)
                .map_err(StartError::prepare("write the identity maps"))?;
        } else {
            let reason = io::Error::from_raw_os_error(user_namespace);
            confined.enforced.user_namespace = Enforcement::Missing(reason.to_string());
        }
        rustix::io::write(self.channel.as_fd(), &[1])
            .map_err(|e| StartError::prepare("send the new process on")(e.into()))?;
        Ok(())
    }
}

/// Maps the one uid and gid to themselves; nobody else exists in the namespace.
fn write_maps(pid: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    let file = |name: &str| format!("/proc/{pid}/{name}");
    fs::write(file("setgroups"), "deny")?;
    fs::write(file("uid_map"), format!("{uid} {uid} 1"))?;
    fs::write(file("gid_map"), format!("{gid} {gid} 1"))
}
