//! The folder where an administrator drops instructions to repair this machine, and what of them is carried out
//! without an engine.
//!
//! ```text
//! STATE/repair/NAME.repair     dropped; looked at about once a second, and before engines are started
//!              NAME.done       obeyed, and NAME.done.txt: what became of each action
//!              NAME.refused    not obeyed, and NAME.refused.txt: why
//! ```
//!
//! What lies there is hostile until its signature was checked ([`outrigger_update::repair`]): it is opened without
//! following or waiting for anything, and its length is bounded. One that is good is obeyed at once. One that is
//! not may still be being written, so it is refused only if it looks the same a look later.
//!
//! An instruction whose turn it is not yet, since nobody can be told whose it is, stays where it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::reason::chain;
use outrigger_api::release::Part;
use outrigger_api::settings::{Instruction, RepairAction, UpdatesConfig};
use outrigger_update::finding::{Finding, Sign};
use outrigger_update::publish::PublicKey;
use outrigger_update::repair::{
    self, Circumstances, REPAIR_ENDING, REPAIR_FILE_MAX, RepairRefusal,
};
use outrigger_update::store::{Digest, StoreError};
use serde_json::{Value, json};

use super::boot::{self, Boot};
use super::private;

/// The folder's name, in the state folder.
const FOLDER: &str = "repair";
/// Most instructions that are looked at in one look.
const LOOK_MAX: usize = 16;
/// Most names in the folder that are looked at.
const NAMES_MAX: usize = 4096;
/// How often an instruction may be begun.
const TRIES_MAX: u32 = 2;
/// Who did it, as the journals say.
pub(crate) const BY: &str = "by an instruction of the administrator";
const MACHINE_ID: &str = "/etc/machine-id";

/// What of instructions the machine has obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The serial of the last one.
    pub(crate) last: u64,
    /// How often that one was begun, while it is not done.
    pub(crate) begun: u32,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Those that were no good at the last look, as they looked then.
    seen: BTreeMap<OsString, Stamp>,
    /// Why an instruction waits.
    problem: Option<String>,
}

/// By which a file is known to be the same, and unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// An instruction that was dropped.
#[derive(Debug)]
pub(crate) struct Dropped {
    path: PathBuf,
    pub(crate) opened: Result<Instruction, RepairRefusal>,
    /// It looked the same at the look before.
    pub(crate) settled: bool,
}

/// Whose instructions are obeyed.
#[derive(Debug)]
enum Administrator {
    Known(PublicKey),
    /// Nobody's.
    Nobody,
    /// That cannot be told.
    Unknown(String),
}

impl Folder {
    /// The one in `state_dir`, which is made where it is not there.
    pub(crate) fn new(state_dir: &Path) -> Self {
        let path = state_dir.join(FOLDER);
        let made = private::make_folder(state_dir).and_then(|()| private::make_folder(&path));
        let problem = made.err().map(|error| format!("{}: {error}", path.display()));
        Self { path, seen: BTreeMap::new(), problem }
    }

