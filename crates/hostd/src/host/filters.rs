//! Who wants to be told of what sensors without rules say: engines' filters, for what fanotify and the process
//! sensor tell.
//!
//! The programs of the second plane evaluate filters in the kernel, once they have a set of rules and of events that
//! rules can decide. What they and other sensors tell without is looked at here, by the same tables and before anything is
//! put into a ring, so that an engine sleeps through what it does not want. Filters are compiled once, when it is known what each engine is told.
//!
//! A notice comes a moment after what it tells of, and the process may be gone. What it descends from is known
//! of processes whose fork or exec was told: that is remembered until their exit. What is not known of a
//! notice does not keep it from whoever may want it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use outrigger_api::settings::{Filter, Manifest};
use outrigger_api::{Event, EventSet, ProcessKey};
use outrigger_decision::rules::{
    Facts, Image, Lineage, LineageKey, MarkNames, Number, Text, compile, filter,
};
use outrigger_sensor::identity::{self, Subjects};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::plane::Remembered;

use super::policy::cgroup;
use super::{Host, lock};

/// Most processes that are remembered; the oldest is forgotten for one more.
const PROCESSES_MAX: usize = 8192;

/// The filters of all engines.
#[derive(Debug)]
pub(crate) struct Filters {
    image: Image,
    /// What the filters about each event look at.
    looks: Vec<Looks>,
    key: LineageKey,
    memory: Mutex<Memory>,
}

/// What filters look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// Any filter is about it.
    pub(crate) any: bool,
    pub(crate) path: bool,
    pub(crate) uid: bool,
    /// Programs that the subject descends from.
    pub(crate) lineage: bool,
    pub(crate) cgroup: bool,
}

impl Looks {
    /// What the filters of these manifests about `event` look at.
    pub(crate) fn of<'a>(manifests: impl IntoIterator<Item = &'a Manifest>, event: Event) -> Self {
        let filters = manifests.into_iter().flat_map(|manifest| &manifest.filters);
        filters.filter(|filter| filter.events.contains(event)).fold(Self::default(), Self::and)
    }

    fn and(self, filter: &Filter) -> Self {
        Self {
            any: true,
            path: self.path || !filter.paths.is_empty(),
            uid: self.uid || !filter.uids.is_empty(),
            lineage: self.lineage || !filter.programs.is_empty(),
            cgroup: self.cgroup || !filter.cgroups.is_empty(),
        }
    }

    const fn who(self) -> bool {
        self.lineage || self.cgroup
    }
}

/// What is known of who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Who {
    lineage: Lineage,
    /// The kernel said what it descends from, or what it was forked from did.
    by_kernel: bool,
    cgroup: Option<Arc<[u8]>>,
}

impl Filters {
    /// The filters of `engines`, each with what it is told; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If all together are too many for one set.
    pub(crate) fn new<'a>(
        engines: impl Iterator<Item = (&'a Manifest, EventSet)> + Clone,
        key: &LineageKey,
    ) -> Result<Option<Self>, String> {
        let manifests = || engines.clone().map(|(manifest, _)| manifest);
        let looks: Vec<Looks> =
            Event::ALL.iter().map(|event| Looks::of(manifests(), *event)).collect();
        let filtered: EventSet =
            Event::ALL.iter().copied().filter(|event| looks[event.index()].any).collect();
        let tells: Vec<_> = engines
            .zip(0_u8..)
            .flat_map(|((manifest, told), number)| {
                let told = told.intersection(filtered);
                filter::tell(number, &manifest.name, told, &manifest.filters)
            })
            .collect();
        if tells.is_empty() {
            return Ok(None);
        }
        let compiled = compile(&tells, key, 1, &MarkNames::default());
        let image = compiled.map_err(|error| error.to_string())?.image;
        Ok(Some(Self { image, looks, key: key.clone(), memory: Mutex::default() }))
    }

