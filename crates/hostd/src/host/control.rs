//! The host's main thread: engines, mounts, configuration, the operator.
//!
//! Nothing here is on the way of a question. It may take milliseconds (starting an engine) without
//! anybody waiting longer.

mod ending;
mod engines;
mod marks;
mod policy;
mod safety;
mod sensors;
mod shrunk;
mod start;
mod surroundings;
mod swap;
mod trial;
mod upgrade;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::Result;
use outrigger_api::EngineName;
use outrigger_api::control::{EngineAction, EngineStatus, Request, Response};
use outrigger_api::coverage::EventCoverage;
use outrigger_api::ledger::Ledger;
use outrigger_api::settings::{HostConfig, Manifest};
use outrigger_sensor::changes::FileSensor;
use outrigger_sensor::clock;
use outrigger_sensor::volumes::Volumes;
use outrigger_supervisor::{Happening, Supervisor};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;
use serde_json::json;

use self::policy::{Purpose, Reading};
use self::safety::Repairs;
use self::shrunk::Comparison;
use self::swap::Swap;
use self::trial::Trial;
pub(crate) use self::trial::{Compared, Denied};
use super::boot::Boot;
use super::core::News;
use super::installed::{Trees, Version};
use super::journal::Trouble;
use super::keepsakes::Keepsakes;
use super::machine::Machine;
use super::server::Errand;
use super::subscriptions::Granted;
use super::{Host, keepsakes, lock, plane, poisoned, status};
use crate::shared::{SECOND, hear, signal};

/// How long the first marks wait for engines to dock, ns.
const DOCK_LIMIT: u64 = 5 * SECOND;

/// What other threads leave for the control thread.
#[derive(Debug)]
pub(crate) struct Inbox {
    sender: Mutex<Sender<Message>>,
    receiver: Mutex<Receiver<Message>>,
    wake: OwnedFd,
}

#[derive(Debug)]
enum Message {
    News(News),
    Errand(Errand),
    Policy(policy::Step),
    Swap(swap::Step),
    Trial(trial::Step),
    Denied(Denied),
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { sender: Mutex::new(sender), receiver: Mutex::new(receiver), wake })
    }

    pub(crate) fn news(&self, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let sender = lock(&self.sender);
        // The receiver lives as long as this inbox.
        news.into_iter().for_each(|one| drop(sender.send(Message::News(one))));
        signal(&self.wake);
    }

    pub(crate) fn errand(&self, errand: Errand) {
        drop(lock(&self.sender).send(Message::Errand(errand)));
        signal(&self.wake);
    }

    /// A step of a swap is done that waited for the disk.
    fn swap(&self, step: swap::Step) {
        drop(lock(&self.sender).send(Message::Swap(step)));
        signal(&self.wake);
    }

    /// A step of a trial is done that waited for the disk.
    fn trial(&self, step: trial::Step) {
        drop(lock(&self.sender).send(Message::Trial(step)));
        signal(&self.wake);
    }

    /// An engine that is watched has denied something.
    pub(crate) fn denied(&self, denied: Denied) {
        drop(lock(&self.sender).send(Message::Denied(denied)));
        signal(&self.wake);
    }

    fn take(&self) -> Vec<Message> {
        hear(&self.wake);
        lock(&self.receiver).try_iter().collect()
    }
}

/// Runs the host until it is asked to end; returns its exit code.
pub(crate) fn run(
    host: &Arc<Host>,
    problem: Option<String>,
    engines: Vec<(Version, Option<String>)>,
    boot: Boot,
) -> Result<i32> {
    let mut control = Control::new(host, problem, engines, boot)?;
    control.start()?;
    loop {
        control.wait();
        if let Some(code) = control.turn() {
            host.journal.flush(Duration::from_secs(1));
            if host.recorder.as_ref().is_some_and(|kept| !kept.flush(Duration::from_secs(1))) {
                tracing::warn!("the last decided questions were not recorded in time");
            }
            return Ok(code);
        }
    }
}

