//! What the engine is told to do: words in a file.
//!
//! | words | meaning |
//! |---|---|
//! | `allow` | allows everything |
//! | `once` | what follows holds in this life alone: a process that starts with it allows everything |
//! | `deny-marked` | denies content that holds the EICAR string's marker |
//! | `deny-empty` | denies content that is empty |
//! | `deny-path END` | denies every file whose path ends so |
//! | `exempt UID` | allows this user everything |
//! | `crash-on WORD` | ends itself on content that begins with the word |
//! | `crash-on-exec` | ends itself on the first question about an exec |
//! | `crash-after N` | ends itself on the N-th question from now on |
//! | `burn-on WORD` | computes without end on content that begins with the word |
//! | `slow MS` | answers after so many milliseconds |
//! | `stall MS` | answers one question after so many milliseconds, and the others at once |
//! | `silent` | never answers |
//! | `tally PID` | counts what it is told, follows this process's children, and says so with its content |
//! | `ponder MS` | takes so many milliseconds for each notice |
//! | `loop` | never comes back from a question |
//! | `load-for MS`, `load-memory` | computes so long, takes memory without end, before its content is loaded |
//! | `act WHAT` | tries a forbidden act when it is told to read its content again |
//! | `act-on-content WHAT` | tries a forbidden act on the descriptor of each file |
//! | `leak-once` | takes memory without end when it is told to read its content again |
//! | `leak-descriptors` | takes every descriptor that it may have when it is told to read its content again |
//! | `leak-threads` | starts threads until it is refused one, and ends none, when it is told to read its content again |
//! | `fork-for MS` | forks without pause for so long when it is told to read its content again |
//! | `print-for MS` | prints lines without pause for so long when it is told to read its content again |
//! | `crash-at-start`, `crash-at-load` | ends itself before it says Hello, before it says Docked |
//! | `garble-at-start`, `hang-at-start` | sends a control packet that is none, or nothing at all, and waits |
//! | `attack WHAT` | lies to the host (see [`crate::attack`]) |
//! | `times N` | does so N times, and is honest from then on |

use std::fs;
use std::str::FromStr;
use std::time::Duration;

use crate::act::{Act, ContentAct};
use crate::attack::Lie;

/// Its file in the content folder.
const FILE: &str = "behaviour";

/// What the engine is told to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// The words as they stand in the file.
    pub(crate) text: String,
    pub(crate) once: bool,
    pub(crate) denies_marked: bool,
    pub(crate) denies_empty: bool,
    pub(crate) denies_path: Option<Vec<u8>>,
    pub(crate) exempt: Option<u32>,
    pub(crate) crash_on: Option<Vec<u8>>,
    pub(crate) crashes_on_exec: bool,
    pub(crate) crash_after: Option<u64>,
    pub(crate) burn_on: Option<Vec<u8>>,
    pub(crate) slow: Option<Duration>,
    pub(crate) stall: Option<Duration>,
    pub(crate) silent: bool,
    pub(crate) tally: Option<u32>,
    pub(crate) ponder: Option<Duration>,
    pub(crate) loops: bool,
    pub(crate) load_for: Option<Duration>,
    pub(crate) loads_memory: bool,
    pub(crate) act: Option<Act>,
    pub(crate) content_act: Option<ContentAct>,
    pub(crate) leaks: bool,
    pub(crate) leaks_descriptors: bool,
    pub(crate) leaks_threads: bool,
    pub(crate) fork_for: Option<Duration>,
    pub(crate) print_for: Option<Duration>,
    pub(crate) crashes_at_start: bool,
    pub(crate) crashes_at_load: bool,
    pub(crate) garbles_at_start: bool,
    pub(crate) hangs_at_start: bool,
    pub(crate) attack: Option<Lie>,
    pub(crate) times: Option<u64>,
}

impl Behaviour {
    /// What a process that starts now is to do.
    pub(crate) fn at_start() -> Result<Self, String> {
        let told = Self::told()?;
        Ok(if told.once { Self { text: told.text, ..Self::default() } } else { told })
    }

    /// What stands in the file.
    pub(crate) fn told() -> Result<Self, String> {
        let file = outrigger_sdk::content_dir().join(FILE);
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        text.trim().parse()
    }

    /// Whether a verdict needs the content.
    pub(crate) fn needs_content(&self) -> bool {
        self.denies_marked
            || self.denies_empty
            || self.crash_on.is_some()
            || self.burn_on.is_some()
            || self.content_act.is_some()
    }
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut behaviour = Self { text: text.to_owned(), ..Self::default() };
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or_else(|| format!("{word} needs an argument"));
            match word {
                "allow" => {}
                "once" => behaviour.once = true,
                "deny-marked" => behaviour.denies_marked = true,
                "deny-empty" => behaviour.denies_empty = true,
                "deny-path" => behaviour.denies_path = Some(bytes(argument()?)),
                "exempt" => behaviour.exempt = Some(number(argument()?)?),
                "crash-on" => behaviour.crash_on = Some(bytes(argument()?)),
                "crash-on-exec" => behaviour.crashes_on_exec = true,
                "crash-after" => behaviour.crash_after = Some(number(argument()?)?),
                "burn-on" => behaviour.burn_on = Some(bytes(argument()?)),
                "slow" => behaviour.slow = Some(milliseconds(argument()?)?),
                "stall" => behaviour.stall = Some(milliseconds(argument()?)?),
                "tally" => behaviour.tally = Some(number(argument()?)?),
                "ponder" => behaviour.ponder = Some(milliseconds(argument()?)?),
                "silent" => behaviour.silent = true,
                "loop" => behaviour.loops = true,
                "load-for" => behaviour.load_for = Some(milliseconds(argument()?)?),
                "load-memory" => behaviour.loads_memory = true,
                "act" => behaviour.act = Some(argument()?.parse()?),
                "act-on-content" => behaviour.content_act = Some(argument()?.parse()?),
                "leak-once" => behaviour.leaks = true,
                "leak-descriptors" => behaviour.leaks_descriptors = true,
                "leak-threads" => behaviour.leaks_threads = true,
                "fork-for" => behaviour.fork_for = Some(milliseconds(argument()?)?),
                "print-for" => behaviour.print_for = Some(milliseconds(argument()?)?),
                "crash-at-start" => behaviour.crashes_at_start = true,
                "crash-at-load" => behaviour.crashes_at_load = true,
                "hang-at-start" => behaviour.hangs_at_start = true,
                "garble-at-start" => behaviour.garbles_at_start = true,
                "attack" => behaviour.attack = Some(argument()?.parse()?),
                "times" => behaviour.times = Some(number(argument()?)?),
                _ => return Err(format!("no behaviour is called {word:?}")),
            }
        }
        Ok(behaviour)
    }
}

fn bytes(word: &str) -> Vec<u8> {
    word.as_bytes().to_vec()
}

fn milliseconds(word: &str) -> Result<Duration, String> {
    number(word).map(Duration::from_millis)
}

fn number<N: FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("{word:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_with_their_arguments() {
        let behaviour: Behaviour =
            "once deny-marked exempt 7 slow 20".parse().expect("it is well-formed");

        assert!(behaviour.once);
        assert!(behaviour.denies_marked);
        assert_eq!(behaviour.exempt, Some(7));
        assert_eq!(behaviour.slow, Some(Duration::from_millis(20)));
    }

    #[test]
    fn an_unknown_word_and_a_missing_argument_are_refused() {
        assert!("dance".parse::<Behaviour>().is_err());
        assert!("slow".parse::<Behaviour>().is_err());
        assert!("act dance".parse::<Behaviour>().is_err());
    }
}
