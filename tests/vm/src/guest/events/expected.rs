//! What is expected of each event: what a sensor says of its object, and the conditions by which rules tell the
//! object from what is nearly it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, ensure};
use outrigger_api::Event;
use outrigger_api::catalogue::ObjectKind;
use outrigger_decision::rules::{Cidr, Comparison, Condition, Number, Pattern, Process, Text};
use outrigger_sensor::notice::Notice;

use super::scene::{ACTOR, BEGINNER, OBJECTS, Scene, USER};
use super::sys::{PERF_SOFTWARE, SOCKET_FILTER};

/// The user that an act takes.
pub(super) const NEW_USER: u32 = 1002;
/// The port of acts on an address, and the one of what is nearly it.
pub(super) const PORT: u16 = 4100;
pub(super) const OTHER_PORT: u16 = 4101;

// linux/capability.h, linux/sched.h, linux/mount.h, linux/resource.h
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;
const MS_NOSUID: u64 = 2;
const MNT_DETACH: u64 = 2;
const RLIMIT_NOFILE: u64 = 7;
const SIGCONT: u64 = 18;
const UDP: u64 = 17;
const TCP: u64 = 6;
const STREAM: u64 = 1;
const DATAGRAM: u64 = 2;

/// The numbers that an event carries, where the act decides them.
pub(super) fn values(event: Event) -> [Option<u64>; 2] {
    let one = |value| [Some(value), None];
    let two = |first, second| [Some(first), Some(second)];
    match event {
        Event::ProcessSignal => one(SIGCONT),
        Event::ProcessPtrace => one(1),
        Event::ProcessMemory => one(0),
        Event::ProcessCredentials => two(NEW_USER.into(), USER.into()),
        Event::ProcessLimits => two(RLIMIT_NOFILE, 100),
        Event::FileOpen => two(0, 0),
        Event::FileCreate => one(0o666),
        Event::FileMkdir => one(0o755),
        Event::FileMknod => two(0o010_644, 0),
        Event::FileRename => one(0),
        Event::FileSetattr => one(0o640),
        Event::FileChown => two(5, 6),
        Event::FileMmapExec => one(0),
        Event::MemoryMprotectExec => two(0, 0),
        Event::MountMount => one(MS_NOSUID),
        Event::MountUmount => one(MNT_DETACH),
        Event::KernelModuleLoad | Event::KernelKexec => one(0),
        Event::KernelBpfLoad => one(SOCKET_FILTER.into()),
        Event::KernelPerfOpen => one(PERF_SOFTWARE.into()),
        Event::NetConnect | Event::NetBind | Event::NetListen | Event::NetAccept => {
            two(TCP, STREAM)
        }
        Event::NetSocket | Event::NetSend => two(UDP, DATAGRAM),
        Event::UnixConnect => [None, Some(STREAM)],
        Event::NamespaceCreate => one(CLONE_NEWUSER),
        Event::NamespaceEnter => one(CLONE_NEWUTS),
        _ => [None; 2],
    }
}

/// Checks what a sensor said of an act that was done on the object.
pub(super) fn check(notice: &Notice, scene: &Scene, target: u32) -> Result<()> {
    let event = scene.event;
    if !matches!(event, Event::ProcessFork) {
        let uid = notice.credentials.map(|credentials| credentials.uid);
        // Once it has exec'd, that is who it is; a program begun by another user changes nothing of it.
        ensure!(uid == Some(USER), "its user is said to be {uid:?} and not {USER}");
    }
    ensure!(notice.process.is_some(), "its subject has no key");
    match event.object() {
        ObjectKind::File => {
            let path = scene.object();
            let wanted = path.as_os_str().as_encoded_bytes();
            let said = notice.path.as_deref();
            ensure!(said == Some(wanted), "its path is said to be {}", shown(said));
        }
        ObjectKind::Process if !matches!(event, Event::ProcessFork | Event::ProcessExit) => {
            ensure!(
                notice.target_pid == target,
                "its object is said to be process {} and not {target}",
                notice.target_pid
            );
            ensure!(notice.target.is_some(), "its object has no key");
        }
        ObjectKind::Endpoint => {
            let said = notice.endpoint;
            let address = said.and_then(|said| said.address);
            ensure!(
                said.is_some_and(|said| said.family == 2),
                "its family is said to be {:?}",
                said.map(|said| said.family)
            );
            if event != Event::NetSocket {
                ensure!(address == Some(LOCALHOST), "its address is said to be {address:?}");
                ensure!(said.is_some_and(|said| said.port == PORT), "its port: {said:?}");
            }
        }
        _ => {}
    }
    for (number, wanted) in values(event).into_iter().enumerate() {
        let said = notice.values[number];
        // From Linux 6.15 on the hook does not have it (docs/limitations.md); a wrong one is wrong there too.
        let may_lack = event == Event::KernelPerfOpen && said.is_none();
        ensure!(
            wanted.is_none() || may_lack || said == wanted,
            "its number {number} is said to be {said:?} and not {wanted:?}"
        );
    }
    check_texts(notice, scene)
}

