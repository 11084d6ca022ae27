//! The engine that is tried: started as the host starts it, asked one question at a time.

use std::fs::File;
use std::io::{self, Write as _};
use std::iter;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_api::FailureReason;
use outrigger_api::sample::Sample;
use outrigger_api::settings::Manifest;
use outrigger_supervisor::SandboxLauncher;
use outrigger_supervisor::replay::{Judged, Limits, Outcome, Replay, ReplayError, spec};
use outrigger_update::preflight::{
    Asked, Broken, Interpreter, Object, Reply, RuleCount, RuleWord, RulesRefused, Started, Usage,
};
use rustix::fs::{MemfdFlags, SealFlags};

use super::rules::Rules;

/// The first of the users that it may run as: none that the host gives an engine by itself, which are counted
/// from 61,000, and none of a person's. Two engines of one user could signal each other.
const FIRST_UID: u32 = 62_000;
/// How many there are, so that two preflights at a time hardly share one.
const UIDS: u32 = 3000;
/// How often a question is asked whose answer is late, from the second time on with nothing else to do.
const TRIES: u32 = 3;

/// An engine in its sandbox.
#[derive(Debug)]
pub(crate) struct Sandboxed {
    manifest: Manifest,
    budget: Duration,
    replay: Option<Replay>,
    rules: Option<Rules>,
}

impl Sandboxed {
    /// The engine of `manifest`, which has `budget` for each question. It does not run yet.
    pub(crate) fn new(manifest: Manifest, budget: Duration) -> Self {
        Self { manifest, budget, replay: None, rules: None }
    }

    /// Why the process is gone, or as good as gone.
    fn broken(&self, reason: Option<FailureReason>, why: String) -> Broken {
        match reason {
            Some(FailureReason::OutOfMemory) => {
                Broken::OutOfMemory { limit_bytes: self.manifest.limits.memory_bytes }
            }
            Some(FailureReason::EngineHung) => {
                Broken::Hung(Duration::from_millis(self.manifest.limits.hang_ms.into()))
            }
            Some(
                FailureReason::Garbage | FailureReason::ForeignAnswer | FailureReason::RingCorrupt,
            ) => Broken::Garbage(why),
            // No process came into being: that is this machine's doing.
            None => Broken::Host(why),
            Some(_) => Broken::Crashed(why),
        }
    }

    /// What it has sent that is no part of the contract, if anything.
    fn garbage(replay: &mut Replay) -> Option<Broken> {
        let ending = replay.so_far();
        let garbage =
            [FailureReason::Garbage, FailureReason::ForeignAnswer, FailureReason::RingCorrupt];
        let found = garbage.iter().find(|reason| ending.faults.contains_key(reason.name()))?;
        let last = ending.last_fault.unwrap_or_default();
        Some(Broken::Garbage(format!("{found}: {last}")))
    }
}

impl Interpreter for Sandboxed {
    fn start(&mut self, content: Option<&Path>) -> Result<Started, Broken> {
        self.end();
        let began = Instant::now();
        let mut spec = spec(self.manifest.clone(), content.map(Path::to_owned));
        spec.config.uid = Some(FIRST_UID + std::process::id() % UIDS);
        let limits = Limits {
            budget: u64::try_from(self.budget.as_nanos()).unwrap_or(u64::MAX),
            in_flight: 1,
            crashes: 0,
            tries: TRIES,
        };
        // Nobody's groups are told to look away: a host that runs here sees this engine as any program.
        let launcher = Box::new(SandboxLauncher::new(Vec::new, 0));
        let mut replay = match Replay::start(spec, launcher, limits) {
            Ok(replay) => replay,
            Err(ReplayError::NotDocked { why, reason, refused, .. }) => {
                return Err(match (reason, refused) {
                    (Some(FailureReason::EngineHung), _) => {
                        let limit = self.manifest.limits.start_ms;
                        Broken::StartTimeout(Duration::from_millis(limit.into()))
                    }
                    // It said what is wrong, and ended: that is how the SDK refuses content.
                    (Some(FailureReason::EngineCrashed), Some(said)) => Broken::Refused(said),
                    // The handshake was refused: the process ran, and said what does not fit.
                    (Some(FailureReason::NotDocked), _) => Broken::Garbage(why),
                    (reason, _) => self.broken(reason, why),
                });
            }
            Err(error) => return Err(Broken::Host(error.to_string())),
        };
        let ending = replay.so_far();
        self.replay = Some(replay);
        Ok(Started {
            took: began.elapsed(),
            description: ending.content.unwrap_or_default(),
            sandbox_missing: ending.sandbox_missing,
        })
    }

