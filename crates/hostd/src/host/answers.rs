//! The end of a question: its answer, what becomes of its descriptor, and what is written down of it.
//!
//! A file that was answered is closed, or kept under its lease as a known one. Closing can wait for a file
//! system's server, so what lies on one that can is closed by threads of their own.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use outrigger_api::record::notice::DecidedBy;
use outrigger_api::{Answer, CaseId, Event, ProcessKey, Verdict};
use outrigger_decision::DecidedBy as MergedBy;
use outrigger_decision::guard::apply as apply_guard;
use outrigger_dock::Waker;
use outrigger_sensor::identity::Subjects;
use outrigger_sensor::notice::Notice;
use outrigger_sensor::page::Tally;
use outrigger_sensor::process::{close_number, urgently};
use outrigger_sensor::{clock, identity};

use super::cache::free_and_close;
use super::control::{Compared, Denied};
use super::core::{Decided, Finished, Intake};
use super::history::{Decider, Entry, EntryVote};
use super::{Host, lock};

/// A question whose answer is found.
#[derive(Debug)]
struct Settled {
    finished: Finished,
    /// What the kernel is told.
    answer: Answer,
    /// Who it is said to be by.
    decided_by: Decider,
    not_enforced: bool,
    /// The rule that would have denied it.
    watched_rule: Option<Arc<str>>,
    /// What the subject ran and who it was, looked up while it waited.
    program: Option<PathBuf>,
    process: ProcessKey,
    /// When the kernel was told, ns; 0 before it.
    answered_at: u64,
}

impl Host {
    /// The answer to an open that follows an exec question about the same file by the same process.
    pub(super) fn earlier_exec(&self, intake: &Intake, now: u64) -> Option<Answer> {
        if lock(&self.execs).is_empty() {
            return None;
        }
        let open_set = lock(&self.core).subscribed(intake.event);
        lock(&self.execs).take(intake.run(), open_set, now)
    }

    /// Whether `file` may lease its object: a file that is leased already is not leased twice.
    pub(super) fn may_lease(&self, file: i32, object: &identity::Object) -> bool {
        /// Names kept before those that are stale are dropped.
        const NAMES_MAX: usize = 1 << 16;
        let name = BuildHasherDefault::<DefaultHasher>::default().hash_one(object.key);
        let page = self.page();
        let is_current = |name: u64, number: i32| {
            number != file && page.slot(number).is_some_and(|slot| slot.leases(name))
        };
        let mut leased = lock(&self.leased);
        if leased.get(&name).is_some_and(|&number| is_current(name, number)) {
            return false;
        }
        if leased.len() >= NAMES_MAX {
            leased.retain(|&name, &mut number| is_current(name, number));
        }
        leased.insert(name, file);
        if let Some(slot) = page.slot(file) {
            slot.name_file(name);
        }
        true
    }

    /// Answers an open by the exec question that it follows. It is that question's second half, so it
    /// has no case of its own.
    pub(super) fn answer_from_exec(&self, intake: &Intake, answer: Answer) {
        if let Some(group) = self.page().header().group(usize::from(intake.group)) {
            // It fails if the subject was killed meanwhile: then nobody waits.
            let _ = group.answer(intake.file, answer);
        }
        self.close_or_cache(intake, answer, false, 0);
    }

    /// Answers, closes or caches, and records.
    ///
    /// The kernel has one queue for all who wait for a group, and each answer wakes all of them. So what ended
    /// together is answered together: who was woken by the first answer finds his own when he runs, and is not
    /// woken, for nothing, by each of the others.
    pub(super) fn finish_all(&self, ended: &mut Vec<Finished>) {
        if ended.is_empty() {
            return;
        }
        let mut settled: Vec<Settled> =
            ended.drain(..).map(|finished| self.settle(finished)).collect();
        let mut answer = || settled.iter_mut().for_each(|settled| self.answer(settled));
        let crowd = lock(&self.core).has_crowd_of_one_user(clock::now());
        if crowd {
            urgently(answer)
        } else {
            answer()
        }
        // From here on nobody waits for what is done.
        self.history.add(settled.into_iter().map(|settled| self.write_down(settled)));
    }

