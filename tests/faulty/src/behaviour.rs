//! What the engine is told to do: words in a file.
//!
//! | words | meaning |
//! |---|---|
//! | `allow` | allows everything |
//! | `deny-marked` | denies content that holds the EICAR string's marker |
//! | `exempt UID` | allows this user everything |
//! | `crash-on WORD` | ends itself on content that begins with the word |
//! | `slow MS` | answers after so many milliseconds |
//! | `silent` | never answers |
//! | `loop` | never comes back from a question |
//! | `act WHAT` | tries a forbidden act when it is told to read its content again |
//! | `act-on-content WHAT` | tries a forbidden act on the descriptor of each file |
//! | `leak-once` | takes memory without end when it is told to read its content again |
//! | `leak-descriptors` | takes every descriptor that it may have when it is told to read its content again |
//! | `crash-at-start`, `crash-at-load` | ends itself before it says Hello, before it says Docked |
//! | `attack WHAT` | lies to the host |

use std::fs;
use std::str::FromStr;
use std::time::Duration;

use crate::act::{Act, ContentAct};
use crate::attack::Lie;

const FILE: &str = "/content/behaviour";

/// What the engine is told to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// The words as they stand in the file.
    pub(crate) text: String,
    pub(crate) denies_marked: bool,
    pub(crate) exempt: Option<u32>,
    pub(crate) crash_on: Option<Vec<u8>>,
    pub(crate) slow: Option<Duration>,
    pub(crate) silent: bool,
    pub(crate) loops: bool,
    pub(crate) act: Option<Act>,
    pub(crate) content_act: Option<ContentAct>,
    pub(crate) leaks: bool,
    pub(crate) leaks_descriptors: bool,
    pub(crate) crashes_at_start: bool,
    pub(crate) crashes_at_load: bool,
    pub(crate) attack: Option<Lie>,
}

impl Behaviour {
    /// Reads the file.
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        text.trim().parse()
    }

    /// Whether a verdict needs the content.
    pub(crate) fn needs_content(&self) -> bool {
        self.denies_marked || self.crash_on.is_some() || self.content_act.is_some()
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
                "deny-marked" => behaviour.denies_marked = true,
                "exempt" => behaviour.exempt = Some(number(argument()?)?),
                "crash-on" => behaviour.crash_on = Some(argument()?.as_bytes().to_vec()),
                "slow" => behaviour.slow = Some(Duration::from_millis(number(argument()?)?)),
                "silent" => behaviour.silent = true,
                "loop" => behaviour.loops = true,
                "act" => behaviour.act = Some(argument()?.parse()?),
                "act-on-content" => behaviour.content_act = Some(argument()?.parse()?),
                "leak-once" => behaviour.leaks = true,
                "leak-descriptors" => behaviour.leaks_descriptors = true,
                "crash-at-start" => behaviour.crashes_at_start = true,
                "crash-at-load" => behaviour.crashes_at_load = true,
                "attack" => behaviour.attack = Some(argument()?.parse()?),
                _ => return Err(format!("no behaviour is called {word:?}")),
            }
        }
        Ok(behaviour)
    }
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
            "deny-marked exempt 7 slow 20".parse().expect("it is well-formed");

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