    fn ask(&mut self, question: &Asked<'_>) -> Result<Reply, Broken> {
        let object = question.object.map(descriptor).transpose();
        let object = object.map_err(|error| Broken::Host(format!("an object's bytes: {error}")))?;
        let Some(replay) = &mut self.replay else {
            return Err(Broken::Host("it does not run".to_owned()));
        };
        let mut outcome = None;
        let mut one = iter::once((question.sample.clone(), object));
        let asked = replay.ask(&mut one, &mut |it| outcome = Some(it));
        match (asked, outcome) {
            (_, Some(Outcome { judged: Judged::Crashed(reason), .. })) => {
                let crash = replay.so_far().crashes.pop();
                let why = crash.map(|crash| crash.detail).unwrap_or_default();
                self.end();
                Err(self.broken(Some(reason), why))
            }
            (Err(error), _) => {
                let broken = Self::garbage(replay);
                self.end();
                Err(broken.unwrap_or_else(|| Broken::Crashed(error.to_string())))
            }
            (Ok(()), Some(Outcome { judged: Judged::Verdict(verdict, detail), latency, .. })) => {
                let detail = detail.as_str().to_owned();
                Ok(Reply::Answered { verdict, detail, latency: Duration::from_nanos(latency) })
            }
            (Ok(()), Some(Outcome { judged: Judged::Missed, .. })) => {
                Self::garbage(replay).map_or(Ok(Reply::Missed), Err)
            }
            (Ok(()), Some(Outcome { judged: Judged::NotAsked(why), .. })) => {
                Err(Broken::Host(format!("it could not be asked: {}", why.name())))
            }
            (Ok(()), None) => Err(Broken::Host("a question has no outcome".to_owned())),
        }
    }

    fn usage(&mut self) -> Usage {
        let Some(replay) = &mut self.replay else { return Usage::default() };
        let ending = replay.so_far();
        Usage { memory_bytes: ending.memory_peak, cpu: ending.cpu_ns.map(Duration::from_nanos) }
    }

    fn rules(&mut self, content: &Path) -> Result<Option<RuleCount>, RulesRefused> {
        let read = Rules::read(content, &self.manifest.name)?;
        let (rules, count) = read.map_or((None, None), |(rules, count)| (Some(rules), Some(count)));
        self.rules = rules;
        Ok(count)
    }

    fn judge(&mut self, sample: &Sample) -> RuleWord {
        self.rules.as_ref().map_or(RuleWord::Silent, |rules| rules.judge(sample))
    }

    fn end(&mut self) {
        if let Some(replay) = self.replay.take() {
            replay.end();
        }
    }
}

/// The bytes of `object` behind a descriptor of their own, as the host gives them.
fn descriptor(object: Object<'_>) -> io::Result<OwnedFd> {
    match object {
        Object::File(file) => file.as_fd().try_clone_to_owned(),
        Object::Bytes(bytes) => {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let mut file = File::from(rustix::fs::memfd_create("object", flags)?);
            file.write_all(bytes)?;
            let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            rustix::fs::fcntl_add_seals(&file, seals)?;
            // As the host's: read-only.
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
            Ok(File::open(path)?.into())
        }
    }
}
