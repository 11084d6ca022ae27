//! Puts what has passed in force: by the host, if one docks the engine, else by the journal alone.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::control::{ReleaseName, Request, Response};
use outrigger_api::release::State;
use outrigger_update::store::{Rejection, ReleaseId, Store};

use super::Site;
use crate::link::{Link, LinkError};

/// The longest that the host may take over a swap: an engine's start, and what it has in hand before.
const SWAP: Duration = Duration::from_secs(90);
/// The name under which a release is rejected whose process did not take the old one's place.
const NOT_DOCKED: &str = "not-docked";

/// One release of those that are put in force in one step.
pub(super) struct Passed {
    pub(super) release: ReleaseId,
    pub(super) name: ReleaseName,
}

/// Puts `passed`, releases of `engine`, in force; how that was done, or why the host would not.
///
/// The host writes the journal itself when the new process has docked, so `store` is given up for it.
pub(super) fn put(
    site: &Site<'_>,
    store: &mut Option<Store>,
    engine: &EngineName,
    passed: &[Passed],
) -> Result<Result<String, String>> {
    let socket = &site.config.control_socket;
    let Some(docks) = docks(socket, engine, site.arguments.timeout)? else {
        return alone(
            site,
            store,
            passed,
            "no host runs: it runs in shadow from the host's next start",
        );
    };
    if !docks {
        return alone(
            site,
            store,
            passed,
            "the host does not dock it: it runs in shadow when it does",
        );
    }
    let mut open = match store.take() {
        Some(store) => store,
        None => Store::open(&site.config.state_dir)?,
    };
    stand_in_shadow(&mut open, passed)?;
    drop(open);
    let releases = passed.iter().map(|one| one.name.clone()).collect();
    let request = Request::Swap { engine: engine.clone(), releases };
    let answer = Link::open(socket, &request, SWAP)?.receive()?.response;
    let mut store = Store::open(&site.config.state_dir)?;
    let in_force = |one: &Passed| -> Result<bool> {
        let active = store.active(engine, one.name.part)?;
        Ok(active.is_some_and(|active| active.release == one.release))
    };
    let taken = passed.iter().map(in_force).collect::<Result<Vec<bool>>>()?;
    let message = match answer {
        Response::Done { message } | Response::Error { message } => message,
        other => anyhow::bail!("the host answered a swap with {other:?}"),
    };
    // The journal knows, whatever the answer says.
    if taken.iter().all(|taken| *taken) {
        return Ok(Ok(message));
    }
    for one in passed {
        store.reject(one.release, &Rejection::new(NOT_DOCKED, &message), Timestamp::now())?;
    }
    Ok(Err(format!("{NOT_DOCKED}: {message}")))
}

/// Whether the host docks `engine`; `None` if there is no host.
fn docks(socket: &Path, engine: &EngineName, limit: Duration) -> Result<Option<bool>> {
    let mut link = match Link::open(socket, &Request::Engines, limit) {
        Ok(link) => link,
        Err(LinkError::Unreachable { cause, .. }) if is_absent(&cause) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match link.receive()?.response {
        Response::Engines { engines } => {
            Ok(Some(engines.iter().any(|status| status.name == *engine)))
        }
        other => anyhow::bail!("the host answered with {other:?}"),
    }
}

/// Whether nobody is there at all. A host that hangs is there, and what it runs must not differ from what the
/// journal says.
fn is_absent(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// What is asked of the host stands in shadow in the journal, so that it goes on with it whatever becomes of us.
fn stand_in_shadow(store: &mut Store, passed: &[Passed]) -> Result<()> {
    for one in passed {
        if store.release(one.release)?.state == State::Shadow {
            continue;
        }
        store.advance(one.release, State::Shadow, "it passed preflight", Timestamp::now())?;
    }
    Ok(())
}

fn alone(
    site: &Site<'_>,
    store: &mut Option<Store>,
    passed: &[Passed],
    how: &str,
) -> Result<Result<String, String>> {
    let mut open = match store.take() {
        Some(store) => store,
        None => Store::open(&site.config.state_dir)?,
    };
    stand_in_shadow(&mut open, passed)?;
    *store = Some(open);
    Ok(Ok(how.to_owned()))
}
