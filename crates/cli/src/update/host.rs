//! What the host is asked about releases. That there is none is an answer, too.

use std::time::Duration;

use anyhow::{Result, bail};
use outrigger_api::EngineName;
use outrigger_api::control::{ReleaseName, Request, Response, Trial};
use outrigger_api::release::Part;

use super::Site;
use crate::link::{Link, LinkError};

/// The longest that the host may take over what needs an engine's start, and what it has in hand before.
const START: Duration = Duration::from_secs(90);

/// Whether the host docks an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Docks {
    /// It does.
    Yes,
    /// There is a host, and its configuration does not name the engine.
    No,
    /// Nobody is there.
    NoHost,
}

impl Docks {
    /// When a release in shadow runs that nobody runs now.
    pub(super) fn when(self) -> &'static str {
        match self {
            Self::Yes => "the host docks the engine",
            Self::No => {
                "runs in shadow when the host docks it: its configuration does not name the engine"
            }
            Self::NoHost => "runs in shadow when the host docks it: no host runs now",
        }
    }
}

/// Whether the host docks `engine`.
pub(super) fn docks(site: &Site<'_>, engine: &EngineName) -> Result<Docks> {
    let Some(answer) = ask(site, &Request::Engines, site.arguments.timeout)? else {
        return Ok(Docks::NoHost);
    };
    match answer {
        Response::Engines { engines } => {
            let docks = engines.iter().any(|status| status.name == *engine);
            Ok(if docks { Docks::Yes } else { Docks::No })
        }
        other => bail!("the host answered with {other:?}"),
    }
}

/// Every trial under way; `None` if there is no host.
pub(super) fn trials(site: &Site<'_>) -> Result<Option<Vec<Trial>>> {
    match ask(site, &Request::Trials, site.arguments.timeout)? {
        None => Ok(None),
        Some(Response::Trials { trials }) => Ok(Some(trials)),
        Some(Response::Error { message }) => bail!("the host does not tell its trials: {message}"),
        Some(other) => bail!("the host answered with {other:?}"),
    }
}

/// Has the trial of `releases` begun; what the host says, or why not.
pub(super) fn begin(
    site: &Site<'_>,
    engine: &EngineName,
    releases: Vec<ReleaseName>,
    emergency: bool,
) -> Result<Result<String, String>> {
    told(site, &Request::Trial { engine: engine.clone(), releases, emergency })
}

/// Has the trial of `engine` ended; what the host says, or why not.
pub(super) fn stop(site: &Site<'_>, engine: &EngineName) -> Result<Result<String, String>> {
    told(site, &Request::StopTrial { engine: engine.clone() })
}

/// Has what was in force before put in force again; what the host says, or why not.
pub(super) fn go_back(
    site: &Site<'_>,
    engine: &EngineName,
    part: Option<Part>,
) -> Result<Result<String, String>> {
    told(site, &Request::GoBack { engine: engine.clone(), part })
}

fn told(site: &Site<'_>, request: &Request) -> Result<Result<String, String>> {
    match ask(site, request, START)? {
        Some(Response::Done { message }) => Ok(Ok(message)),
        Some(Response::Error { message }) => Ok(Err(message)),
        Some(other) => bail!("the host answered with {other:?}"),
        None => Ok(Err("the host has gone".to_owned())),
    }
}

/// The host's answer; `None` if nobody is there at all. A host that hangs is there, and what it runs must not
/// differ from what the journal says.
fn ask(site: &Site<'_>, request: &Request, limit: Duration) -> Result<Option<Response>> {
    match Link::open(&site.config.control_socket, request, limit) {
        Ok(mut link) => Ok(Some(link.receive()?.response)),
        Err(LinkError::Unreachable { cause, .. }) if is_absent(&cause) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_absent(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}
