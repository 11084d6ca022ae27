//! Monitor mode: what is only recorded.
//!
//! There are two places where Monitor mode can be set, and they differ in how a case goes on:
//!
//! - An *engine* in Monitor mode is asked and waited for as if it were enforced, but its Deny ends no
//!   case (another engine may have a real one), and neither its Deny nor its absence refuses anything.
//!   The arbiter does this, by [`crate::Question::monitored`].
//! - A *policy* (or the whole host) in Monitor mode decides the case as always and then lets it through:
//!   [`enforce`]. The arbiter applies it last, by [`crate::Question::mode`].
//!
//! Either way the case says that it would have been denied, and its answer is not cached.

use outrigger_api::{Answer, Mode};

/// What becomes of the decided `answer` under `mode`, and whether it would have been a Deny.
///
/// ```
/// use outrigger_api::{Answer, Mode};
/// use outrigger_decision::monitor::enforce;
///
/// assert_eq!(enforce(Mode::Monitor, Answer::Deny), (Answer::Allow, true));
/// assert_eq!(enforce(Mode::Enforce, Answer::Deny), (Answer::Deny, false));
/// ```
pub const fn enforce(mode: Mode, answer: Answer) -> (Answer, bool) {
    match (mode, answer) {
        (Mode::Monitor, Answer::Deny) => (Answer::Allow, true),
        (Mode::Monitor | Mode::Enforce, Answer::Allow) => (Answer::Allow, false),
        (Mode::Enforce, Answer::Deny) => (Answer::Deny, false),
    }
}
