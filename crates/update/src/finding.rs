//! Why a release on trial is not taken, in words that journals, scripts and people read: once given, they stay.

use std::fmt;

use outrigger_api::FailureReason;

use crate::store::Rejection;

/// What speaks against a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// Its process failed.
    Failed(FailureReason),
    /// It denied what the machine needs to live.
    DeniedGuarded,
    /// It denied what the release before does not, too often.
    NewDenials,
    /// It let through, or could not judge, what the release before denies or judges, too often.
    LostVerdicts,
    /// It left questions without a verdict, too often.
    Misses,
    /// It took too long.
    Slow,
    /// It took too much processor time for a question.
    Processor,
    /// It took too much memory.
    Memory,
    /// There was too little to judge it by: no fault of the release's.
    TooFewEvents,
    /// It could not be tried, for want of something on this machine: no fault of the release's.
    NotTried,
    /// The administrator ended its trial.
    Stopped,
    /// The administrator went back to what was before.
    SentBack,
}

impl Sign {
    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed(reason) => reason.name(),
            Self::DeniedGuarded => "denied-guarded",
            Self::NewDenials => "new-denials",
            Self::LostVerdicts => "lost-verdicts",
            Self::Misses => "misses",
            Self::Slow => "slow",
            Self::Processor => "processor",
            Self::Memory => "memory",
            Self::TooFewEvents => "too-few-events",
            Self::NotTried => "not-tried",
            Self::Stopped => "stopped",
            Self::SentBack => "sent-back",
        }
    }

    /// The one that is written so.
    pub fn named(name: &str) -> Option<Self> {
        const PLAIN: [Sign; 11] = [
            Sign::DeniedGuarded,
            Sign::NewDenials,
            Sign::LostVerdicts,
            Sign::Misses,
            Sign::Slow,
            Sign::Processor,
            Sign::Memory,
            Sign::TooFewEvents,
            Sign::NotTried,
            Sign::Stopped,
            Sign::SentBack,
        ];
        let failures = FailureReason::ALL.iter().map(|reason| Self::Failed(*reason));
        PLAIN.into_iter().chain(failures).find(|sign| sign.name() == name)
    }

    /// Whether it is for what the release did, so that it is not to be taken again, whoever offers it.
    pub const fn is_the_releases(self) -> bool {
        // One that did not dock may have found no room: it had docked before.
        !matches!(
            self,
            Self::TooFewEvents
                | Self::NotTried
                | Self::Stopped
                | Self::Failed(FailureReason::NotDocked)
        )
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A sign, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub sign: Sign,
    /// What, how much, and the limit; for people.
    pub text: String,
}

impl Finding {
    /// One of `sign`, as `text` tells.
    pub fn new(sign: Sign, text: impl Into<String>) -> Self {
        Self { sign, text: text.into() }
    }

    /// How the journal of releases is told.
    pub fn rejection(&self) -> Rejection {
        match self.sign.is_the_releases() {
            true => Rejection::for_conduct(self.sign.name(), &self.text),
            false => Rejection::new(self.sign.name(), &self.text),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sign, self.text)
    }
}

/// How a judge stands to a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its time goes on.
    Running,
    /// It waits for something, which a person is told; its time is over otherwise.
    Waiting(String),
    /// It has stood its time.
    Passed,
    /// It is not to be taken.
    Failed(Finding),
}
