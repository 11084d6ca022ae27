//! What the host writes into the journal of releases: how a trial goes on, and how it ends.
//!
//! Each of these waits for the disk, so it is called by a thread of its own. What cannot be written now, since the disk
//! is full or somebody else changes the journal, is tried again by whoever wanted it.

use std::path::Path;

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::control::ReleaseName;
use outrigger_api::reason::chain;
use outrigger_api::release::Part;
use outrigger_update::finding::Finding;
use outrigger_update::store::{ReleaseId, Store, StoreError, WentBack};

/// The journal does not say what it is to.
#[derive(Debug, Clone)]
pub(crate) struct Unwritten {
    pub(crate) why: String,
    /// It will not be otherwise next time: the releases do not stand where they must.
    pub(crate) lasting: bool,
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        let lasting = matches!(
            error,
            StoreError::Transition { .. }
                | StoreError::Unknown { .. }
                | StoreError::NotInSlot { .. }
                | StoreError::NothingBefore { .. }
        );
        Self { why: chain(&error), lasting }
    }
}

/// What the journal is to say.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// Releases decide, on probation.
    Begin(Vec<ReleaseId>, String),
    /// Their probation has ended well.
    Confirm(Vec<ReleaseId>, String),
    /// They did not pass their shadow.
    Reject(Vec<ReleaseId>, Finding),
    /// What is on probation of the engine is not taken, and what was before is in force.
    RollBack(Finding),
    /// The same, and what was before cannot be in force either.
    Withdraw(Finding),
    /// The administrator has gone back, from this part or from every one that can.
    SendBack(Option<Part>, Finding),
}

/// Writes `task` of the engine called `name`; what went back.
pub(crate) fn write(
    state_dir: &Path,
    name: &EngineName,
    task: &Task,
) -> Result<Vec<WentBack>, Unwritten> {
    let mut store = Store::open(state_dir)?;
    let now = Timestamp::now();
    let done = match task {
        Task::Begin(releases, detail) => {
            store.begin_probation(releases, detail, now)?;
            Vec::new()
        }
        Task::Confirm(releases, detail) => {
            store.confirm(releases, detail, now)?;
            Vec::new()
        }
        Task::Reject(releases, finding) => {
            for release in releases {
                store.reject(*release, &finding.rejection(), now)?;
            }
            Vec::new()
        }
        Task::RollBack(finding) => store.roll_back(name, &finding.rejection(), now)?,
        Task::Withdraw(finding) => store.withdraw(name, &finding.rejection(), now)?,
        Task::SendBack(part, finding) => store.send_back(name, *part, &finding.rejection(), now)?,
    };
    Ok(done)
}

/// What of an engine is on trial.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnderWay {
    /// Stands in shadow.
    pub(crate) shadow: Vec<ReleaseName>,
    /// Decides, on probation.
    pub(crate) probation: Vec<(ReleaseId, ReleaseName)>,
}

/// What the journal says of the engine called `name`.
pub(crate) fn under_way(state_dir: &Path, name: &EngineName) -> Result<UnderWay, StoreError> {
    let store = Store::open_read(state_dir)?;
    let named = |part, version: String| ReleaseName { part, version };
    Ok(UnderWay {
        shadow: store
            .shadowing(name)?
            .into_iter()
            .map(|(part, lies)| named(part, lies.version.to_string()))
            .collect(),
        probation: store
            .in_probation(name)?
            .into_iter()
            .map(|(part, active)| (active.release, named(part, active.version.to_string())))
            .collect(),
    })
}