    /// Why an instruction that lies there waits, or none can be dropped.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.as_ref().map(|why| format!("instructions to repair wait: {why}"))
    }

    /// What was dropped, by name; each was judged.
    pub(crate) fn look(&mut self, updates_file: &Path, known: Known) -> Vec<Dropped> {
        let names = match self.names(REPAIR_ENDING) {
            Ok(names) => names,
            Err(error) => {
                self.problem = Some(format!("{}: {error}", self.path.display()));
                return Vec::new();
            }
        };
        self.seen.retain(|name, _| names.contains(name));
        self.problem = None;
        if names.is_empty() {
            return Vec::new();
        }
        let administrator = administrator(updates_file);
        let mut dropped = Vec::new();
        for name in names.into_iter().take(LOOK_MAX) {
            let path = self.path.join(&name);
            let (stamp, opened) = match &administrator {
                Administrator::Unknown(why) => {
                    self.problem = Some(why.clone());
                    continue;
                }
                Administrator::Nobody => {
                    let file = updates_file.display().to_string();
                    (read(&path).map(|(stamp, _)| stamp).ok(), Err(RepairRefusal::NoKey(file)))
                }
                Administrator::Known(key) => match read(&path) {
                    Ok((stamp, bytes)) => (Some(stamp), judged(&bytes, key, &path, known)),
                    // It was taken away again.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(_) => {
                        (None, Err(RepairRefusal::Garbage("it is not a file that can be read")))
                    }
                },
            };
            let settled = match (&opened, stamp) {
                (Ok(_), _) => true,
                (Err(_), Some(stamp)) => self.seen.insert(name, stamp) == Some(stamp),
                (Err(_), None) => {
                    let none = Stamp { inode: 0, size: 0, changed: (0, 0) };
                    self.seen.insert(name, none) == Some(none)
                }
            };
            dropped.push(Dropped { path, opened, settled });
        }
        dropped
    }

    /// The largest serial of those that were obeyed and lie there still: for a host that has no record of it.
    pub(crate) fn last_obeyed(&self, updates_file: &Path) -> u64 {
        let names = self.names("done").unwrap_or_default();
        if names.is_empty() {
            return 0;
        }
        let Administrator::Known(key) = administrator(updates_file) else { return 0 };
        let serial = |name: &OsString| {
            let path = self.path.join(name);
            let (_, bytes) = read(&path).ok()?;
            repair::open(&bytes, &key, &path).ok().map(|instruction| instruction.serial)
        };
        names.iter().filter_map(serial).max().unwrap_or(0)
    }

    /// The names with this ending, in their order.
    fn names(&self, ending: &str) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)?.take(NAMES_MAX) {
            let name = entry?.file_name();
            let bytes = name.as_bytes();
            let fits =
                bytes.strip_suffix(ending.as_bytes()).is_some_and(|rest| rest.ends_with(b"."));
            if fits {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Puts away an instruction that was obeyed; gives the line of the journal.
    pub(crate) fn settle_done(&mut self, dropped: &Dropped, outcomes: &[String]) -> Value {
        let file = dropped.path.display().to_string();
        let text: String = outcomes.iter().map(|line| format!("{line}\n")).collect();
        for line in outcomes {
            tracing::warn!("instruction to repair {file}: {line}");
        }
        let serial = dropped.opened.as_ref().map_or(0, |instruction| instruction.serial);
        self.settle(&dropped.path, "done", &text);
        json!({ "file": file, "serial": serial, "outcome": outcomes })
    }

    /// Puts away an instruction that is not obeyed; gives the line of the journal.
    pub(crate) fn settle_refused(&mut self, dropped: &Dropped) -> Option<Value> {
        let Err(refusal) = &dropped.opened else { return None };
        let file = dropped.path.display().to_string();
        tracing::error!("instruction to repair {file} is refused ({}): {refusal}", refusal.name());
        self.settle(&dropped.path, "refused", &format!("{}: {refusal}\n", refusal.name()));
        Some(json!({ "file": file, "reason": refusal.name(), "why": refusal.to_string() }))
    }

    fn settle(&mut self, path: &Path, ending: &str, text: &str) {
        let target = path.with_extension(ending);
        let beside = path.with_extension(format!("{ending}.txt"));
        // For people; the journal has it as well.
        let _ = private::replace(&beside).and_then(|mut file| file.write_all(text.as_bytes()));
        let moved =
            std::fs::rename(path, &target).and_then(|()| File::open(&self.path)?.sync_all());
        if let Err(error) = moved {
            tracing::error!("{} cannot be moved to {}: {error}", path.display(), target.display());
            self.problem = Some(format!("{}: {error}", path.display()));
        }
    }
}

/// Carries out one action without an engine: in the store, or for the next host.
pub(crate) fn act(
    state_dir: &Path,
    action: &RepairAction,
    boot: &mut Boot,
) -> Result<String, String> {
    let told = |error: StoreError| chain(&error);
    match action {
        RepairAction::GoBack { engine, part } => go_back(state_dir, engine, *part).map_err(told),
        RepairAction::StopTrial { engine } => stop_trial(state_dir, engine).map_err(told),
        RepairAction::ForgetBad { package } => forget_bad(state_dir, *package).map_err(told),
        RepairAction::LeaveSafeMode { engine } => Ok(match boot.leave_safe_mode(engine.as_ref()) {
            true => "done".to_owned(),
            false => "nothing was kept off the dock".to_owned(),
        }),
        RepairAction::EnterSafeMode { engine } => {
            boot.enter_safe_mode(engine.as_ref(), BY);
            Ok("done".to_owned())
        }
    }
}

/// What became of an action, for a person.
pub(crate) fn outcome(action: &RepairAction, acted: Result<String, String>) -> String {
    match acted {
        Ok(done) => format!("{action}: {done}"),
        Err(why) => format!("{action}: FAILED: {why}"),
    }
}

fn go_back(
    state_dir: &Path,
    engine: &EngineName,
    part: Option<Part>,
) -> Result<String, StoreError> {
    let rejection = Finding::new(Sign::SentBack, BY).rejection();
    let mut store = boot::open(state_dir)?;
    let all = store.send_back(engine, part, &rejection, Timestamp::now())?;
    Ok(all.iter().map(boot::went_back).collect::<Vec<_>>().join(", "))
}

fn stop_trial(state_dir: &Path, engine: &EngineName) -> Result<String, StoreError> {
    let now = Timestamp::now();
    let rejection = Finding::new(Sign::Stopped, BY).rejection();
    let mut store = boot::open(state_dir)?;
    let mut done: Vec<String> =
        store.roll_back(engine, &rejection, now)?.iter().map(boot::went_back).collect();
    for (part, standby) in store.shadowing(engine)? {
        store.reject(standby.release, &rejection, now)?;
        done.push(format!("{engine} {part} {} is not tried any more", standby.version));
    }
    Ok(if done.is_empty() { "nothing of it was tried".to_owned() } else { done.join(", ") })
}

fn forget_bad(state_dir: &Path, package: [u8; 32]) -> Result<String, StoreError> {
    let mut store = boot::open(state_dir)?;
    let lifted = store.forget_bad(&Digest(package), BY, Timestamp::now())?;
    Ok(match lifted {
        0 => "it was not known to be bad".to_owned(),
        _ => "done".to_owned(),
    })
}

fn judged(
    bytes: &[u8],
    key: &PublicKey,
    path: &Path,
    known: Known,
) -> Result<Instruction, RepairRefusal> {
    let instruction = repair::open(bytes, key, path)?;
    let machine = std::fs::read_to_string(MACHINE_ID).ok();
    let cut_short = known.begun > 0;
    let at = Circumstances {
        last: known.last,
        cut_short,
        now: Timestamp::now(),
        machine: machine.as_deref().map(str::trim),
    };
    if cut_short && instruction.serial == known.last && known.begun >= TRIES_MAX {
        return Err(RepairRefusal::Fatal { serial: known.last });
    }
    repair::judge(&instruction, at)?;
    Ok(instruction)
}

fn administrator(updates_file: &Path) -> Administrator {
    let updates = match std::fs::symlink_metadata(updates_file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Administrator::Nobody,
        _ => UpdatesConfig::read(updates_file),
    };
    let updates = match updates {
        Ok(updates) => updates,
        Err(errors) => {
            return Administrator::Unknown(format!("whose they must be cannot be told:\n{errors}"));
        }
    };
    let Some(file) = updates.repair.key else { return Administrator::Nobody };
    match PublicKey::read(&file) {
        Ok(key) => Administrator::Known(key),
        Err(error) => {
            Administrator::Unknown(format!("whose they must be cannot be told: {}", chain(&error)))
        }
    }
}

/// Reads a file that anybody may have put there, a byte more of it than is taken.
fn read(path: &Path) -> io::Result<(Stamp, Vec<u8>)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let stamp = Stamp {
        inode: facts.ino(),
        size: facts.size(),
        changed: (facts.mtime(), facts.mtime_nsec()),
    };
    let mut bytes = Vec::new();
    file.take(REPAIR_FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((stamp, bytes))
}

#[cfg(test)]
mod tests {
    use outrigger_update::publish::Key;

    use super::*;

    const NEW: Known = Known { last: 0, begun: 0 };
    const TEXT: &str = "serial = 5\n[[action]]\ndo = \"leave-safe-mode\"\n";

    /// A state folder, settings, and the key that they name.
    struct World {
        temporary: tempfile::TempDir,
        key: Key,
    }

    impl World {
        fn new() -> Self {
            let temporary = tempfile::tempdir().expect("a folder");
            let key = Key::generate().expect("a key");
            let public = key.write_new(&temporary.path().join("admin.key")).expect("written");
            let text = format!("[repair]\nkey = \"{}\"\n", public.display());
            std::fs::write(temporary.path().join("updates.toml"), text).expect("written");
            Self { temporary, key }
        }

        fn folder(&self) -> Folder {
            Folder::new(self.temporary.path())
        }

        fn settings(&self) -> PathBuf {
            self.temporary.path().join("updates.toml")
        }

        fn path(&self, name: &str) -> PathBuf {
            self.temporary.path().join(FOLDER).join(name)
        }

        fn drop(&self, name: &str, text: &str) {
            let signed = repair::sign(&self.key, text, Path::new(name)).expect("signed");
            std::fs::write(self.path(name), signed).expect("written");
        }
    }

    /// Name of the reason and whether it looked so before, of each.
    fn refusals(dropped: &[Dropped]) -> Vec<(&'static str, bool)> {
        let name = |one: &Dropped| one.opened.as_ref().map_or_else(RepairRefusal::name, |_| "good");
        dropped.iter().map(|one| (name(one), one.settled)).collect()
    }

    #[test]
    fn a_good_one_is_due_at_once_and_a_bad_one_when_it_does_not_change_any_more() {
        let world = World::new();
        let mut folder = world.folder();
        world.drop("a.repair", TEXT);
        std::fs::write(world.path("b.repair"), "half").expect("written");

        let first = refusals(&folder.look(&world.settings(), NEW));
        std::fs::write(world.path("b.repair"), "half and more").expect("written");
        let second = refusals(&folder.look(&world.settings(), NEW));
        let third = refusals(&folder.look(&world.settings(), NEW));

        assert_eq!(first, [("good", true), ("garbage", false)]);
        assert_eq!(second, [("good", true), ("garbage", false)]);
        assert_eq!(third, [("good", true), ("garbage", true)]);
    }

    #[test]
    fn nothing_in_the_place_of_a_file_is_followed_or_waited_for() {
        let world = World::new();
        let mut folder = world.folder();
        let elsewhere = world.temporary.path().join("elsewhere");
        std::fs::write(&elsewhere, repair::sign(&world.key, TEXT, Path::new("x")).expect("signed"))
            .expect("written");
        std::os::unix::fs::symlink(&elsewhere, world.path("link.repair")).expect("linked");
        std::fs::create_dir(world.path("folder.repair")).expect("made");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let pipe = world.path("pipe.repair");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0)
            .expect("made");

        folder.look(&world.settings(), NEW);
        let dropped = folder.look(&world.settings(), NEW);
        for one in &dropped {
            folder.settle_refused(one);
        }

        assert_eq!(refusals(&dropped), [("garbage", true); 3]);
        assert!(world.path("link.refused").is_symlink() && world.path("pipe.refused.txt").exists());
        assert!(elsewhere.exists(), "what a link leads to was touched");
        assert!(folder.look(&world.settings(), NEW).is_empty());
    }

    #[test]
    fn without_readable_settings_it_waits_and_that_is_a_problem() {
        let world = World::new();
        let mut folder = world.folder();
        world.drop("a.repair", TEXT);
        let good = std::fs::read(world.settings()).expect("read");
        std::fs::write(world.settings(), "[repair]\nkey = 1\n").expect("written");

        let waits = folder.look(&world.settings(), NEW).len();
        let problem = folder.problem();
        std::fs::write(world.settings(), good).expect("written");
        let due = refusals(&folder.look(&world.settings(), NEW));

        assert_eq!(waits, 0);
        assert!(problem.is_some_and(|why| why.contains("cannot be told")));
        assert_eq!((due, folder.problem()), (vec![("good", true)], None));
    }

    #[test]
    fn one_that_ended_the_host_is_obeyed_twice_and_no_more() {
        let world = World::new();
        let mut folder = world.folder();
        world.drop("a.repair", TEXT);
        let mut look =
            |begun| refusals(&folder.look(&world.settings(), Known { last: 5, begun }))[0].0;

        assert_eq!([look(0), look(1), look(2)], ["replayed", "good", "fatal"]);
    }

    #[test]
    fn a_host_without_a_record_knows_the_last_serial_by_what_was_obeyed() {
        let world = World::new();
        let mut folder = world.folder();
        world.drop("a.repair", TEXT);
        let dropped = folder.look(&world.settings(), NEW);
        folder.settle_done(&dropped[0], &["done".to_owned()]);
        std::fs::write(world.path("forged.done"), "serial = 99\n").expect("written");

        assert_eq!(folder.last_obeyed(&world.settings()), 5);
        assert_eq!(std::fs::read_to_string(world.path("a.done.txt")).expect("read"), "done\n");
    }
}
