//! An administrator's instruction to repair a machine, before it is signed and after its signature was checked.
//!
//! It is obeyed by a host that may be in any state, so it says little: a few actions from a short list, each
//! of which a host can carry out with what lies on the machine.

use std::fmt;
use std::fmt::Write as _;
use std::path::Path;

use crate::key::EngineName;
use crate::release::Part;
use crate::settings::error::{Problem, SettingsErrors};
use crate::settings::file;
use crate::settings::keys;
use crate::settings::reader::{Report, Section};
use crate::settings::release::{sum, time};

/// Most actions of an instruction.
pub const ACTIONS_MAX: usize = 16;
/// Most machines that an instruction may name.
pub const MACHINES_MAX: usize = 1024;

/// What is to be done to a machine, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Larger than that of every instruction that the machine has obeyed.
    pub serial: u64,
    /// When it ends, RFC 3339 in UTC and whole seconds, by the machine's wall clock; never if absent.
    pub not_after: Option<String>,
    /// The machines that it is for, by what stands in their `/etc/machine-id`; every one if empty.
    pub machines: Vec<String>,
    /// What is done, in this order; never empty in what was parsed.
    pub actions: Vec<RepairAction>,
}

/// One thing that is done to repair a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairAction {
    /// Put in force again what was before.
    GoBack {
        /// Of which engine.
        engine: EngineName,
        /// Only this part of it.
        part: Option<Part>,
    },
    /// End a trial; what was in force before decides again.
    StopTrial {
        /// Of which engine.
        engine: EngineName,
    },
    /// Let a package be taken again that was found bad.
    ForgetBad {
        /// SHA-256 of the package.
        package: [u8; 32],
    },
    /// Dock again what is kept off.
    LeaveSafeMode {
        /// This engine; if absent, all but those that are kept off by name.
        engine: Option<EngineName>,
    },
    /// Dock an engine, or any engine, no more.
    EnterSafeMode {
        /// Only this engine.
        engine: Option<EngineName>,
    },
}

/// The words for what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    GoBack,
    StopTrial,
    ForgetBad,
    LeaveSafeMode,
    EnterSafeMode,
}

pub(super) const VERBS: &[(&str, Verb)] = &[
    ("go-back", Verb::GoBack),
    ("stop-trial", Verb::StopTrial),
    ("forget-bad", Verb::ForgetBad),
    ("leave-safe-mode", Verb::LeaveSafeMode),
    ("enter-safe-mode", Verb::EnterSafeMode),
];

impl Instruction {
    /// Reads an instruction; `file` is how errors call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to [`crate::settings::ERRORS_MAX`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsErrors> {
        let document = file::document(text, file)?;
        let report = Report::new(file, text);
        let top = Section::top(&report, &document, &keys::REPAIR_TOP, keys::INSTRUCTION);
        let serial = top.required(&keys::SERIAL);
        let not_after = top.checked_if_written(&keys::NOT_AFTER, time);
        let machines = top.names(&keys::MACHINES, is_machine);
        let tables =
            top.sections(&keys::ACTION, ACTIONS_MAX, &keys::REPAIR_ACTION, keys::INSTRUCTION);
        match top.value(&keys::ACTION) {
            None => top.missing(&keys::ACTION),
            Some(value) if value.is_empty_list() => value.refuse(|| (Problem::Empty, None)),
            Some(_) => {}
        }
        let actions = tables.iter().filter_map(read_action).collect();
        report.finish(serial.map(|serial| Self {
            serial,
            not_after: not_after.map(|(text, _)| text),
            machines: machines.into_iter().map(|(name, _)| name).collect(),
            actions,
        }))
    }

    /// The text that reads as this.
    pub fn to_toml(&self) -> String {
        let Self { serial, not_after, machines, actions } = self;
        let mut out = format!("serial = {serial}\n");
        if let Some(time) = not_after {
            out += &format!("not_after = \"{time}\"\n");
        }
        if !machines.is_empty() {
            out += &format!("machines = {machines:?}\n");
        }
        for action in actions {
            out += &format!("\n[[action]]\ndo = \"{}\"\n", action.verb());
            if let Some(engine) = action.engine() {
                out += &format!("engine = \"{engine}\"\n");
            }
            match action {
                RepairAction::GoBack { part: Some(part), .. } => {
                    out += &format!("part = \"{part}\"\n");
                }
                RepairAction::ForgetBad { package } => {
                    out += &format!("package = \"{}\"\n", hex(package));
                }
                _ => {}
            }
        }
        out
    }
}

impl RepairAction {
    /// How it is written.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::GoBack { .. } => "go-back",
            Self::StopTrial { .. } => "stop-trial",
            Self::ForgetBad { .. } => "forget-bad",
            Self::LeaveSafeMode { .. } => "leave-safe-mode",
            Self::EnterSafeMode { .. } => "enter-safe-mode",
        }
    }

    /// The engine that it is done to; `None` if it is done to all, or to none.
    pub const fn engine(&self) -> Option<&EngineName> {
        match self {
            Self::GoBack { engine, .. } | Self::StopTrial { engine } => Some(engine),
            Self::LeaveSafeMode { engine } | Self::EnterSafeMode { engine } => engine.as_ref(),
            Self::ForgetBad { .. } => None,
        }
    }
}

impl fmt::Display for RepairAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())?;
        if let Some(engine) = self.engine() {
            write!(f, " {engine}")?;
        }
        match self {
            Self::GoBack { part: Some(part), .. } => write!(f, " {part}"),
            Self::ForgetBad { package } => write!(f, " {}", hex(package)),
            _ => Ok(()),
        }
    }
}

