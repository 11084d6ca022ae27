//! From the arguments to the request, and from the answer to what is printed and the exit status.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use outrigger_api::control::{Decision, Request, Response};
use outrigger_api::{Answer, Coverage};

use crate::arguments::{Arguments, BAD, Command, CoverageCommand, UNREACHABLE, USAGE};
use crate::link::{Link, LinkError, Received};
use crate::policy::PolicyCommand;
use crate::{package, policy, preflight, record, repair, replay, show, text, top, update};

/// How the host's answer is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, healthy, whole.
    Good,
    /// The host answered, and the answer is no good one.
    Bad,
}

impl Outcome {
    pub(crate) fn good_if(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

/// What the arguments ask cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Asks what `arguments` say and prints the answer to `out`.
///
/// `doctor` needs no host to say what the kernel gives; that no host answered is an error all the same.
///
/// # Errors
///
/// A [`LinkError`] if no answer came, an [`std::io::Error`] if `out` takes no more.
pub(crate) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<Outcome> {
    if let Command::Top { once, every } = arguments.command {
        return top::run(arguments, once, every, out);
    }
    if let Command::Replay(ref replayed) = arguments.command {
        return replay::run(replayed, arguments.json, out);
    }
    if let Command::Package { action } = &arguments.command {
        return package::run(action, arguments.json, out);
    }
    if let Command::Policy { command } = &arguments.command
        && !matches!(command, PolicyCommand::Apply)
    {
        return policy::run(command, arguments.json, out);
    }
    if let Command::Record { ref command } = arguments.command {
        return record::run(command, arguments.json, out);
    }
    if let Command::Preflight(ref tried) = arguments.command {
        return preflight::run(tried, arguments.json, out);
    }
    if let Command::Update { command, config } = &arguments.command {
        return update::run(arguments, command, config, out);
    }
    if let Command::Repair { command, config } = &arguments.command
        && !repair::asks(command)
    {
        return repair::run(command, config, arguments.json, out);
    }
    let request = request(&arguments.command)?;
    let link = Link::open(&arguments.socket, &request, limit(arguments));
    if let (&Command::Doctor { events }, Err(LinkError::Unreachable { .. })) =
        (&arguments.command, &link)
    {
        examine(arguments.json, events, out)?;
    }
    let mut link = link?;
    match arguments.command {
        Command::Watch { denied } => watch(&mut link, denied, arguments.json, out),
        Command::Status { events } | Command::Doctor { events } => {
            answer_with(&link.receive()?, arguments.json, events, out)
        }
        _ => answer(&link.receive()?, arguments.json, out),
    }
}

/// The exit status for an `error` of [`run`].
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(LinkError::RequestTooLong { .. }) => USAGE,
        _ if error.is::<UsageError>() => USAGE,
        _ if error.is::<update::UpdateError>() => USAGE,
        _ if package::is_refusal(error) || update::is_trouble(error) => BAD,
        _ if repair::is_refusal(error) => BAD,
        _ if error.is::<replay::ReplayFailed>() || error.is::<record::RecordFailed>() => BAD,
        _ => UNREACHABLE,
    }
}

fn request(command: &Command) -> Result<Request> {
    Ok(match command {
        Command::Package { .. }
        | Command::Record { .. }
        | Command::Replay(_)
        | Command::Preflight(_)
        | Command::Update { .. } => bail!("no host is asked for that"),
        Command::Policy { command: PolicyCommand::Apply } => Request::ApplyPolicy,
        Command::Policy { .. } => bail!("no host is asked for that"),
        Command::Status { .. } => Request::Status,
        Command::Engines => Request::Engines,
        Command::Top { .. } => Request::Ledger,
        Command::Watch { .. } => Request::Watch,
        Command::Explain { case } => Request::Explain { case: case.get() },
        Command::Doctor { .. } => Request::Doctor,
        Command::Engine { action } => {
            let (name, action) = action.parts();
            Request::Engine { name: name.clone(), action }
        }
        Command::Repair { command, .. } => repair::request(command)?,
        Command::Reload => Request::Reload,
        Command::Coverage { command: CoverageCommand::Accept } => Request::AcceptCoverage,
        Command::Flush => Request::Flush,
        Command::Upgrade { binary } => {
            Request::Upgrade { binary: binary.as_deref().map(absolute).transpose()? }
        }
    })
}

