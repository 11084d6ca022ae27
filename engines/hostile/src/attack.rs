//! An engine that lies to its host, with the bare ends of the dock.
//!
//! It docks as any engine does and allows every question; besides, with every question or as often as it
//! was told, it lies in one way. It can be told another way, or to be honest, while it is docked.

use std::error::Error;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

use outrigger_api::CaseId;
use outrigger_api::frame::{CONTRACT, FRAME_MAX, decode_to_engine, encode_to_host, v1};
use outrigger_api::record::{Detail, EventRecord, VERDICT_SIZE, VerdictRecord};
use outrigger_api::verdict::Verdict;
use outrigger_dock::{EventReader, VerdictWriter, control, sleep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::behaviour::Behaviour;
use crate::sys::StolenRing;
use crate::{act, sys};

/// How far around its own case it forges answers.
const NEIGHBOURS: u64 = 8;
/// How long after the deadline a late answer comes.
const LATE: Duration = Duration::from_millis(30);
/// Longest sleep between two looks at the control socket, ns.
const LOOK: u64 = 20_000_000;

/// One way to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// None: it is honest.
    Honest,
    /// Tries to change the size of its ring, then is honest.
    GrowRing,
    /// Tries to map its ring to be executed, then is honest.
    ExecuteRing,
    /// Stores behind the end of its ring.
    StoreBehindRing,
    /// Moves its cursor to where it cannot be.
    Cursor,
    /// Writes a verdict that is none.
    Record,
    /// Sends a control packet that is none.
    Frame,
    /// Answers, and answers again otherwise.
    Double,
    /// Answers cases that it was not asked about.
    Forge,
    /// Answers after the deadline.
    Late,
    /// Answers questions, and no ping.
    Deaf,
    /// Sends lines for the journal without pause, and does nothing else any more.
    Frames,
    /// Answers cases that it was not asked about without pause, and does nothing else any more.
    Verdicts,
}

struct Dock {
    control: OwnedFd,
    events: EventReader,
    verdicts: VerdictWriter,
    stolen: StolenRing,
    lie: Lie,
    /// How often it still lies.
    times: u64,
    /// When it is told something else, and what.
    later: Option<(u64, Box<Behaviour>)>,
}

/// Docks and lies until the host ends it.
pub(crate) fn run(
    name: &str,
    version: &str,
    lie: Lie,
    later: Option<(Duration, Box<Behaviour>)>,
) -> Result<(), Box<dyn Error>> {
    let started = now();
    let (control, _content) = outrigger_dock::inherited()?;
    let hello = v1::Hello {
        contract_min: *CONTRACT.start(),
        contract_max: *CONTRACT.end(),
        capabilities: Vec::new(),
        sdk: "none".to_owned(),
        engine: name.to_owned(),
        version: version.to_owned(),
    };
    send(&control, v1::to_host::Message::Hello(hello))?;
    let mut packet = [0; FRAME_MAX];
    let received = control::recv(control.as_fd(), &mut packet)?;
    let welcome = match decode_to_engine(&packet[..received.len])? {
        v1::to_engine::Message::Welcome(welcome) => welcome,
        other => return Err(format!("no welcome but {other:?}").into()),
    };
    let [events, verdicts]: [OwnedFd; 2] =
        received.fds.try_into().map_err(|_| "the welcome carries not two rings")?;
    let bytes = welcome.verdict_ring_bytes;
    let said = match lie {
        Lie::GrowRing => grow(&verdicts, bytes),
        Lie::ExecuteRing => act::told(sys::map_code(verdicts.as_fd())),
        _ => "lies".to_owned(),
    };
    let mut dock = Dock {
        stolen: StolenRing::map(&verdicts, bytes)?,
        events: EventReader::map(events, welcome.event_ring_bytes)?,
        verdicts: VerdictWriter::map(verdicts, bytes)?,
        control,
        lie,
        times: u64::MAX,
        later: later.map(|(after, then)| {
            (started + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), then)
        }),
    };
    let content = format!("attack {lie:?}: {said}");
    send(&dock.control, v1::to_host::Message::Docked(v1::Docked { content }))?;
    dock.serve()
}

/// Waits to be ended, after a packet that is no message if it `garbles`.
pub(crate) fn never_dock(garbles: bool) -> Result<(), Box<dyn Error>> {
    let (control, _content) = outrigger_dock::inherited()?;
    if garbles {
        control::send(control.as_fd(), &[0xff; 64], &[])?;
    }
    let mut packet = [0; FRAME_MAX];
    while control::recv(control.as_fd(), &mut packet).is_ok() {}
    Ok(())
}

impl Dock {
    fn serve(&mut self) -> Result<(), Box<dyn Error>> {
        let bell = self.events.doorbell();
        let mut buffer = Vec::new();
        loop {
            if self.stopped()? {
                return Ok(());
            }
            let armed = bell.arm();
            while let Some(bytes) = self.events.pop(&mut buffer)? {
                let event = EventRecord::parse(bytes)?;
                bell.disarm();
                self.answer(&event)?;
            }
            sleep(&[(bell.clone(), armed)], Some(now() + LOOK))?;
            bell.disarm();
        }
    }

