//! The keeper: makes what must not die, starts gate and host, and starts again whichever dies.
//!
//! It creates the descriptor table, the groups and the shared page, enters a mount namespace of its own
//! in which every mount's opens pass unasked, clones gate and host, and waits. It reads no question,
//! no configuration after the first, no byte of any engine.
//!
//! Order on a host's death: the gate cleans up and says so; only then the next host is cloned, since
//! until then the gate closes whatever it does not know in the table that all three share.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use outrigger_api::settings::HostConfig;
use outrigger_sensor::mounts::MountTable;
use outrigger_sensor::page::{Ending, Page, Reader};
use outrigger_sensor::process::{self, Cloned, Signals};
use outrigger_sensor::{Group, clock, lease, volumes};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions};

use crate::shared::{SECOND, Shared, hear};
use crate::{gate, handover, host};

/// How long the host may take to end when asked, ns.
const STOP_LIMIT: u64 = 4 * SECOND;
/// How often the keeper looks whether the gate goes on, ns.
const GATE_LOOK: u64 = clock::ms(100);
/// Looks in a row in which the gate did not go on after which it is ended: it looks itself every 40 ms at
/// least. Counted in looks, not in time, since a machine that stood still stops both.
const GATE_LOOKS_MAX: u32 = 3;
/// Longest pause between starts of a host that keeps failing, ns.
const PAUSE_MAX: u64 = 5 * SECOND;

/// What the keeper is started with.
#[derive(Debug)]
pub(crate) struct Options {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// Where to write "ready" once engines are docked.
    pub(crate) ready: Option<OwnedFd>,
    /// The socket to the host of the build to be replaced.
    pub(crate) predecessor: Option<OwnedFd>,
}

/// Runs the platform until it is asked to end.
pub(crate) fn run(options: Options) -> Result<ExitCode> {
    // Engines run as other users: what is made for them must be readable whatever started us.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let config = HostConfig::read(&options.config)?;
    let shared: &'static Shared = Box::leak(Box::new(prepare(options, config)?));
    shared.fix_open_descriptors().context("cannot list the open descriptors")?;
    outrigger_sandbox::lock_memory().context("cannot lock the keeper's memory")?;
    Keeper {
        shared,
        gate: None,
        host: None,
        failures: 0,
        start_at: 0,
        gate_watch: GateWatch::default(),
    }
    .run()
}

fn prepare(options: Options, config: HostConfig) -> Result<Shared> {
    let manifests = config.read_manifests()?;
    // What a release of later looks at is not known, and the group is made once.
    let any_installed = manifests.iter().any(Option::is_none);
    let pidfds = any_installed || host::looks_at_subjects(manifests.iter().flatten());
    let slots = limit_descriptors();
    let page = Page::create(slots).context("cannot map the shared page")?;
    let header = page.header();
    header.keeper_pid.store(std::process::id(), Ordering::Release);
    let inherited = options.predecessor.as_ref().map(handover::receive).transpose()?;
    let (origin, mounts) = match inherited {
        Some(inherited) => {
            for (index, (group, device)) in inherited.groups.into_iter().enumerate() {
                header.devices[index].store(device, Ordering::Release);
                header.set_group(index, Some(group));
            }
            (inherited.origin, inherited.mounts)
        }
        None => {
            header.set_group(0, Some(open_first_group(pidfds)?));
            let origin = volumes::namespace_root().context("cannot open /")?;
            let mounts =
                MountTable::of_this_namespace().context("cannot open the mount table in /proc")?;
            (origin, mounts)
        }
    };
    enter_own_namespace(&page)?;
    let signals = [
        Signal::TERM.as_raw(),
        Signal::INT.as_raw(),
        Signal::HUP.as_raw(),
        Signal::CHILD.as_raw(),
        Signal::IO.as_raw(),
        lease::BREAK_SIGNAL,
    ];
    let keeper = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .context("cannot open a pidfd (Linux 5.3 or later is needed)")?;
    let table = rustix::fs::open(
        format!("/proc/{}/fd", std::process::id()),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .context("cannot open /proc/PID/fd")?;
    let wake = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    Ok(Shared {
        page,
        signals: Signals::block(&signals).context("cannot read signals")?,
        keeper,
        to_keeper: wake().context("cannot make an eventfd")?,
        to_host: wake().context("cannot make an eventfd")?,
        table,
        origin,
        mounts,
        config_path: options.config,
        config,
        ready: options.ready,
        predecessor: options.predecessor,
    })
}

/// Opens the group for ordinary file systems, or says what is missing and what to do.
fn open_first_group(pidfds: bool) -> Result<Group> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "outriggerd must run as root: only root may answer for the files of others\n\
             run it as root, for example: sudo make run"
        );
    }
    match Group::open(pidfds) {
        Ok(group) => Ok(group),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => bail!(
            "this kernel gives no fanotify permission events with pidfds ({error})\n\
             needed: Linux 5.15 or later with CONFIG_FANOTIFY_ACCESS_PERMISSIONS=y"
        ),
        Err(error) => Err(error).context(
            "the kernel refused a fanotify group\n\
             needed: CAP_SYS_ADMIN in the initial user namespace (not inside an unprivileged container)",
        ),
    }
}