    /// Finds the answer, with what can be looked up only while the opener waits.
    fn settle(&self, finished: Finished) -> Settled {
        let Finished { ref intake, mut decided_by, asked, ref votes, .. } = finished;
        let header = self.page().header();
        let mut not_enforced = finished.would_deny;
        let monitored = finished.answer == Answer::Deny && !self.refuses(intake);
        // What the administrator's own rule says holds for what the machine needs too.
        let lifted = decided_by == Decider::Rule && intake.ruling.of_engine.is_none();
        let guarded =
            finished.answer == Answer::Deny && !monitored && !lifted && self.is_guarded(intake);
        let (mut answer, conflict) = apply_guard(finished.answer, guarded);
        if monitored {
            (answer, not_enforced) = (Answer::Allow, true);
            header.add(Tally::WouldDeny, 1);
        } else if conflict.is_some() {
            (decided_by, not_enforced) = (Decider::GuardRail, true);
            header.add(Tally::Conflicts, 1);
        } else if finished.would_deny && answer == Answer::Allow {
            header.add(Tally::WouldDeny, 1);
        }
        let spared = intake.ruling.conflict.as_ref().filter(|_| answer == Answer::Allow);
        if spared.is_some() {
            not_enforced = true;
            if decided_by != Decider::GuardRail {
                header.add(Tally::Conflicts, 1);
            }
            if decided_by.fallback_reason().is_none() {
                decided_by = Decider::GuardRail;
            }
        }
        let spared = spared.map(|(_, rule)| Arc::clone(rule));
        let watched_rule = intake.ruling.would_deny.clone().filter(|_| answer == Answer::Allow);
        let watched_rule = spared.or(watched_rule);
        if watched_rule.is_some() && !not_enforced {
            not_enforced = true;
            header.add(Tally::WouldDeny, 1);
        }
        self.policy.count(&intake.ruling, answer);
        self.tell_watched(intake, votes, guarded);
        self.tell_shadowed(intake, votes);
        if intake.event == Event::ProcessExec && answer == Answer::Allow {
            lock(&self.execs).remember(intake.run(), answer, asked, finished.at);
        }
        // Who asked is looked up while he still waits, where somebody will want to read it.
        let plain = answer == Answer::Allow && decided_by.fallback_reason().is_none();
        let program = if plain { None } else { identity::program(intake.pid) };
        let process = self.subject(intake, plain);
        Settled {
            answer,
            decided_by,
            not_enforced,
            watched_rule,
            program,
            process,
            answered_at: 0,
            finished,
        }
    }

    fn answer(&self, settled: &mut Settled) {
        let intake = &settled.finished.intake;
        if let Some(group) = self.page().header().group(usize::from(intake.group)) {
            // It fails if the subject was killed meanwhile: then nobody waits.
            let _ = group.answer(intake.file, settled.answer);
        }
        settled.answered_at = clock::now();
    }

    /// Counts and tells what was answered, closes its descriptor or keeps it.
    fn write_down(&self, settled: Settled) -> Entry {
        let Settled { finished, answer, decided_by, not_enforced, answered_at, .. } = settled;
        let Finished { intake, case, votes, .. } = finished;
        let header = self.page().header();
        let kept = self.keep_for_shadows(&intake, decided_by, &votes);
        header.add(if answer == Answer::Allow { Tally::Allowed } else { Tally::Denied }, 1);
        if decided_by == Decider::EmptyFile {
            header.add(Tally::Empty, 1);
        }
        if self.facts(intake.event).told {
            self.tell_answer(&intake, case, answer, decided_by, answered_at);
        }
        if let Some(recorder) = &self.recorder {
            recorder.offer(&intake, answer);
        }
        let known_path = self.path_to_keep(&intake, answer, decided_by);
        let cached = self.close_or_cache(&intake, answer, finished.cacheable, finished.epoch);
        if cached && intake.event == Event::ProcessExec {
            // The open that follows passes unasked, unless it came before this.
            lock(&self.execs).forget(intake.run());
        }
        let entry = Entry {
            case,
            event: intake.event,
            process: settled.process,
            pid: intake.pid,
            uid: intake.credentials.map(|credentials| credentials.uid),
            program: settled.program,
            path: known_path,
            answer,
            decided_by,
            rule: intake.ruling.decided.as_ref().map(|(_, name)| Arc::clone(name)),
            watched_rule: settled.watched_rule,
            not_enforced,
            read_at: intake.read_at,
            answered_at,
            budget: intake.deadline.saturating_sub(intake.read_at),
            cached,
            votes,
        };
        self.record(&entry);
        if let Some(kept) = kept {
            self.show(intake, case, kept);
        }
        entry
    }