/// `path` as the host can find it: absolute, and text.
fn absolute(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path)
        .with_context(|| UsageError(format!("{} names no file", path.display())))?;
    whole.into_os_string().into_string().map_err(|path| {
        UsageError(format!("{} is not UTF-8; give the binary another name", path.display())).into()
    })
}

/// How long to wait: starting a new build takes longer than an answer.
pub(crate) fn limit(arguments: &Arguments) -> Duration {
    match arguments.command {
        Command::Upgrade { .. } => arguments.timeout * 6,
        _ => arguments.timeout,
    }
}

/// Shows what was received.
pub(crate) fn answer(received: &Received, json: bool, out: &mut impl Write) -> Result<Outcome> {
    answer_with(received, json, false, out)
}

/// As [`answer`]; with the coverage of every one of the `events` if that is wanted.
fn answer_with(
    received: &Received,
    json: bool,
    events: bool,
    out: &mut impl Write,
) -> Result<Outcome> {
    let outcome = judge(&received.response);
    if json {
        writeln!(out, "{}", text::visible_json(&received.line))?;
        return Ok(outcome);
    }
    let shown = match &received.response {
        Response::Status(status) => show::status::whole(status, events),
        Response::Engines { engines } => show::engines::whole(engines),
        Response::Ledger(ledger) => show::ledger::whole(ledger),
        Response::Decision(decision) => show::decision::whole(decision),
        Response::Doctor(coverage) => show::doctor::whole(coverage, events),
        Response::Trials { trials } => show::trials::whole(trials),
        Response::Missed { count } => show::decision::missed(*count),
        Response::Done { message } => text::visible_lines(message) + "\n",
        Response::Error { message } => {
            text::styled(text::WRONG, "refused: ") + &text::visible_lines(message) + "\n"
        }
    };
    out.write_all(shown.as_bytes())?;
    Ok(outcome)
}

fn judge(response: &Response) -> Outcome {
    match response {
        Response::Status(status) => Outcome::good_if(status.healthy && status.problems.is_empty()),
        Response::Doctor(coverage) => {
            Outcome::good_if(coverage.is_whole() && !coverage.volumes.is_empty())
        }
        Response::Engines { .. }
        | Response::Ledger(_)
        | Response::Decision(_)
        | Response::Trials { .. }
        | Response::Done { .. } => Outcome::Good,
        Response::Missed { .. } | Response::Error { .. } => Outcome::Bad,
    }
}

/// Without a host: prints what this kernel gives by a trial of our own. Only root can try.
fn examine(json: bool, every: bool, out: &mut impl Write) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let events = outrigger_sensor::coverage::probe();
    let coverage = Coverage { kernel, events, volumes: Vec::new(), shrunk: Vec::new() };
    if json {
        let line = serde_json::to_string(&Response::Doctor(coverage)).expect("plain data");
        writeln!(out, "{}", text::visible_json(&line))?;
    } else {
        out.write_all(show::doctor::whole(&coverage, every).as_bytes())?;
    }
    Ok(())
}

/// Prints decisions as they come, until the host or the reader of `out` has enough.
fn watch(link: &mut Link, denied: bool, json: bool, out: &mut impl Write) -> Result<Outcome> {
    link.wait_for_ever();
    loop {
        let received = link.receive()?;
        let shown = match &received.response {
            Response::Decision(decision) if denied && !refused(decision) => continue,
            Response::Decision(decision) => show::decision::line(decision),
            // What is missing may have been a denial, so a filter does not hide it.
            Response::Trials { trials } => show::trials::whole(trials),
            Response::Missed { count } => show::decision::missed(*count),
            Response::Error { .. } => return answer(&received, json, out),
            _ => bail!("the host answered `watch` with something else than decisions"),
        };
        if json {
            writeln!(out, "{}", text::visible_json(&received.line))?;
        } else {
            out.write_all(shown.as_bytes())?;
        }
        out.flush()?;
    }
}

/// Whether `decision` refused something, or would have.
fn refused(decision: &Decision) -> bool {
    decision.answer == Answer::Deny || decision.not_enforced
}