    /// The engines that want to be told of `notice`, a bit each; `None` if everybody may.
    fn wanted(
        &self,
        notice: &Notice,
        remembered: Option<&Remembered>,
        subjects: Subjects,
    ) -> Option<u64> {
        let looks = *self.looks.get(notice.event.index())?;
        let of_process = is_of_process(notice.event);
        // What a process does later is judged by what is remembered of it now.
        let follows = of_process && self.looks.iter().any(|looks| looks.who());
        let who = (looks.who() || follows).then(|| {
            let look = |pid, key| look(pid, key, remembered, subjects, looks.cgroup || follows);
            match of_process {
                true => lock(&self.memory).follow(notice, &self.key, remembered.is_some(), look),
                false => notice.process.and_then(|key| {
                    look(notice.pid, key).or_else(|| lock(&self.memory).get(key).cloned())
                }),
            }
        });
        if !looks.any || (looks.uid && notice.credentials.is_none()) {
            return None;
        }
        let mut facts = Facts::new(notice.event);
        facts.set_path(notice.path.as_deref());
        if let Some(credentials) = notice.credentials {
            facts.set_number(Number::SubjectUid, credentials.uid.into());
        }
        let who = who.flatten();
        if let Some(who) = &who {
            facts.lineage = who.lineage;
            if let Some(cgroup) = &who.cgroup {
                facts.set_text(Text::Cgroup, cgroup);
            }
        }
        Some(self.image.decide(&facts).tell)
    }

    /// Some of what tells of processes was lost: what is remembered of them may be wrong.
    fn forget(&self) {
        *lock(&self.memory) = Memory::default();
    }
}

/// Whether the process sensor tells it, in the order in which it happened.
fn is_of_process(event: Event) -> bool {
    matches!(event, Event::ProcessFork | Event::ProcessExec | Event::ProcessExit)
}

/// What is to be seen of a process that may be gone.
fn look(
    pid: u32,
    key: ProcessKey,
    remembered: Option<&Remembered>,
    subjects: Subjects,
    with_cgroup: bool,
) -> Option<Who> {
    let pidfd = identity::handle(pid).ok()?;
    // The pid may be another's by now; after the control group was read as well.
    let is_it = || subjects.of_running(pid, pidfd.as_fd()).0 == Some(key);
    if !is_it() {
        return None;
    }
    let subject = remembered.and_then(|remembered| remembered.subject(pidfd.as_fd()));
    let by_kernel = subject.is_some();
    let lineage = subject
        .map_or(Lineage::UNKNOWN, |subject| Lineage::new(&subject.lineage, subject.lineage_is_cut));
    let cgroup = with_cgroup.then(|| cgroup(pid)).flatten().filter(|_| is_it());
    Some(Who { lineage, by_kernel, cgroup: cgroup.map(Arc::from) })
}

/// What is remembered of processes, from their fork or exec to their exit.
#[derive(Debug, Default)]
struct Memory {
    known: HashMap<ProcessKey, Who>,
    /// In the order in which they came. Who has ended may still stand here.
    order: VecDeque<ProcessKey>,
}

impl Memory {
    fn get(&self, key: ProcessKey) -> Option<&Who> {
        self.known.get(&key)
    }

    /// Goes on with what `notice` tells of a process; who did it. What was noted before the kernel remembered
    /// processes is not good enough once it does (`kernel_knows`), if the process is still there to be looked at.
    fn follow(
        &mut self,
        notice: &Notice,
        key: &LineageKey,
        kernel_knows: bool,
        look: impl Fn(u32, ProcessKey) -> Option<Who>,
    ) -> Option<Who> {
        let process = notice.process?;
        let better = |noted: Option<Who>, pid, process| {
            let is_good = |who: &Who| who.by_kernel || !kernel_knows;
            noted.clone().filter(is_good).or_else(|| look(pid, process)).or(noted)
        };
        match notice.event {
            Event::ProcessFork => {
                // It is what its parent was then; the parent may have run something else since.
                let parent = notice.parent.zip(notice.parent_pid);
                let of_parent =
                    parent.and_then(|(parent, pid)| better(self.get(parent).cloned(), pid, parent));
                let who = of_parent.or_else(|| look(notice.pid, process))?;
                self.put(process, who.clone());
                Some(who)
            }
            Event::ProcessExec => {
                let before = self.get(process).cloned().zip(notice.path.as_ref());
                let noted = before.map(|(mut who, path)| {
                    who.lineage.push(key.hash(path));
                    who
                });
                let who = better(noted, notice.pid, process)?;
                self.put(process, who.clone());
                Some(who)
            }
            _ => better(self.known.remove(&process), notice.pid, process),
        }
    }