    /// Tells the control thread of denials by engines that it watches.
    fn tell_watched(&self, intake: &Intake, votes: &[EntryVote], guarded: bool) {
        let watched = self.watched.load(Ordering::Acquire);
        if watched == 0 {
            return;
        }
        let denies = |vote: &&EntryVote| {
            vote.verdict == Some(Verdict::Deny) && watched & (1 << vote.engine.get()) != 0
        };
        let path = || intake.path.clone().or_else(|| identity::path(intake.file));
        if let Some((place, rule)) = intake.ruling.denied_by_engine()
            && watched & (1 << (place % 64)) != 0
        {
            self.to_control.denied(Denied {
                place,
                event: intake.event,
                object: intake.object.key,
                path: path().map(|path| path.to_string_lossy().into_owned()),
                rule: rule.to_string(),
                guarded: guarded || self.is_guarded(intake),
                compared: None,
            });
        }
        for vote in votes.iter().filter(denies) {
            let path = path();
            self.to_control.denied(Denied {
                place: vote.engine.get(),
                event: intake.event,
                object: intake.object.key,
                path: path.map(|path| path.to_string_lossy().into_owned()),
                rule: vote
                    .detail
                    .as_deref()
                    .map(|rule| rule.as_str().to_owned())
                    .unwrap_or_default(),
                // In Monitor mode nothing was looked up, since nothing is refused.
                guarded: guarded || self.is_guarded(intake),
                compared: None,
            });
        }
    }

    /// Tells the control thread what rules of releases in shadow would have denied, and what they would not have that
    /// the rules in force deny.
    fn tell_shadowed(&self, intake: &Intake, votes: &[EntryVote]) {
        for beside in &intake.ruling.compared {
            let Some(rule) = beside.rule() else { continue };
            let place = beside.place;
            let by_vote = votes
                .iter()
                .any(|vote| vote.engine.get() == place && vote.verdict == Some(Verdict::Deny));
            let verdict = |denies| if denies { Verdict::Deny } else { Verdict::Allow };
            let path = intake.path.clone().or_else(|| identity::path(intake.file));
            self.to_control.denied(Denied {
                place,
                event: intake.event,
                object: intake.object.key,
                path: path.map(|path| path.to_string_lossy().into_owned()),
                rule: rule.to_string(),
                guarded: beside.shadow.is_some() && self.is_guarded(intake),
                compared: Some(Compared {
                    active: verdict(beside.active.is_some() || by_vote),
                    shadow: verdict(beside.shadow.is_some()),
                }),
            });
        }
    }

    /// Tells the engines that want to be told what became of a question.
    fn tell_answer(
        &self,
        intake: &Intake,
        case: CaseId,
        answer: Answer,
        by: Decider,
        answered_at: u64,
    ) {
        let by = match by {
            Decider::Merge(MergedBy::Fallback(_)) => DecidedBy::Fallback,
            Decider::Merge(MergedBy::NoEngine) | Decider::GuardRail => DecidedBy::Other,
            Decider::Rule => DecidedBy::Rule,
            Decider::EmptyFile => DecidedBy::Cache,
            Decider::Merge(MergedBy::Engine(_) | MergedBy::Engines | MergedBy::NoObjection) => {
                DecidedBy::Engine
            }
        };
        let path = intake.path.clone().map(|path| path.into_os_string().into_vec());
        let mut notice = Notice {
            process: intake.process,
            pid: intake.pid,
            credentials: intake.credentials,
            file: Some(intake.object.key),
            path,
            ..Notice::new(intake.event, intake.read_at)
        };
        self.filter_one(&mut notice);
        let decided = Decided { case, answer, by };
        self.tell_shadows_decided(&notice, decided);
        let mut wakes = Vec::new();
        {
            let mut core = lock(&self.core);
            core.tell_decided(notice, decided, answered_at);
            core.take_wakes(&mut wakes);
        }
        wakes.iter().for_each(Waker::wake);
    }

    /// Whether the machine needs the object.
    fn is_guarded(&self, intake: &Intake) -> bool {
        let path = intake.path.clone().or_else(|| identity::path(intake.file));
        path.is_some_and(|path| {
            self.guard.covers(self.shared.origin.as_fd(), &path, intake.object.key)
        })
    }

