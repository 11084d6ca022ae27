//! The thread that reads questions.
//!
//! It finds out who asks about what, takes the lease under a possible cached verdict, and opens the
//! case. It opens no file and takes no lock that anybody holds across a call that can wait.
//!
//! There is one reader for ordinary file systems, and one per file system that can keep its readers
//! waiting (the kernel opens the object on behalf of the reader): such a reader may hang with its file
//! system and holds up nobody else.

use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use outrigger_api::{Answer, Event};
use outrigger_decision::EngineIndex;
use outrigger_sensor::identity::Credentials;
use outrigger_sensor::page::{Reader, SlotState};
use outrigger_sensor::process::{self, Interruptible, borrow_number};
use outrigger_sensor::{Batch, Group, RawQuestion, clock, identity, lease};

use super::Host;
use super::core::Intake;
use super::policy::{Asked, Ruling};
use super::{grants, impatient, verdicts};
use crate::gate;

/// Reads one group until the host ends.
pub(crate) fn run(host: &Arc<Host>, index: usize, group: Group) {
    let header = host.page().header();
    match Interruptible::this_thread() {
        Ok(thread) => host.readers().push((index, thread)),
        Err(error) => {
            tracing::error!(%error, "a reader cannot be interrupted; upgrades will wait for it")
        }
    }
    process::become_important();
    let mut batch = Batch::new();
    let mut ended = Vec::new();
    let mut intakes = Vec::new();
    let mut owners = Owners::default();
    loop {
        match header.reader() {
            Reader::Host => {}
            Reader::Draining => {
                host.parked(index);
                return;
            }
            Reader::Nobody | Reader::Gate => {
                gate::wait_for_turn(host.shared);
                continue;
            }
        }
        let mut unattended = header.unattended_since.load(Ordering::Acquire);
        if unattended != 0 && matches!(group.wait(Some(0)), Ok(false)) {
            // Nothing waits, so what comes next did not wait for this host.
            header.unattended_since.store(0, Ordering::Release);
            unattended = 0;
        }
        match group.read(&mut batch) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                host.sensor_failed(&error);
                continue;
            }
        }
        header.reads[index].fetch_add(1, Ordering::AcqRel);
        let now = clock::now();
        // What waited while nobody served has used up a part of its budget.
        let since = if unattended == 0 { now } else { unattended.min(now) };
        let questions = batch.questions();
        intakes.extend(
            questions
                .filter_map(|question| take_in(host, index, &question, now, since, &mut owners)),
        );
        host.ask(&mut intakes, now, &mut ended);
        host.finish_all(&mut ended);
        if unattended != 0 {
            header.unattended_since.store(0, Ordering::Release);
        }
    }
}

/// Whose a process is, for taking turns: looked up once in a while per process, not per question.
#[derive(Debug)]
struct Owners {
    /// By the last bits of the pid: the pid, its user, and until when that is believed.
    known: Box<[(u32, u32, u64); OWNERS]>,
}

/// Processes whose user is remembered.
const OWNERS: usize = 256;
/// How long it is believed, ns. A process that changes its user waits in the old line for as long.
const OWNER_FOR: u64 = clock::ms(100);

impl Default for Owners {
    fn default() -> Self {
        Self { known: Box::new([(0, 0, 0); OWNERS]) }
    }
}

impl Owners {
    fn of(&mut self, pid: u32, now: u64) -> Option<u32> {
        let known = &mut self.known[pid as usize % OWNERS];
        if known.0 != pid || known.2 < now {
            *known = (pid, identity::owner(pid)?, now.saturating_add(OWNER_FOR));
        }
        Some(known.1)
    }
}