/// One action; `None` if something of it is wrong, which is then reported.
fn read_action(section: &Section<'_>) -> Option<RepairAction> {
    let verb = section.chosen(&keys::DO);
    let engine = section.checked_if_written(&keys::ACTION_ENGINE, |text| text.parse().ok());
    let part = section.chosen(&keys::ACTION_PART);
    let package = section.checked_if_written(&keys::ACTION_PACKAGE, sum);
    let verb = verb?;
    let needs_engine = matches!(verb, Verb::GoBack | Verb::StopTrial);
    if needs_engine && section.value(&keys::ACTION_ENGINE).is_none() {
        section.missing(&keys::ACTION_ENGINE);
        return None;
    }
    if verb == Verb::ForgetBad && section.value(&keys::ACTION_PACKAGE).is_none() {
        section.missing(&keys::ACTION_PACKAGE);
        return None;
    }
    let mut fits = true;
    let mut unfit = |written: bool, key, what: &str| {
        if written {
            section.conflict(key, what.to_owned());
            fits = false;
        }
    };
    let written = section.value(&keys::ACTION_ENGINE).is_some();
    unfit(written && verb == Verb::ForgetBad, &keys::ACTION_ENGINE, "a package is of one engine");
    let written = section.value(&keys::ACTION_PART).is_some();
    unfit(written && verb != Verb::GoBack, &keys::ACTION_PART, "only `go-back` is done to a part");
    let written = section.value(&keys::ACTION_PACKAGE).is_some();
    unfit(
        written && verb != Verb::ForgetBad,
        &keys::ACTION_PACKAGE,
        "only `forget-bad` is done to a package",
    );
    if !fits {
        return None;
    }
    let engine = engine.map(|(engine, _)| engine);
    Some(match verb {
        Verb::GoBack => RepairAction::GoBack { engine: engine?, part },
        Verb::StopTrial => RepairAction::StopTrial { engine: engine? },
        Verb::ForgetBad => RepairAction::ForgetBad { package: package?.0 },
        // A name that was written and is wrong must not make it an action on all.
        Verb::LeaveSafeMode | Verb::EnterSafeMode
            if engine.is_none() && section.value(&keys::ACTION_ENGINE).is_some() =>
        {
            return None;
        }
        Verb::LeaveSafeMode => RepairAction::LeaveSafeMode { engine },
        Verb::EnterSafeMode => RepairAction::EnterSafeMode { engine },
    })
}

/// Whether `text` is what stands in a `/etc/machine-id` (machine-id(5)).
fn is_machine(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8; 32]) -> String {
    let mut out = String::with_capacity(64);
    bytes.iter().for_each(|byte| write!(out, "{byte:02x}").expect("a String takes all"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Instruction, SettingsErrors> {
        Instruction::parse(text, Path::new("back.toml"))
    }

    fn error(text: &str) -> String {
        parse(text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn an_instruction_is_read_whole_and_reads_the_same_when_written_again() {
        let text = "serial = 7\n\
            not_after = \"2026-12-01T00:00:00Z\"\n\
            machines = [\"0123456789abcdef0123456789abcdef\"]\n\
            [[action]]\ndo = \"go-back\"\nengine = \"acme-av\"\npart = \"content\"\n\
            [[action]]\ndo = \"stop-trial\"\nengine = \"acme-av\"\n\
            [[action]]\ndo = \"forget-bad\"\npackage = \
            \"00000000000000000000000000000000000000000000000000000000000000ff\"\n\
            [[action]]\ndo = \"leave-safe-mode\"\n\
            [[action]]\ndo = \"enter-safe-mode\"\nengine = \"other\"\n";

        let read = parse(text).expect("it is good");

        let said: Vec<String> = read.actions.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "go-back acme-av content",
                "stop-trial acme-av",
                "forget-bad 00000000000000000000000000000000000000000000000000000000000000ff",
                "leave-safe-mode",
                "enter-safe-mode other",
            ]
        );
        assert_eq!((read.serial, read.machines.len()), (7, 1));
        assert_eq!(parse(&read.to_toml()).as_ref(), Ok(&read));
    }

    #[test]
    fn what_an_action_lacks_or_has_too_much_is_told() {
        let of = |action: &str| error(&format!("serial = 1\n[[action]]\n{action}"));

        assert!(of("do = \"go-back\"\n").contains("engine"), "{}", of("do = \"go-back\"\n"));
        assert!(of("do = \"forget-bad\"\n").contains("package"));
        assert!(of("do = \"stop-trial\"\nengine = \"a\"\npart = \"code\"\n").contains("part"));
        assert!(of("do = \"reboot\"\n").contains("leave-safe-mode"));
        assert!(of("engine = \"a\"\n").contains("do"));
    }

    #[test]
    fn a_wrong_name_of_an_engine_does_not_become_all_of_them() {
        let text = "serial = 1\n[[action]]\ndo = \"enter-safe-mode\"\nengine = \"A!\"\n";

        assert!(error(text).contains("action[0].engine"), "{}", error(text));
    }

    #[test]
    fn an_instruction_without_serial_or_actions_is_none() {
        assert!(error("[[action]]\ndo = \"leave-safe-mode\"\n").contains("serial"));
        assert!(error("serial = 1\n").contains("action"));
        assert!(error("serial = 0\n[[action]]\ndo = \"leave-safe-mode\"\n").contains("serial"));
    }

    #[test]
    fn more_actions_than_the_limit_are_refused() {
        let many = "[[action]]\ndo = \"leave-safe-mode\"\n".repeat(ACTIONS_MAX + 1);

        assert!(error(&format!("serial = 1\n{many}")).contains("16"));
    }
}