struct Control {
    host: Arc<Host>,
    /// This start, and those before.
    boot: Boot,
    repairs: Repairs,
    supervisor: Supervisor,
    /// What runs of each engine.
    manifests: Vec<Manifest>,
    /// As what each engine runs; `None` if there is nothing to run.
    in_force: Vec<Option<Version>>,
    /// What must lie in the slots.
    trees: Trees,
    /// Changes of version that are under way.
    swaps: Vec<Option<Swap>>,
    /// Releases on trial.
    trials: Vec<Option<Trial>>,
    /// It was looked up what was on trial when this host came to decide.
    resumed: bool,
    /// What is wrong with what the administrator decided about releases.
    updates_problem: Option<String>,
    volumes: Volumes,
    /// The folder of policies.
    reading: Reading,
    /// The highest number of a set of rules that was given out.
    generation: u64,
    /// What is wrong with the configuration, if the last good one is in force.
    problem: Option<String>,
    /// Coverage per event, once the trial has ended.
    probed: Arc<OnceLock<Vec<EventCoverage>>>,
    /// The same without the programs at other hooks than the scheduler's, whose trial takes seconds.
    quick: Arc<OnceLock<Vec<EventCoverage>>>,
    /// Coverage, compared with what it was before.
    comparison: Comparison,
    /// Why engines' filters are not in force, if they are not.
    filters_problem: Option<String>,
    /// Those programs were given the rules, once it was known which there are.
    plane_taken: bool,
    /// What each engine gets, or why it cannot work here, once coverage is known.
    granted: Option<Vec<Result<Granted, String>>>,
    /// The sensor of changes to files, if an engine is told of them.
    changes: Option<Arc<Mutex<FileSensor>>>,
    /// Devices of the volumes whose changes are told, or were found not to be.
    watched: Vec<u64>,
    /// Marks are in place and readiness was told.
    marked: bool,
    /// Something was mounted or unmounted since the last look.
    mounts_changed: bool,
    handover: Handover,
    /// The gate's number of starts when last seen.
    gate_starts: u64,
    machine: Machine,
    keepsakes: Keepsakes,
    /// Of which content the memory of poisoned objects is that the host before left.
    poisoned_by: poisoned::Contents,
    /// The kernel is kept, coverage having been probed on it.
    kernel_kept: bool,
    /// When something was last seen not to be written for want of room, ns, while that may go on.
    disk_full: Option<u64>,
    /// When the journal is to try again what it could not write, ns.
    journal_due: u64,
    /// Refused calls and the like, said once per engine and kind on the terminal.
    happenings: Vec<Happening>,
}

/// Where a change of builds stands.
enum Handover {
    None,
    /// This build is new: the old host still answers.
    FromPredecessor {
        said_ready: bool,
    },
    /// This build is old: the new one gets ready.
    ToSuccessor {
        socket: OwnedFd,
        reply: Sender<Response>,
        child: std::process::Child,
    },
}