    fn put(&mut self, process: ProcessKey, who: Who) {
        if self.known.insert(process, who).is_some() {
            return;
        }
        self.order.push_back(process);
        while self.known.len() > PROCESSES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.known.remove(&oldest);
        }
        // Of many that have ended, the names alone would grow without end.
        if self.order.len() > 2 * PROCESSES_MAX {
            let Self { known, order } = self;
            order.retain(|process| known.contains_key(process));
        }
    }
}

impl Host {
    /// Notes of each notice that was not filtered where it comes from which engines want to be told of it.
    pub(super) fn filter(&self, seen: &mut [Seen]) {
        let Some(filters) = self.filters.get() else { return };
        let remembered = self.remembered();
        for one in seen {
            match one {
                Seen::Notice(notice) if notice.wanted.is_none() => {
                    notice.wanted = filters.wanted(notice, remembered, self.subjects);
                }
                Seen::Loss(loss) if loss.events.iter().any(is_of_process) => filters.forget(),
                Seen::Notice(_) | Seen::Loss(_) => {}
            }
        }
    }

    /// The same of what became of a question.
    pub(super) fn filter_one(&self, notice: &mut Notice) {
        if let Some(filters) = self.filters.get() {
            notice.wanted = filters.wanted(notice, self.remembered(), self.subjects);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outrigger_sensor::identity::Credentials;

    use super::*;

    const KEY: LineageKey = LineageKey([7; 16]);
    const SUBJECTS: fn() -> Subjects = Subjects::probe;

    fn filters(text: &str) -> Filters {
        let text = format!(
            "name = \"scan\"\nvendor = \"V\"\nversion = \"1\"\ncontract = \"1\"\n\
             verdict = \"subject\"\nentry.program = \"a\"\n\
             events.\"file.unlink\".needs = \"notify\"\n\
             events.\"process.exit\".needs = \"notify\"\n{text}"
        );
        let manifest = Manifest::parse(&text, Path::new("m.toml")).expect("a manifest");
        let told = EventSet::EMPTY.with(Event::FileUnlink).with(Event::ProcessExit);
        Filters::new(std::iter::once((&manifest, told)), &KEY)
            .expect("it compiles")
            .expect("there are filters")
    }

    fn unlink(path: &str, uid: u32) -> Notice {
        Notice {
            path: Some(path.as_bytes().to_vec()),
            credentials: Some(Credentials { uid, gid: uid }),
            ..Notice::new(Event::FileUnlink, 1)
        }
    }

    fn process(event: Event, number: u8) -> Notice {
        Notice { process: Some(ProcessKey([number; 16])), ..Notice::new(event, 1) }
    }

    /// No process of these tests is there any more.
    fn wanted(filters: &Filters, notice: &Notice) -> Option<u64> {
        filters.wanted(notice, None, SUBJECTS())
    }

    #[test]
    fn a_path_that_is_not_wanted_is_wanted_by_nobody() {
        let filters = filters("[[filter]]\npaths = [\"/srv\"]\n");

        assert_eq!(wanted(&filters, &unlink("/srv/a", 0)), Some(1));
        assert_eq!(wanted(&filters, &unlink("/home/a", 0)), Some(0));
        // No filter is about it.
        assert_eq!(wanted(&filters, &process(Event::ProcessExit, 1)), None);
    }

    #[test]
    fn of_whom_the_user_is_not_known_everybody_is_told() {
        let filters = filters("[[filter]]\nuids = [1000]\n");
        let unknown = Notice { credentials: None, ..unlink("/a", 0) };

        assert_eq!(wanted(&filters, &unlink("/a", 1000)), Some(1));
        assert_eq!(wanted(&filters, &unlink("/a", 0)), Some(0));
        assert_eq!(wanted(&filters, &unknown), None);
    }

    #[test]
    fn a_process_that_is_gone_is_known_by_its_fork_and_exec() {
        let filters = filters("[[filter]]\nprograms = [\"/usr/bin/dpkg\"]\n");
        let known = |number: u8, programs: &[&[u8]]| {
            let hashes: Vec<u64> = programs.iter().map(|program| KEY.hash(program)).collect();
            let who = Who { lineage: Lineage::new(&hashes, false), by_kernel: true, cgroup: None };
            lock(&filters.memory).put(ProcessKey([number; 16]), who);
        };
        let fork = |parent: u8, child: u8| Notice {
            parent: Some(ProcessKey([parent; 16])),
            parent_pid: Some(0),
            ..process(Event::ProcessFork, child)
        };
        let exec = |number: u8, path: &str| Notice {
            path: Some(path.as_bytes().to_vec()),
            ..process(Event::ProcessExec, number)
        };
        known(1, &[b"/bin/sh"]);

        wanted(&filters, &fork(1, 2));
        wanted(&filters, &exec(2, "/usr/bin/dpkg"));
        wanted(&filters, &fork(2, 3));
        wanted(&filters, &exec(3, "/bin/true"));
        wanted(&filters, &fork(1, 4));

        assert_eq!(wanted(&filters, &process(Event::ProcessExit, 3)), Some(1));
        assert_eq!(wanted(&filters, &process(Event::ProcessExit, 4)), Some(0));
        assert_eq!(wanted(&filters, &process(Event::ProcessExit, 1)), Some(0));
        // Of one that was never heard of nothing is known, so it may be wanted.
        assert_eq!(wanted(&filters, &process(Event::ProcessExit, 9)), Some(1));
        assert_eq!(lock(&filters.memory).known.len(), 1, "who has ended is forgotten");
    }

    #[test]
    fn what_was_noted_before_the_kernel_knew_is_looked_up_again() {
        let who = |by_kernel: bool, hash| Who {
            lineage: Lineage::new(&[hash], !by_kernel),
            by_kernel,
            cgroup: None,
        };
        let fork = |child: u8| Notice {
            parent: Some(ProcessKey([1; 16])),
            parent_pid: Some(1),
            ..process(Event::ProcessFork, child)
        };
        let mut memory = Memory::default();
        memory.put(ProcessKey([1; 16]), who(false, 1));
        let mut follow = |child, kernel_knows, seen: Option<Who>| {
            memory.follow(&fork(child), &KEY, kernel_knows, |_, _| seen.clone())
        };

        // It cannot be known better yet, then it can, and then it is gone.
        assert_eq!(follow(2, false, Some(who(true, 2))), Some(who(false, 1)));
        assert_eq!(follow(3, true, Some(who(true, 2))), Some(who(true, 2)));
        assert_eq!(follow(4, true, None), Some(who(false, 1)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        let who = Who { lineage: Lineage::UNKNOWN, by_kernel: false, cgroup: None };
        let key = |number: u32| {
            let mut key = [0; 16];
            key[..4].copy_from_slice(&number.to_le_bytes());
            ProcessKey(key)
        };

        for number in 0..20_000 {
            memory.put(key(number), who.clone());
            memory.known.remove(&key(number));
        }
        for number in 20_000..40_000 {
            memory.put(key(number), who.clone());
        }

        assert_eq!(memory.known.len(), PROCESSES_MAX);
        assert!(memory.order.len() <= 2 * PROCESSES_MAX);
        assert!(memory.get(key(39_999)).is_some() && memory.get(key(20_000)).is_none());
    }
}
