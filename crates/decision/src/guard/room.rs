//! How much room the rules of one engine may take.

use super::{Spare, Spared};
use crate::rules::reading::Place;
use crate::rules::{CompileError, LineageKey, MarkNames, Rule, compile};
use outrigger_api::Mode;

/// Most rules of one engine.
pub const ENGINE_RULES_MAX: usize = 256;
/// Most clauses that they become, guard rails included: an eighth of what a set can have.
pub const ENGINE_CLAUSES_MAX: usize = 256;

/// Rules of one engine's that are too many, or cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Rules.
    #[error(
        "{count} rules, over the limit of {ENGINE_RULES_MAX} of one engine: rules that differ in a constant are \
         one, `[\"a\", \"b\"].contains(…)`"
    )]
    Rules {
        /// How many there are.
        count: usize,
    },
    /// Clauses.
    #[error(
        "its {count} rules become {clauses} clauses (alternatives that are all looked at, and what the machine \
         needs), over the limit of {ENGINE_CLAUSES_MAX} of one engine: use fewer, or fewer combinations; a rule \
         about one folder takes the fewest"
    )]
    Clauses {
        /// How many rules there are.
        count: usize,
        /// And clauses.
        clauses: usize,
    },
    /// The compiler's word, with the rule's place before it.
    #[error("{0}")]
    Refused(String),
}

impl Spare {
    /// How many clauses `rules`, all that one engine has, become with what the machine needs left out.
    ///
    /// # Errors
    ///
    /// [`RoomError`].
    pub fn room(&self, rules: &[Rule], places: &[Place]) -> Result<usize, RoomError> {
        let count = rules.len();
        if count > ENGINE_RULES_MAX {
            return Err(RoomError::Rules { count });
        }
        let mut all = Vec::new();
        for rule in rules {
            let Spared { rules, conflicts } =
                self.rule(&Rule { mode: Mode::Enforce, ..rule.clone() });
            all.extend(rules.into_iter().chain(conflicts));
        }
        let compiled = compile(&all, &LineageKey([0; 16]), 1, &MarkNames::default());
        let compiled = compiled.map_err(|error| RoomError::Refused(placed(&error, places)))?;
        match compiled.image.clauses() {
            clauses if clauses > ENGINE_CLAUSES_MAX => Err(RoomError::Clauses { count, clauses }),
            clauses => Ok(clauses),
        }
    }
}

/// What the compiler says, with the place of the rule that it names: of that or of one that was made of it.
pub fn placed(error: &CompileError, places: &[Place]) -> String {
    let is = |rule: &str, place: &Place| {
        let rest = rule.strip_prefix(&place.rule);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '/']))
    };
    let at = error.rule().and_then(|rule| places.iter().find(|place| is(rule, place)));
    let at = at.map(|at| format!("{}:{}:{}: ", at.file, at.line, at.column));
    format!("{}{error}", at.unwrap_or_default())
}
