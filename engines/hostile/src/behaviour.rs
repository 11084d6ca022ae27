//! What the engine is told to do: words in a file, or behind its name and version on its command line, which is
//! how a release of its code brings them along.
//!
//! | words | meaning |
//! |---|---|
//! | `allow` | allows everything |
//! | `once` | what follows holds in this life alone: a process that starts with it allows everything |
//! | `deny-marked` | denies content that holds the EICAR string's marker |
//! | `deny-empty` | denies content that is empty |
//! | `deny-path END` | denies every file whose path ends so; may be there several times |
//! | `exempt UID` | allows this user everything |
//! | `crash-on WORD` | ends itself on content that begins with the word |
//! | `crash-on-path END` | ends itself on a file whose path ends so |
//! | `crash-on-exec` | ends itself on the first question about an exec |
//! | `crash-after N` | ends itself on the N-th question from now on |
//! | `burn-on WORD` | computes without end on content that begins with the word |
//! | `burn-on-path END` | computes without end on a file whose path ends so |
//! | `slow MS` | answers after so many milliseconds |
//! | `work US` | computes for so many microseconds before it answers |
//! | `leak-each KIB` | takes so much memory with each question, and gives none back |
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
//! | `only-on-kernel START` | ends itself before it says Docked on a kernel whose release begins otherwise |
//! | `attack WHAT` | lies to the host (see [`crate::attack`]) |
//! | `times N` | does so N times, and is honest from then on |
//! | `later MS` | what follows holds only from the first question so long after its start; what stands before, always |

use std::fs;
use std::str::FromStr;
use std::time::Duration;

use crate::act::{Act, ContentAct};
use crate::attack::Lie;

/// Its file in the content folder.
const FILE: &str = "behaviour";
/// Where the words begin on the command line: behind the program, its name and its version.
const WORDS: usize = 3;

/// What the engine is told to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// The words as they stand in the file.
    pub(crate) text: String,
    pub(crate) once: bool,
    pub(crate) denies_marked: bool,
    pub(crate) denies_empty: bool,
    pub(crate) denies_paths: Vec<Vec<u8>>,
    pub(crate) exempt: Option<u32>,
    pub(crate) crash_on: Option<Vec<u8>>,
    pub(crate) crash_on_path: Option<Vec<u8>>,
    pub(crate) crashes_on_exec: bool,
    pub(crate) crash_after: Option<u64>,
    pub(crate) burn_on: Option<Vec<u8>>,
    pub(crate) burn_on_path: Option<Vec<u8>>,
    pub(crate) slow: Option<Duration>,
    pub(crate) work: Option<Duration>,
    /// Bytes.
    pub(crate) leaks_each: usize,
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
    pub(crate) only_on_kernel: Option<String>,
    pub(crate) attack: Option<Lie>,
    pub(crate) times: Option<u64>,
    /// What it is to do so long after its start.
    pub(crate) later: Option<(Duration, Box<Self>)>,
}

impl Behaviour {
    /// What a process that starts now is to do.
    pub(crate) fn at_start() -> Result<Self, String> {
        let told = Self::told()?;
        Ok(if told.once { Self { text: told.text, ..Self::default() } } else { told })
    }

    /// What stands on the command line, or else in the file.
    pub(crate) fn told() -> Result<Self, String> {
        let words: Vec<String> = std::env::args().skip(WORDS).collect();
        if !words.is_empty() {
            return words.join(" ").parse();
        }
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
        behaviour.take(text.split_ascii_whitespace())?;
        Ok(behaviour)
    }
}

impl Behaviour {
    /// Adds what `words` say.
    fn take<'w>(&mut self, mut words: impl Iterator<Item = &'w str>) -> Result<(), String> {
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or_else(|| format!("{word} needs an argument"));
            match word {
                "allow" => {}
                "once" => self.once = true,
                "deny-marked" => self.denies_marked = true,
                "deny-empty" => self.denies_empty = true,
                "deny-path" => self.denies_paths.push(bytes(argument()?)),
                "exempt" => self.exempt = Some(number(argument()?)?),
                "crash-on" => self.crash_on = Some(bytes(argument()?)),
                "crash-on-path" => self.crash_on_path = Some(bytes(argument()?)),
                "crash-on-exec" => self.crashes_on_exec = true,
                "crash-after" => self.crash_after = Some(number(argument()?)?),
                "burn-on" => self.burn_on = Some(bytes(argument()?)),
                "burn-on-path" => self.burn_on_path = Some(bytes(argument()?)),
                "slow" => self.slow = Some(milliseconds(argument()?)?),
                "work" => self.work = Some(number(argument()?).map(Duration::from_micros)?),
                "leak-each" => self.leaks_each = number::<usize>(argument()?)? << 10,
                "only-on-kernel" => self.only_on_kernel = Some(argument()?.to_owned()),
                "stall" => self.stall = Some(milliseconds(argument()?)?),
                "tally" => self.tally = Some(number(argument()?)?),
                "ponder" => self.ponder = Some(milliseconds(argument()?)?),
                "silent" => self.silent = true,
                "loop" => self.loops = true,
                "load-for" => self.load_for = Some(milliseconds(argument()?)?),
                "load-memory" => self.loads_memory = true,
                "act" => self.act = Some(argument()?.parse()?),
                "act-on-content" => self.content_act = Some(argument()?.parse()?),
                "leak-once" => self.leaks = true,
                "leak-descriptors" => self.leaks_descriptors = true,
                "leak-threads" => self.leaks_threads = true,
                "fork-for" => self.fork_for = Some(milliseconds(argument()?)?),
                "print-for" => self.print_for = Some(milliseconds(argument()?)?),
                "crash-at-start" => self.crashes_at_start = true,
                "crash-at-load" => self.crashes_at_load = true,
                "hang-at-start" => self.hangs_at_start = true,
                "garble-at-start" => self.garbles_at_start = true,
                "attack" => self.attack = Some(argument()?.parse()?),
                "times" => self.times = Some(number(argument()?)?),
                "later" => {
                    let after = milliseconds(argument()?)?;
                    let rest: Vec<&str> = words.by_ref().collect();
                    // What stands before goes on as well.
                    let mut then = Self { later: None, ..self.clone() };
                    then.take(rest.into_iter())?;
                    self.later = Some((after, Box::new(then)));
                    break;
                }
                _ => return Err(format!("no behaviour is called {word:?}")),
            }
        }
        Ok(())
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
    fn what_stands_before_later_holds_always_and_the_rest_then() {
        let behaviour: Behaviour =
            "deny-path a later 30 deny-path b slow 20".parse().expect("it is well-formed");

        let (after, then) = behaviour.later.expect("there is a later");
        assert_eq!((behaviour.denies_paths, behaviour.slow), (vec![b"a".to_vec()], None));
        assert_eq!(after, Duration::from_millis(30));
        assert_eq!(then.denies_paths, [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(then.slow, Some(Duration::from_millis(20)));
    }

    #[test]
    fn an_unknown_word_and_a_missing_argument_are_refused() {
        assert!("dance".parse::<Behaviour>().is_err());
        assert!("slow".parse::<Behaviour>().is_err());
        assert!("act dance".parse::<Behaviour>().is_err());
    }
}