    /// Answers the host's pings; whether it said to stop.
    fn stopped(&mut self) -> Result<bool, Box<dyn Error>> {
        let mut packet = [0; FRAME_MAX];
        loop {
            let mut polled = [PollFd::new(&self.control, PollFlags::IN)];
            if poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
                return Ok(false);
            }
            let len = control::recv(self.control.as_fd(), &mut packet)?.len;
            match decode_to_engine(&packet[..len])? {
                v1::to_engine::Message::Ping(_) if self.lie == Lie::Deaf => {}
                v1::to_engine::Message::Ping(v1::Ping { nonce }) => {
                    let heartbeat = v1::Heartbeat { nonce };
                    send(&self.control, v1::to_host::Message::Heartbeat(heartbeat))?;
                }
                v1::to_engine::Message::Stop(_) => return Ok(true),
                v1::to_engine::Message::Reload(_) => self.learn()?,
                _ => {}
            }
        }
    }

    /// Reads anew what it is to do.
    fn learn(&mut self) -> Result<(), Box<dyn Error>> {
        let told = Behaviour::told()?;
        self.take(&told);
        let loaded = v1::ContentLoaded { content: told.text, refused: String::new() };
        send(&self.control, v1::to_host::Message::ContentLoaded(loaded))
    }

    fn take(&mut self, told: &Behaviour) {
        self.lie = told.attack.unwrap_or(Lie::Honest);
        self.times = told.times.unwrap_or(u64::MAX);
    }

    fn answer(&mut self, event: &EventRecord) -> Result<(), Box<dyn Error>> {
        if let Some((_, then)) = self.later.take_if(|(at, _)| now() >= *at) {
            self.take(&then);
        }
        let honest = vote(event.case, Verdict::Allow);
        if self.times == 0 {
            return self.say(&[honest]);
        }
        self.times -= 1;
        match self.lie {
            Lie::Honest | Lie::Deaf | Lie::GrowRing | Lie::ExecuteRing => self.say(&[honest])?,
            Lie::StoreBehindRing => {
                self.say(&[honest])?;
                self.stolen.store_behind();
            }
            Lie::Cursor => {
                self.say(&[honest])?;
                self.stolen.move_cursor();
            }
            Lie::Record => {
                let mut garbage = honest;
                // The verdict's number: after the length (4) and the version (2).
                garbage[6] = 99;
                self.say(&[garbage])?;
            }
            Lie::Frame => {
                control::send(self.control.as_fd(), &[0xff; 64], &[])?;
                self.say(&[honest])?;
            }
            Lie::Double => self.say(&[honest, vote(event.case, Verdict::Deny)])?,
            Lie::Forge => {
                let own = event.case.get();
                let near =
                    (own.saturating_sub(NEIGHBOURS)..own + NEIGHBOURS).filter(|case| *case != own);
                let forged: Vec<_> =
                    near.filter_map(CaseId::new).map(|case| vote(case, Verdict::Allow)).collect();
                self.say(&forged)?;
                self.say(&[honest])?;
            }
            Lie::Late => {
                let left = event.deadline.saturating_sub(now());
                std::thread::sleep(Duration::from_nanos(left) + LATE);
                self.say(&[honest])?;
            }
            Lie::Frames => {
                self.say(&[honest])?;
                self.send_frames()?;
            }
            Lie::Verdicts => {
                self.say(&[honest])?;
                self.send_verdicts(event.case);
            }
        }
        Ok(())
    }

    /// Sends frames until the host has closed the socket, or ends this process.
    fn send_frames(&self) -> Result<(), Box<dyn Error>> {
        let text = "and another line of nothing at all".to_owned();
        let line = encode_to_host(v1::to_host::Message::Log(v1::Log { level: 3, text }));
        loop {
            match control::send(self.control.as_fd(), &line, &[]) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Keeps the ring full of answers to a case that has ended, until the host ends this process.
    fn send_verdicts(&mut self, case: CaseId) {
        let double = vote(case, Verdict::Deny);
        loop {
            while self.verdicts.push(&double).is_ok() {}
            self.verdicts.publish_and_wake();
        }
    }

    fn say(&mut self, verdicts: &[[u8; VERDICT_SIZE]]) -> Result<(), Box<dyn Error>> {
        for verdict in verdicts {
            self.verdicts.push(verdict)?;
        }
        self.verdicts.publish_and_wake();
        Ok(())
    }
}

/// Tries every way to change the size of the ring.
fn grow(ring: &OwnedFd, bytes: u32) -> String {
    let longer = rustix::fs::ftruncate(ring, u64::from(bytes) * 4);
    let shorter = rustix::fs::ftruncate(ring, 0);
    match (longer, shorter) {
        (Err(longer), Err(shorter)) => format!("refused, growing {longer}, cutting {shorter}"),
        (longer, shorter) => format!("let, growing {longer:?}, cutting {shorter:?}"),
    }
}

fn vote(case: CaseId, verdict: Verdict) -> [u8; VERDICT_SIZE] {
    VerdictRecord { case, verdict, spent: 0, detail: Detail::default() }.to_bytes()
}

fn send(control: &OwnedFd, message: v1::to_host::Message) -> Result<(), Box<dyn Error>> {
    Ok(control::send(control.as_fd(), &encode_to_host(message), &[])?)
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "honest" => Self::Honest,
            "deaf" => Self::Deaf,
            "frames" => Self::Frames,
            "verdicts" => Self::Verdicts,
            "grow-ring" => Self::GrowRing,
            "execute-ring" => Self::ExecuteRing,
            "store-behind-ring" => Self::StoreBehindRing,
            "cursor" => Self::Cursor,
            "record" => Self::Record,
            "frame" => Self::Frame,
            "double" => Self::Double,
            "forge" => Self::Forge,
            "late" => Self::Late,
            _ => return Err(format!("no lie is called {word:?}")),
        })
    }
}