fn check_texts(notice: &Notice, scene: &Scene) -> Result<()> {
    let beside = |name: &str| Some(scene.folder.join(name).into_os_string().into_encoded_bytes());
    let new_path = match scene.event {
        Event::FileRename => beside("renamed"),
        Event::FileLink => beside("linked"),
        Event::MountMove => beside("from"),
        Event::MountPivot => beside("object/old"),
        _ => None,
    };
    if new_path.is_some() {
        let said = notice.new_path.as_deref();
        ensure!(said == new_path.as_deref(), "its other path is said to be {}", shown(said));
    }
    let text: Option<&[u8]> = match scene.event {
        Event::FileSymlink => Some(b"/nowhere"),
        Event::FileSetxattr | Event::FileRemovexattr => Some(super::acts::ATTRIBUTE.as_bytes()),
        Event::MountMount => Some(b"tmpfs"),
        Event::KernelModuleRequest => Some(b"net-pf-9"),
        _ => None,
    };
    let said = notice.text.as_deref();
    ensure!(text.is_none() || said == text, "its text is said to be {}", shown(said));
    Ok(())
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn shown(text: Option<&[u8]>) -> String {
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
}

/// Holds for the object, and not for what is nearly it.
pub(super) fn on_object(event: Event) -> Condition {
    let number = |place, value| Condition::Number { place, is: Comparison::Is, value };
    let text = |place, is| Condition::Text { place, is };
    match event.object() {
        ObjectKind::File => Condition::All(vec![
            text(Text::Path, Pattern::Begins(format!("{OBJECTS}/"))),
            text(Text::Path, Pattern::Ends("/object".to_owned())),
        ]),
        ObjectKind::Process => text(Text::TargetExe, Pattern::Ends("/object".to_owned())),
        ObjectKind::Endpoint if event == Event::NetSocket => number(Number::Value0, UDP),
        ObjectKind::Endpoint => Condition::All(vec![
            Condition::Within(Cidr { address: Ipv4Addr::new(127, 0, 0, 0).into(), prefix: 8 }),
            number(Number::Port, PORT.into()),
        ]),
        // There is no object: the path is that of the program that acts.
        ObjectKind::System => text(Text::Exe, Pattern::Is(ACTOR.to_owned())),
    }
}

/// Holds for the user that acts, and not for another.
pub(super) fn by_user(event: Event) -> Condition {
    let user =
        Condition::Number { place: Number::SubjectUid, is: Comparison::Is, value: USER.into() };
    here(event, user)
}

/// Holds for what began as a program, and not as another of the same content.
pub(super) fn by_lineage(event: Event) -> Condition {
    let program = BEGINNER.to_owned();
    here(event, Condition::Descends { process: Process::Subject, program })
}

/// Where the object is a file: only in the folders of acts, so that the process comes as far as its act.
fn here(event: Event, condition: Condition) -> Condition {
    match event.object() {
        ObjectKind::File => Condition::All(vec![
            Condition::Text { place: Text::Path, is: Pattern::Begins(format!("{OBJECTS}/")) },
            condition,
        ]),
        _ => condition,
    }
}