/// Writes the question down where the gate finds it, and finds out what is needed to ask.
///
/// `None` if it is answered already, by the exec question that came before it.
fn take_in(
    host: &Host,
    group: usize,
    question: &RawQuestion,
    now: u64,
    since: u64,
    owners: &mut Owners,
) -> Option<Intake> {
    let group = u8::try_from(group).unwrap_or(0);
    if host.page().header().is_own(question.pid, true) {
        let_through(host, usize::from(group), question);
        return None;
    }
    let facts = host.facts(question.event);
    let deadline = since.saturating_add(verdicts::time_of(facts.budget));
    let page = host.page();
    page.note_used(question.file);
    if let Some(slot) = page.slot(question.file) {
        slot.question(question.event, false, group, deadline);
    }
    page.header().asked[question.event.index()].fetch_add(1, Ordering::Relaxed);
    // Ours and open; were the look to fail, the question would be asked with an object that nothing is
    // known of, and never cached.
    let file: BorrowedFd<'static> = borrow_number(question.file)?;
    let object = identity::object(file).unwrap_or_else(|_| unknown_object());
    let rules = host.policy.current();
    let uses = host.judges(&rules, question.event).then(|| rules.uses(question.event));
    let ruled_by_subject = uses.is_some_and(|uses| uses.ids || uses.identity);
    let mut pidfd = question.pidfd;
    if (facts.wants_subject || ruled_by_subject) && pidfd < 0 {
        // The group was made before an engine looked at subjects.
        pidfd = identity::handle(question.pid).map_or(-1, IntoRawFd::into_raw_fd);
    }
    let subject = borrow_number(pidfd).filter(|_| facts.wants_subject);
    let process = subject.map(|subject| host.subjects.key(question.pid, subject));
    let credentials = match subject {
        Some(_) if facts.wants_credentials => host.subjects.credentials(question.pid, subject),
        _ => None,
    };
    let user = credentials
        .map_or_else(|| owners.of(question.pid, now), |credentials| Some(credentials.uid));
    let volume = host.volume(object.device);
    if volume.monitored
        && let Some(slot) = page.slot(question.file)
    {
        slot.question(question.event, true, group, deadline);
    }
    let path = || identity::path(question.file);
    let wants_path = facts.wants_path || uses.is_some_and(|uses| uses.path);
    let known_path = (wants_path || host.history.is_watched()).then(path).flatten();
    let identity = uses
        .filter(|uses| uses.identity)
        .map(|_| host.identity(question.pid, borrow_number(pidfd), &rules));
    let asker = credentials.or_else(|| {
        let subject = borrow_number(pidfd);
        let uses_ids = uses.is_some_and(|uses| uses.ids);
        uses_ids.then(|| host.subjects.credentials(question.pid, subject)).flatten()
    });
    let exe = identity.as_ref().and_then(|identity| identity.exe.clone());
    let mut ruling = match uses {
        None => Ruling::of_nobody(rules.generation),
        Some(uses) => rules.judge(&Asked {
            event: question.event,
            file,
            object: &object,
            path: known_path.as_deref().filter(|_| uses.path),
            credentials: asker,
            identity,
        }),
    };
    if ruling.conflict.is_some()
        && !host.spares(&object, known_path.as_deref(), asker, exe.as_deref())
    {
        ruling.deny_after_all();
    }
    let content = facts
        .readers
        .iter()
        .map(|(engine, grant)| {
            let look = || known_path.clone().or_else(path);
            (*engine, grants::decide(grant, &host.keys, &object, look))
        })
        .collect::<Vec<(EngineIndex, _)>>();
    let mut intake = Intake {
        event: question.event,
        file: question.file,
        pidfd,
        group,
        pid: question.pid,
        process,
        user,
        credentials,
        object,
        path: known_path,
        leased: false,
        empty: false,
        stand_in: None,
        may_block: group != 0,
        read_at: now,
        deadline,
        ruling,
        content,
    };
    // One that a rule is about has a case of its own.
    if question.event == Event::FileOpen
        && intake.ruling.is_none()
        && let Some(answer) = host.earlier_exec(&intake, now)
    {
        host.answer_from_exec(&intake, answer);
        return None;
    }
    // What rules decide may be another thing for the next subject.
    if uses.is_none() && facts.may_cache && volume.cacheable && object.is_regular() {
        if !impatient::is_written_so(&object, || intake.path.clone().or_else(path)) {
            intake.leased = take_lease(host, question.file, &object);
        }
        // The look before was one before the lease.
        intake.empty = question.event == Event::FileOpen
            && object.size == 0
            && identity::object(file).is_ok_and(|now| now.is_regular() && now.size == 0);
    }
    Some(intake)
}

/// Answers a question of the platform's own. Its mounts ask nothing, but one that came a moment ago may
/// not be marked yet, and nobody here may wait for himself. Only this process and its two companions are
/// let through, by the pid that the kernel gives.
fn let_through(host: &Host, group: usize, question: &RawQuestion) {
    if let Some(group) = host.page().header().group(group) {
        let _ = group.answer(question.file, Answer::Allow);
    }
    process::close_number(question.file);
    if question.pidfd >= 0 {
        process::close_number(question.pidfd);
    }
}

/// Leases the object before anybody looks at its content. The slot says so first, so that a break that
/// comes at once is heard.
fn take_lease(host: &Host, file: i32, object: &identity::Object) -> bool {
    let Some(slot) = host.page().slot(file) else { return false };
    if !host.may_lease(file, object) {
        return false;
    }
    slot.exchange(SlotState::Question, SlotState::LeasedQuestion);
    let gate = host.page().header().gate_pid.load(Ordering::Acquire);
    if lease::take(file, gate).is_err() {
        slot.exchange(SlotState::LeasedQuestion, SlotState::Question);
        return false;
    }
    // A gate that died meanwhile hears nothing; its successor adopts what it finds in the table.
    if host.page().header().gate_pid.load(Ordering::Acquire) != gate {
        lease::release(file);
        slot.exchange(SlotState::LeasedQuestion, SlotState::Question);
        return false;
    }
    true
}

fn unknown_object() -> identity::Object {
    identity::Object {
        key: outrigger_api::FileKey::default(),
        device: 0,
        size: 0,
        changed: 0,
        mode: 0,
        owner: 0,
    }
}

impl Host {
    /// Whether the machine needs the object, or that this subject does what it does. A rule that was kept from
    /// denying knows paths alone: what lies at one in the host's own namespace it cannot tell.
    fn spares(
        &self,
        object: &identity::Object,
        path: Option<&Path>,
        asker: Option<Credentials>,
        exe: Option<&[u8]>,
    ) -> bool {
        let is_root = asker.is_some_and(|asker| asker.uid == 0);
        let runs = || exe.is_some_and(|exe| self.policy.spare().runs(exe));
        let guarded = |path: &Path| self.guard.covers(self.shared.origin.as_fd(), path, object.key);
        (is_root && runs()) || path.is_some_and(guarded)
    }
}