/// Raises the soft limit of descriptors as far as allowed; returns how many there can be.
fn limit_descriptors() -> usize {
    let wanted = outrigger_sensor::page::SLOTS_MAX as u64;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = Rlimit { current: Some(possible), maximum: limit.maximum };
    let reached = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => possible,
        Err(_) => limit.current.unwrap_or(wanted).min(wanted),
    };
    usize::try_from(reached).unwrap_or(1024)
}

/// Enters a mount namespace of its own whose mounts ask nothing, so that nobody of the platform ever
/// waits for the platform's own answer. Nobody else can reach these mounts.
fn enter_own_namespace(page: &Page) -> Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    process::enter_new_mount_namespace().context("cannot make a mount namespace")?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).context("cannot separate the mounts")?;
    ignore_own_mounts(page)
}

/// Lets the opens through every mount of this process's namespace pass unasked, in every group.
pub(crate) fn ignore_own_mounts(page: &Page) -> Result<()> {
    let groups: Vec<Group> = page.header().groups().map(|(_, group)| group).collect();
    ignore_own_mounts_in(&groups)
}

/// As [`ignore_own_mounts`], in these groups.
pub(crate) fn ignore_own_mounts_in(groups: &[Group]) -> Result<()> {
    let mounts = MountTable::of_this_namespace().and_then(|table| table.read());
    for mount in mounts.context("cannot read the mount table")? {
        let Ok(path) = CString::new(mount.point.as_os_str().as_bytes()) else { continue };
        for group in groups {
            // A mount point that is hidden under another mount cannot be reached by us either.
            let _ = group.ignore_mount(&path);
        }
    }
    Ok(())
}

struct Keeper {
    shared: &'static Shared,
    gate: Option<Child>,
    host: Option<Child>,
    /// Hosts in a row that ended before they served.
    failures: u32,
    /// When the next host may be started, ns of the monotonic clock.
    start_at: u64,
    gate_watch: GateWatch,
}

/// Whether the gate goes on. A writer to a cached file depends on it, and nobody else would notice: the
/// host decides on without it.
#[derive(Debug, Default)]
struct GateWatch {
    turns: u64,
    still: u32,
    looked: u64,
}

impl GateWatch {
    /// Looks at its count of turns; true if it has stood still for too long.
    fn stands_still(&mut self, turns: u64, now: u64) -> bool {
        if now.saturating_sub(self.looked) < GATE_LOOK {
            return false;
        }
        self.looked = now;
        self.still = if turns == self.turns { self.still.saturating_add(1) } else { 0 };
        self.turns = turns;
        self.still >= GATE_LOOKS_MAX
    }
}

struct Child {
    pid: u32,
    pidfd: OwnedFd,
}

impl Keeper {
    fn run(mut self) -> Result<ExitCode> {
        loop {
            let header = self.shared.page.header();
            if self.gate.is_none() {
                self.start_gate()?;
            }
            let cleaned = header.cleaned.load(Ordering::Acquire);
            let starts = header.host_starts.load(Ordering::Acquire);
            if self.host.is_some() && cleaned == starts {
                // The gate gave it up: it is dead, or stuck in the kernel with a kill pending.
                self.bury_host();
            }
            if self.host.is_none() && cleaned == starts && clock::now() >= self.start_at {
                self.start_host()?;
            }
            self.wait();
            if let Some(code) = self.look() {
                return Ok(code);
            }
        }
    }

