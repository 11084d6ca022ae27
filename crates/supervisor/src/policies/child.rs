//! The confined program that reads policies, and how long it may take.
//!
//! It is started anew for every set, in the sandbox that engines have, without a file but its own: text
//! goes in by a pipe, rules come out by another. Nothing that it is given could be mapped as code. What it says is hostile: it is bounded here and parsed by
//! [`Answer::parse`].

use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_decision::rules::reading::{ANSWER_MAX, Answer, Question, ReadingError};
use outrigger_sandbox::{Confined, Confinement, Exit, Limits, StartError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// Longest that it may take from its start to its end. It takes a tenth of a second; a machine that has other things
/// to do must not be told for it that its policies are wrong.
pub const TIME_MAX: Duration = Duration::from_secs(10);
/// Most memory, in bytes. The largest set that is read takes some tens of MiB.
const MEMORY_MAX: u64 = 512 << 20;
/// Its user and group: below those that engines get.
const USER: u32 = 60_999;
/// How much of what it says in place of an answer is shown, in bytes.
const SHOWN: usize = 300;

/// Groups that are not to hear of what it opens in its own root.
#[derive(Debug, Clone, Default)]
pub struct Unheard {
    /// Their descriptors.
    pub groups: Vec<RawFd>,
    /// The events that they would hear of.
    pub mask: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("cannot be started")]
    Start(#[from] StartError),
    /// A descriptor of ours was not to be had, or broke.
    #[error("the pipes to it failed")]
    Pipe(#[source] io::Error),
    /// It was killed.
    #[error("did not end within {} ms and was killed", .0.as_millis())]
    Late(Duration),
    /// It was killed.
    #[error("wrote over {ANSWER_MAX} bytes, the limit, and was killed")]
    TooLong,
    /// It ended otherwise than well.
    #[error("{0}{1}")]
    Ended(Ended, Said),
    /// It ended well and said nonsense.
    #[error("its answer is refused: {0}")]
    Nonsense(ReadingError),
}

impl ChildError {
    /// Whether that may be the doing of the text, and not of this machine.
    pub fn is_the_texts(&self) -> bool {
        match self {
            Self::Start(_) | Self::Pipe(_) => false,
            Self::Late(_) | Self::TooLong | Self::Ended(..) | Self::Nonsense(_) => true,
        }
    }
}

/// How it ended.
#[derive(Debug)]
pub struct Ended(Exit);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "ended with code {code}"),
            Exit::OutOfMemory => write!(f, "ran out of its {} MiB", MEMORY_MAX >> 20),
            Exit::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// What it said before it ended, short and safe to print.
#[derive(Debug)]
pub struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Has the program at `program` read `question`.
///
/// # Errors
///
/// [`ChildError`]; the program runs no more.
pub fn read(
    program: &Path,
    question: &Question,
    unheard: &Unheard,
    limit: Duration,
) -> Result<Answer, ChildError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| ChildError::Pipe(errno.into()));
    let (input, to_child) = pipe()?;
    let (from_child, output) = pipe()?;
    for end in [&to_child, &from_child] {
        rustix::io::ioctl_fionbio(end, true).map_err(|errno| ChildError::Pipe(errno.into()))?;
    }
    let confined = outrigger_sandbox::start(Confinement {
        name: "policy-compiler".to_owned(),
        program: program.to_owned(),
        arguments: Vec::new(),
        uid: USER,
        gid: USER,
        apart: true,
        read_only: Vec::new(),
        limits: Limits { memory_bytes: MEMORY_MAX, threads: 2, descriptors: 16, cpu_percent: None },
        descriptors: Vec::new(),
        input: Some(input),
        log: Some(output),
        ignore_groups: unheard.groups.clone(),
        ignore_mask: unheard.mask,
    })?;
    let deadline = Instant::now() + limit;
    let said = exchange(&question.frame(), to_child, &from_child, deadline, limit)?;
    match end(&confined, deadline)? {
        None => Err(ChildError::Late(limit)),
        Some(Exit::Code(0)) => Answer::parse(&said).map_err(ChildError::Nonsense),
        Some(exit) => Err(ChildError::Ended(Ended(exit), Said(shown(&said)))),
    }
}