impl Control {
    fn wait(&mut self) {
        let host = &self.host;
        let engines = self.supervisor.descriptors();
        let mut polled = vec![
            PollFd::new(&host.shared.signals, PollFlags::IN),
            PollFd::new(&host.shared.keeper, PollFlags::IN),
            PollFd::new(&host.to_control.wake, PollFlags::IN),
            PollFd::new(&host.shared.mounts, PollFlags::PRI),
        ];
        match &self.handover {
            Handover::FromPredecessor { said_ready: true } => {
                if let Some(socket) = &host.shared.predecessor {
                    polled.push(PollFd::new(socket, PollFlags::IN));
                }
            }
            Handover::ToSuccessor { socket, .. } => polled.push(PollFd::new(socket, PollFlags::IN)),
            Handover::None | Handover::FromPredecessor { said_ready: false } => {}
        }
        polled.extend(engines.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let now = clock::now();
        // Twice a second for what has no descriptor: the gate's restarts, the first marks' limit.
        let until = [self.supervisor.next_wake(), self.trials_due()];
        let until = until.into_iter().flatten().min().unwrap_or(u64::MAX);
        let nanos = until.saturating_sub(now).min(if self.marked { SECOND } else { SECOND / 20 });
        let limit = Timespec {
            tv_sec: i64::try_from(nanos / SECOND).unwrap_or(1),
            tv_nsec: i64::try_from(nanos % SECOND).unwrap_or(0),
        };
        // An interruption is as good as an event.
        let _ = poll(&mut polled, Some(&limit));
        // Told once per change, to whoever polls first.
        let changed = polled[3].revents().intersects(PollFlags::PRI | PollFlags::ERR);
        drop(polled);
        self.mounts_changed |= changed;
    }

    /// Looks at everything once; the exit code if the host ends.
    fn turn(&mut self) -> Option<i32> {
        if is_readable(self.host.shared.keeper.as_fd()) {
            return Some(self.end_without_keeper());
        }
        let (mut stop, mut reload) = (false, false);
        let _ = self.host.shared.signals.read(|signal| {
            stop |= signal.number == Signal::TERM.as_raw().unsigned_abs();
            reload |= signal.number == Signal::HUP.as_raw().unsigned_abs();
        });
        if stop {
            return Some(self.stop());
        }
        self.grant_events();
        self.take_plane();
        self.compare_coverage();
        self.commit_waiting_swaps();
        self.look_after_engines();
        self.look_at_mounts();
        self.look_at_gate();
        self.look_at_machine();
        self.look_at_disk();
        if let Some(code) = self.look_at_safety() {
            return Some(code);
        }
        if let Some(code) = self.look_at_handover() {
            return Some(code);
        }
        if reload {
            self.reload(None);
        }
        for message in self.host.to_control.take() {
            match message {
                Message::News(news) => self.hear(news),
                Message::Errand(errand) => {
                    if let Some(code) = self.errand(errand) {
                        return Some(code);
                    }
                }
                Message::Policy(step) => {
                    if let Some(code) = self.go_on_with_policy(step) {
                        return Some(code);
                    }
                }
                Message::Swap(step) => {
                    if let Some(code) = self.go_on_with_swap(step) {
                        return Some(code);
                    }
                }
                Message::Trial(step) => {
                    if let Some(code) = self.go_on_with_trial(step) {
                        return Some(code);
                    }
                }
                Message::Denied(denied) => self.hear_denied(&denied),
            }
        }
        self.look_at_trials();
        self.act();
        self.place_first_marks();
        None
    }

    fn errand(&mut self, errand: Errand) -> Option<i32> {
        let Errand { request, reply } = errand;
        let response = match request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Engines => Response::Engines { engines: self.engines() },
            Request::Ledger => {
                let engines = self.engines();
                let ledger = self.host.ledger(engines, &self.supervisor.usage());
                Response::Ledger(Box::new(Ledger {
                    policy: self.policy_status(),
                    plane: self.host.plane.get().map(plane::InKernel::status),
                    shrunk: self.comparison.shrunk().to_vec(),
                    ..ledger
                }))
            }
            Request::Doctor => Response::Doctor(self.coverage()),
            Request::Engine { name, action } => {
                let place = self.host.manifests.iter().position(|manifest| manifest.name == name);
                match place {
                    Some(place) => {
                        let now = clock::now();
                        if action == EngineAction::Quarantine {
                            self.set_aside(place, true);
                        }
                        let done =
                            self.supervisor.command(place, action, now, &mut self.happenings);
                        self.act();
                        match done {
                            Ok(message) => Response::Done { message },
                            Err(error) => Response::Error { message: error.to_string() },
                        }
                    }
                    None => self.no_engine(&name),
                }
            }
            Request::AcceptCoverage => self.accept_coverage(),
            Request::Flush => {
                self.host.new_epoch();
                Response::Done { message: "every cached verdict is dropped".to_owned() }
            }
            Request::Reload => {
                self.reload(Some(reply));
                return None;
            }
            Request::ApplyPolicy => {
                self.read_policies(Purpose::Apply(reply));
                return None;
            }
            Request::Swap { engine } => {
                self.swap(&engine, reply);
                return None;
            }
            Request::Trial { engine, releases, emergency } => {
                self.begin_trial(&engine, releases, emergency, reply);
                return None;
            }
            Request::Trials => Response::Trials { trials: self.list_trials() },
            Request::StopTrial { engine } => {
                self.stop_trial(&engine, reply);
                return None;
            }
            Request::GoBack { engine, part } => {
                self.send_back(&engine, part, reply);
                return None;
            }
            Request::EnterSafeMode { engine } => self.enter_safe_mode_by_hand(engine.as_ref()),
            Request::LeaveSafeMode { engine } => {
                return self.leave_safe_mode_by_hand(engine.as_ref(), &reply);
            }
            Request::Upgrade { binary } => {
                self.upgrade(binary, reply);
                return None;
            }
            Request::Watch | Request::Explain { .. } => {
                Response::Error { message: "answered by the connection itself".to_owned() }
            }
        };
        // A connection that is gone needs no answer.
        let _ = reply.send(response);
        None
    }