    fn wait(&self) {
        let mut polled = vec![
            PollFd::new(&self.shared.signals, PollFlags::IN),
            PollFd::new(&self.shared.to_keeper, PollFlags::IN),
        ];
        if let Some(gate) = &self.gate {
            polled.push(PollFd::new(&gate.pidfd, PollFlags::IN));
        }
        if let Some(host) = &self.host
            && !has_ended(host)
        {
            polled.push(PollFd::new(&host.pidfd, PollFlags::IN));
        }
        let left = match self.host {
            Some(_) => GATE_LOOK,
            None => self.start_at.saturating_sub(clock::now()).clamp(clock::ms(1), GATE_LOOK),
        };
        // An interruption is as good as an event.
        let _ = poll(&mut polled, Some(&timespec(left)));
        hear(&self.shared.to_keeper);
    }

    /// Handles what happened; the exit code if this was the end.
    fn look(&mut self) -> Option<ExitCode> {
        let header = self.shared.page.header();
        let (mut stop, mut reload, mut child) = (false, false, false);
        let _ = self.shared.signals.read(|signal| {
            let is = |wanted: Signal| signal.number == wanted.as_raw().unsigned_abs();
            stop |= is(Signal::TERM) || is(Signal::INT);
            reload |= is(Signal::HUP);
            child |= is(Signal::CHILD);
        });
        if child {
            self.look_for_stops();
        }
        if stop {
            return Some(self.stop());
        }
        if reload && let Some(host) = &self.host {
            let _ = rustix::process::pidfd_send_signal(&host.pidfd, Signal::HUP);
        }
        if self.host.as_ref().is_some_and(has_ended) {
            match header.ending() {
                Ending::HandedOver => return Some(ExitCode::SUCCESS),
                Ending::Stop => return Some(self.stop()),
                Ending::Not => {}
            }
        }
        let turns = header.gate_turns.load(Ordering::Acquire);
        if self.gate_watch.stands_still(turns, clock::now())
            && let Some(gate) = &self.gate
        {
            let _ = rustix::process::pidfd_send_signal(&gate.pidfd, Signal::KILL);
            self.gate_watch = GateWatch::default();
        }
        if header.ending() == Ending::Not
            && let Some(gate) = self.gate.take_if(|gate| has_ended(gate))
        {
            reap(&gate);
            self.shared.unfix(&gate.pidfd);
        }
        None
    }

    /// Tells the gate whether the host is stopped. By itself the gate finds that out from a question that is overdue
    /// or a group that is not read; one that the kernel was just handing over when the host was stopped shows as
    /// neither.
    fn look_for_stops(&self) {
        let Some(host) = &self.host else { return };
        let Some(pid) = i32::try_from(host.pid).ok().and_then(Pid::from_raw) else { return };
        let options = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
        while let Ok(Some(status)) = rustix::process::waitid(WaitId::Pid(pid), options) {
            let since = if status.stopped() { clock::now() } else { 0 };
            self.shared.page.header().stopped_since.store(since, Ordering::Release);
        }
    }

    fn start_gate(&mut self) -> Result<()> {
        match process::clone_sharing_descriptors().context("cannot start the gate")? {
            Cloned::Child => {
                process::set_name(c"outrigger-gate");
                if let Err(error) = process::become_urgent() {
                    tracing::warn!(
                        "the gate has no real-time priority, so many who wait are answered later: {error}"
                    );
                }
                wait_until_known(self.shared);
                gate::run(self.shared)
            }
            Cloned::Parent { pid, pidfd } => {
                self.shared.fix(pidfd.as_raw_fd());
                let header = self.shared.page.header();
                header.gate_starts.fetch_add(1, Ordering::AcqRel);
                header.gate_pid.store(pid, Ordering::Release);
                self.gate = Some(Child { pid, pidfd });
                Ok(())
            }
        }
    }

