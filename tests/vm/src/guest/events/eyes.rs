//! The sensors of the platform, all open, and what they have seen.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outrigger_api::settings::ProtectMode;
use outrigger_api::{Event, EventSet};
use outrigger_decision::rules::{LineageKey, MarkNames, Rule, compile};
use outrigger_sensor::bpf::ProcessSensor;
use outrigger_sensor::changes::{self, FileSensor};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::plane::{Plane, Settings, Trial};
use outrigger_sensor::volumes::Volume;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::scene::OBJECTS;

/// How long a notice may take on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sensors.
#[derive(Debug)]
pub(super) struct Eyes {
    plane: Plane,
    processes: ProcessSensor,
    files: FileSensor,
    seen: Vec<Seen>,
    generation: u64,
}

/// The secret of lineages.
const KEY: [u8; 16] = *b"known to a test.";

fn every() -> EventSet {
    Event::ALL.iter().copied().collect()
}

impl Eyes {
    /// Opens all of them, to be told of everything.
    pub(super) fn open() -> Result<Self> {
        let settings = Settings { lineage_key: KEY, ..Settings::default() };
        let mut plane = Plane::open(&settings).context("no plane")?;
        plane.attach(every(), EventSet::EMPTY)?;
        let processes = ProcessSensor::open().context("no sensor of processes")?;
        let mut files = FileSensor::open(changes::EVENTS).context("no sensor of changes")?;
        let volume = Volume {
            device: 0,
            point: OBJECTS.into(),
            fs_type: "tmpfs".to_owned(),
            group: None,
            mode: ProtectMode::Enforce,
            cacheable: false,
            reason: None,
        };
        let root = File::open(OBJECTS)?;
        files.mark(&volume, root.as_fd())?;
        Ok(Self { plane, processes, files, seen: Vec::new(), generation: 0 })
    }

    /// Has rules decide `event`; the numbers of rules are their places.
    pub(super) fn decide(&mut self, event: Event, rules: &[Rule]) -> Result<()> {
        self.generation += 1;
        let none = MarkNames::default();
        let compiled = compile(rules, &LineageKey(KEY), self.generation, &none)?;
        self.plane.set_rules(compiled.image.bytes()).context("the rules are not in force")?;
        Ok(self.plane.attach(every(), EventSet::EMPTY.with(event))?)
    }

    /// Takes the rules away.
    pub(super) fn let_pass(&mut self) -> Result<()> {
        self.plane.attach(every(), EventSet::EMPTY)?;
        Ok(self.plane.clear_rules()?)
    }

    /// What the plane was refused by this kernel.
    pub(super) fn trials(&self) -> &[Trial] {
        self.plane.trials()
    }

    /// Forgets what was seen so far.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.drain()?;
        self.seen.clear();
        Ok(())
    }

    /// Waits, if it is `patient`, for a notice of `event` for which `check` has no complaint; else the complaint about
    /// the last one that was by `pid`.
    pub(super) fn find(
        &mut self,
        event: Event,
        pid: u32,
        patient: bool,
        check: &dyn Fn(&Notice) -> Result<()>,
    ) -> Result<()> {
        let until = Instant::now() + if patient { PATIENCE } else { Duration::ZERO };
        loop {
            self.drain()?;
            let mut complaint = None;
            for seen in &self.seen {
                let Seen::Notice(notice) = seen else { continue };
                // Of a fork the subject is the new process.
                let by =
                    if event == Event::ProcessFork { notice.parent_pid } else { Some(notice.pid) };
                if notice.event != event || by != Some(pid) {
                    continue;
                }
                match check(notice) {
                    Ok(()) => return Ok(()),
                    Err(error) => complaint = Some(error),
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let losses = self.seen.iter().filter(|seen| matches!(seen, Seen::Loss(_))).count();
                match complaint {
                    Some(error) => return Err(error),
                    None => bail!("it was not told; {losses} losses were"),
                }
            }
            self.wait(left)?;
        }
    }

    fn drain(&mut self) -> Result<()> {
        self.plane.drain(&mut self.seen)?;
        self.processes.drain(&mut self.seen)?;
        while self.files.drain(&mut self.seen)? {}
        Ok(())
    }

    fn wait(&self, left: Duration) -> io::Result<()> {
        let mut ready =
            [PollFd::new(&self.processes, PollFlags::IN), PollFd::new(&self.files, PollFlags::IN)];
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut ready, Some(&left)) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