/// Writes `frame` and reads until the other end is closed.
fn exchange(
    frame: &[u8],
    to_child: OwnedFd,
    from_child: &OwnedFd,
    deadline: Instant,
    limit: Duration,
) -> Result<Vec<u8>, ChildError> {
    let failed = |errno: Errno| ChildError::Pipe(errno.into());
    let mut rest = frame;
    // Closed once all is said.
    let mut to_child = Some(to_child);
    let mut said = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let wait = left(deadline).ok_or(ChildError::Late(limit))?;
        let mut polled = vec![PollFd::new(from_child, PollFlags::IN)];
        polled.extend(to_child.as_ref().map(|end| PollFd::new(end, PollFlags::OUT)));
        match poll(&mut polled, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        drop(polled);
        if let Some(end) = &to_child {
            match rustix::io::write(end, rest) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                // It reads no more; what it says tells why.
                Err(_) => rest = &[],
            }
            to_child = to_child.filter(|_| !rest.is_empty());
        }
        match rustix::io::read(from_child, &mut chunk) {
            Ok(0) => return Ok(said),
            Ok(got) if said.len() + got > ANSWER_MAX => return Err(ChildError::TooLong),
            Ok(got) => said.extend_from_slice(&chunk[..got]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// How it ended; `None` if it still runs at the deadline.
fn end(confined: &Confined, deadline: Instant) -> Result<Option<Exit>, ChildError> {
    loop {
        if let Some(exit) = confined.exit().map_err(ChildError::Pipe)? {
            return Ok(Some(exit));
        }
        let Some(wait) = left(deadline) else { return Ok(None) };
        let mut polled = [PollFd::from_borrowed_fd(confined.pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut polled, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ChildError::Pipe(errno.into())),
        }
    }
}

fn left(deadline: Instant) -> Option<Timespec> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { None } else { Timespec::try_from(left).ok() }
}

fn shown(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(&said[..said.len().min(SHOWN)]);
    text.trim().chars().map(|one| if one.is_control() { ' ' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use outrigger_decision::rules::Source;

    use super::*;

    fn question() -> Question {
        let mut question = Question::new(Source::Administrator);
        // More than a pipe holds.
        question.add("a.cedar", &vec![b' '; 300_000]).expect("it is text");
        question
    }

    /// What comes of a program that is no compiler; `None` where nothing can be confined.
    fn refused(program: &str, limit: Duration) -> Option<ChildError> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to confine a process");
            return None;
        }
        let read = read(Path::new(program), &question(), &Unheard::default(), limit);
        Some(read.expect_err("it is no compiler"))
    }

    #[test]
    fn what_is_said_by_another_program_is_no_answer() {
        let Some(refused) = refused("/bin/cat", Duration::from_secs(20)) else { return };

        assert!(matches!(refused, ChildError::Nonsense(_)), "{refused}");
    }

    #[test]
    fn one_that_ends_badly_is_told_with_its_code() {
        let Some(refused) = refused("/bin/false", Duration::from_secs(20)) else { return };

        assert_eq!(refused.to_string(), "ended with code 1");
    }

    #[test]
    fn one_that_reads_and_never_ends_is_killed_at_the_limit() {
        // It writes nothing before the end of its input, and has no time for that.
        let Some(refused) = refused("/usr/bin/tac", Duration::ZERO) else { return };

        assert!(matches!(refused, ChildError::Late(_)), "{refused}");
    }

    #[test]
    fn one_that_never_stops_writing_is_killed_at_the_limit_of_bytes() {
        let Some(refused) = refused("/usr/bin/yes", Duration::from_secs(60)) else { return };

        assert!(matches!(refused, ChildError::TooLong), "{refused}");
    }

    #[test]
    fn one_that_is_not_there_is_told() {
        let Some(refused) = refused("/nowhere/compiler", Duration::from_secs(20)) else { return };

        assert!(matches!(refused, ChildError::Start(_)), "{refused}");
    }
}