    /// The subject's key, where it is known or worth a look.
    fn subject(&self, intake: &Intake, plain: bool) -> ProcessKey {
        match intake.process {
            Some(process) => process,
            None if plain => Subjects::passing_key(intake.pid),
            None => identity::handle(intake.pid).map_or_else(
                |_| Subjects::passing_key(intake.pid),
                |handle| self.subjects.key(intake.pid, handle.as_fd()),
            ),
        }
    }

    /// A path is worth a look where somebody will read it: denials, fallbacks, watchers.
    fn path_to_keep(&self, intake: &Intake, answer: Answer, by: Decider) -> Option<PathBuf> {
        let plain = answer == Answer::Allow
            && by.fallback_reason().is_none()
            && by != Decider::GuardRail
            && !self.history.is_watched();
        match &intake.path {
            Some(path) => Some(path.clone()),
            None if plain => None,
            None => identity::path(intake.file),
        }
    }

    fn close_or_cache(&self, intake: &Intake, answer: Answer, cacheable: bool, epoch: u64) -> bool {
        if intake.pidfd >= 0 {
            close_number(intake.pidfd);
        }
        if intake.leased && cacheable && answer == Answer::Allow {
            let mut cache = lock(&self.cache);
            let room = cache.max().saturating_sub(1);
            cache.shrink_to(room);
            // Judged by rules that are in force no more, it may be one that the new ones are about.
            let current = intake.ruling.generation == self.policy.generation()
                && epoch == self.epoch.load(Ordering::Acquire);
            if current && cache.put(intake.file) {
                if epoch != self.epoch.load(Ordering::Acquire) {
                    // The flush of the new epoch may have passed before this one went in.
                    cache.drop_newest();
                }
                return true;
            }
        }
        let Some(slot) = self.page().slot(intake.file) else { return false };
        if intake.leased {
            outrigger_sensor::lease::release(intake.file);
        }
        if intake.group == 0 {
            free_and_close(slot, intake.file);
        } else {
            self.close_later(usize::from(intake.group), intake.file);
        }
        false
    }

    /// Closing a file of a file system that can block is left to a thread that may hang with it.
    fn close_later(&self, group: usize, file: i32) {
        let closers = lock(&self.closers);
        if let Some(Some(closer)) = closers.get(group) {
            // The closer ends with the process only.
            let _ = closer.send(file);
        }
    }

    /// Writes down what an operator must be able to read afterwards.
    fn record(&self, entry: &Entry) {
        let fallback = entry.decided_by.fallback_reason();
        if let Some(reason) = fallback {
            let counter = &self.page().header().host_fallbacks[reason.index()];
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let kind = match (entry.decided_by, fallback, entry.answer, entry.not_enforced) {
            (Decider::GuardRail, ..) => "conflict",
            (_, Some(_), ..) => "fallback",
            (_, None, Answer::Deny, _) => "denied",
            (_, None, Answer::Allow, true) => "would-deny",
            (_, None, Answer::Allow, false) => return,
        };
        let decision = self.history.describe(entry.clone());
        match serde_json::to_value(&decision) {
            Ok(value) => self.journal.write(kind, value),
            Err(error) => tracing::error!(%error, "a decision cannot be written down"),
        }
    }

    /// Drops every file that is cached now. Some at a time: the threads that answer need the cache too,
    /// and a file takes about 3 µs.
    pub(super) fn flush_cache(&self) {
        const AT_A_TIME: usize = 256;
        let mut left = lock(&self.cache).len();
        while left > 0 {
            let dropped = lock(&self.cache).drop_some(left.min(AT_A_TIME));
            left = if dropped == 0 { 0 } else { left.saturating_sub(dropped) };
        }
    }

    /// Closes what a dead predecessor left open on file systems that can block.
    pub(super) fn close_orphans(&self) {
        use outrigger_sensor::page::SlotState;
        let orphans: Vec<i32> = self
            .page()
            .used_slots()
            .filter(|(_, slot)| slot.view().state == SlotState::Orphan)
            .map(|(number, _)| number)
            .collect();
        if orphans.is_empty() {
            return;
        }
        let page = self.page();
        // Left alone it may hang for as long as the file system does.
        let _ = std::thread::Builder::new().name("close-orphans".into()).spawn(move || {
            for number in orphans {
                if let Some(slot) = page.slot(number) {
                    free_and_close(slot, number);
                }
            }
        });
    }
}