    fn no_engine(&self, name: &EngineName) -> Response {
        let known: Vec<&str> = self.host.manifests.iter().map(|m| m.name.as_str()).collect();
        let message = format!(
            "no engine is called {name}; there are: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        Response::Error { message }
    }

    fn status(&self) -> outrigger_api::control::Status {
        let mut problems = self.safety_problems();
        problems.extend(self.problem.iter().cloned());
        problems.extend(self.reading.problem().map(str::to_owned));
        if self.quick.get().is_none() {
            problems.push("coverage is being probed".to_owned());
        }
        if let Some((trouble, why)) = self.keepsakes.trouble() {
            problems.push(status::named(trouble, why));
        } else if self.disk_full.is_some() && self.host.journal.trouble().is_none() {
            let folder = self.host.config.state_dir.display();
            let what = format!("a moment ago there was no room in {folder}");
            problems.push(status::named(Trouble::Full, &what));
        }
        problems.extend(self.trial_problems());
        if !self.marked {
            problems.push("protection begins when the engines have docked".to_owned());
        }
        let coverage = self.coverage();
        problems.extend(self.undecided(&coverage));
        problems.extend(self.shrunk_problem());
        problems.extend(self.filters_problem.iter().cloned());
        problems.extend(self.reading.problems_of_contents());
        let policy = self.policy_status();
        let status = self.host.status(self.engines(), coverage, problems);
        let plane = self.host.plane.get().map(plane::InKernel::status);
        outrigger_api::control::Status { policy, plane, ..status }
    }

    fn engines(&self) -> Vec<EngineStatus> {
        let mut engines = self.supervisor.status();
        self.host.add_figures(&mut engines);
        engines
    }

    /// Reads the configuration again, and the policies. One that is refused changes nothing; a good one is
    /// put in force by a new host: this one ends what is open, and what is asked meanwhile waits for the next.
    fn reload(&mut self, reply: Option<Sender<Response>>) {
        match self.check_configuration() {
            Ok(()) => self.read_policies(Purpose::Reload(reply)),
            Err(message) => {
                if let Some(reply) = reply {
                    // A connection that is gone needs no answer.
                    let _ = reply.send(Response::Error { message });
                }
            }
        }
    }

    fn check_configuration(&self) -> Result<(), String> {
        let checked = HostConfig::read(&self.host.shared.config_path)
            .and_then(|config| config.read_manifests().map(|_| ()));
        checked.map_err(|errors| {
            tracing::error!("the configuration is refused; the old one stays in force:\n{errors}");
            self.host.journal.write("configuration-refused", json!({ "why": errors.to_string() }));
            format!("refused; the old configuration stays in force\n{errors}")
        })
    }

    /// Makes way for a host with the configuration as it is now, if it is still well.
    fn put_configuration_in_force(&mut self, reply: Option<&Sender<Response>>) -> Option<i32> {
        let respond = |response| {
            if let Some(reply) = reply {
                let _ = reply.send(response);
            }
        };
        if let Err(message) = self.check_configuration() {
            respond(Response::Error { message });
            return None;
        }
        self.host.journal.write("configuration-reloaded", json!({}));
        let done = Response::Done { message: "the new configuration is in force".to_owned() };
        Some(self.make_way(|| respond(done)))
    }

    fn remember_configuration(&mut self) {
        if self.problem.is_some() {
            return;
        }
        match std::fs::read(&self.host.shared.config_path) {
            Ok(text) => self.keepsakes.keep(keepsakes::LAST_GOOD, text, clock::now()),
            Err(error) => tracing::warn!(%error, "cannot read the configuration to keep a copy"),
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use outrigger_decision::EngineIndex;

    use super::*;

    #[test]
    fn what_is_left_in_the_inbox_comes_out_in_order() {
        let inbox = Inbox::new().expect("an eventfd can be made");
        let engine = EngineIndex::new(0).expect("zero is a place");

        inbox.news(vec![News::Misses { engine, count: 1 }, News::Misses { engine, count: 2 }]);

        let counts: Vec<u32> = inbox
            .take()
            .into_iter()
            .filter_map(|message| match message {
                Message::News(News::Misses { count, .. }) => Some(count),
                Message::News(
                    News::Fault { .. }
                    | News::FormerDone { .. }
                    | News::Judged { .. }
                    | News::ShadowFault { .. },
                )
                | Message::Errand(_)
                | Message::Policy(_)
                | Message::Swap(_)
                | Message::Trial(_)
                | Message::Denied(_) => None,
            })
            .collect();
        assert_eq!(counts, [1, 2]);
        assert!(inbox.take().is_empty());
    }
}