    fn start_host(&mut self) -> Result<()> {
        let header = self.shared.page.header();
        match process::clone_sharing_descriptors().context("cannot start the host")? {
            Cloned::Child => {
                process::set_name(c"outrigger-host");
                host::run(self.shared)
            }
            Cloned::Parent { pid, pidfd } => {
                self.shared.fix(pidfd.as_raw_fd());
                header.host_pid.store(pid, Ordering::Release);
                header.set_host_pidfd(Some(pidfd.as_raw_fd()));
                header.stopped_since.store(0, Ordering::Release);
                header.host_starts.fetch_add(1, Ordering::AcqRel);
                self.host = Some(Child { pid, pidfd });
                Ok(())
            }
        }
    }

    /// Puts away a host that the gate has cleaned up after, and plans the next start.
    fn bury_host(&mut self) {
        let Some(host) = self.host.take() else { return };
        self.shared.page.header().set_host_pidfd(None);
        let header = self.shared.page.header();
        // One that somebody stopped hangs as well, and by no fault of its own.
        let hung = header.host_hung() && header.stopped_since.load(Ordering::Acquire) == 0;
        if died_by_itself(reap(&host)) || hung {
            header.note_host_crash();
        }
        self.shared.unfix(&host.pidfd);
        let now = clock::now();
        let header = self.shared.page.header();
        let served =
            header.served.load(Ordering::Acquire) == header.host_starts.load(Ordering::Acquire);
        // One that served and was killed is started again at once, however often.
        self.failures = if served { 0 } else { self.failures.saturating_add(1) };
        let doublings = self.failures.saturating_sub(1).min(10);
        let pause = if doublings == 0 { 0 } else { (clock::ms(10) << doublings).min(PAUSE_MAX) };
        self.start_at = now + pause;
    }

    /// Ends protection: the host first, then the marks, then the gate. Whatever still waits is allowed
    /// by the kernel when the groups close, so that no denial is left behind.
    fn stop(&mut self) -> ExitCode {
        let header = self.shared.page.header();
        header.set_ending(Ending::Stop);
        if let Some(host) = self.host.take() {
            let _ = rustix::process::pidfd_send_signal(&host.pidfd, Signal::TERM);
            if !ends_within(&host, STOP_LIMIT) {
                let _ = rustix::process::pidfd_send_signal(&host.pidfd, Signal::KILL);
                ends_within(&host, SECOND);
            }
            reap(&host);
        }
        // A host that was restarting just now has left it; nobody listens there any more.
        let _ = std::fs::remove_file(&self.shared.config.control_socket);
        if let Some(metrics) = &self.shared.config.metrics_socket {
            let _ = std::fs::remove_file(metrics);
        }
        for (_, group) in header.groups() {
            // Closing the groups does the same for what these cannot remove.
            let _ = group.unmark_all_file_systems();
        }
        header.set_reader(Reader::Nobody);
        if let Some(gate) = self.gate.take() {
            let _ = rustix::process::pidfd_send_signal(&gate.pidfd, Signal::KILL);
            ends_within(&gate, SECOND);
            reap(&gate);
        }
        header.groups().for_each(|(_, group)| group.close());
        ExitCode::SUCCESS
    }
}

/// The gate must not look at the table before the keeper has entered its handle there.
fn wait_until_known(shared: &Shared) {
    let own = std::process::id();
    while shared.page.header().gate_pid.load(Ordering::Acquire) != own {
        std::thread::yield_now();
    }
}

fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanos / SECOND).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % SECOND).unwrap_or(0),
    }
}

fn has_ended(child: &Child) -> bool {
    ends_within(child, 0)
}

fn ends_within(child: &Child, nanos: u64) -> bool {
    let mut polled = [PollFd::new(&child.pidfd, PollFlags::IN)];
    poll(&mut polled, Some(&timespec(nanos))).is_ok_and(|ready| ready > 0)
}

/// Puts it away; gives the signal that ended it, if one did.
fn reap(child: &Child) -> Option<i32> {
    let pid = i32::try_from(child.pid).ok().and_then(Pid::from_raw)?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    rustix::process::waitid(WaitId::Pid(pid), options).ok()??.terminating_signal()
}

/// Whether a process that `signal` ended died by a fault of its own: a panic aborts, and an access to memory that
/// is not there has its signal. The others are sent, by the gate, the kernel for want of memory, or a person.
fn died_by_itself(signal: Option<i32>) -> bool {
    let sent = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP].map(Signal::as_raw);
    signal.is_some_and(|signal| !sent.contains(&signal))
}
