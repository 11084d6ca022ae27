//! The bits of marks, which must mean the same as long as processes and files carry them.

use super::error::CompileError;
use super::layout::{MARKS, TIMED};
use super::rule::{Condition, Effect, Process, Rule};

/// Which mark each bit stands for, and since when.
///
/// A set of rules is compiled with the names of the set before, and every mark that stands in both keeps
/// its bit. A bit that is free is given anew with the generation in [`MarkNames::since`], so that whoever
/// reads marks of an older generation knows not to take the old mark for the new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkNames {
    names: [Option<Box<str>>; MARKS],
    pub(super) since: [u64; MARKS],
    /// Seconds that the lowest marks last.
    pub(super) seconds: [u32; TIMED],
    /// Marks that children get too, by their bits.
    pub(super) inherited: u64,
}

impl Default for MarkNames {
    fn default() -> Self {
        Self {
            names: [const { None }; MARKS],
            since: [0; MARKS],
            seconds: [0; TIMED],
            inherited: 0,
        }
    }
}

/// How a mark is set, by all rules that set it.
#[derive(Default)]
struct Use<'a> {
    rule: &'a str,
    mark: &'a str,
    set: bool,
    seconds: Option<u32>,
    /// Whether children get it, where a rule sets it on a process.
    inherited: Option<bool>,
}

impl MarkNames {
    /// The mark that a bit stands for.
    pub fn name(&self, bit: usize) -> Option<&str> {
        self.names.get(bit)?.as_deref()
    }

    /// A mark's bit.
    pub fn bit(&self, name: &str) -> Option<u8> {
        let bit = self.names.iter().position(|one| one.as_deref() == Some(name))?;
        u8::try_from(bit).ok()
    }

    /// The generation in which a bit got its name.
    pub fn since(&self, bit: usize) -> u64 {
        self.since.get(bit).copied().unwrap_or(0)
    }

    /// The marks of a word of bits.
    pub fn names(&self, marks: u64) -> impl Iterator<Item = &str> {
        (0..MARKS).filter(move |bit| marks & 1 << bit != 0).filter_map(|bit| self.name(bit))
    }

    /// Those of a set of rules that comes after this.
    pub(super) fn next(&self, rules: &[Rule], generation: u64) -> Result<Self, CompileError> {
        let uses = uses(rules)?;
        let mut next = Self::default();
        let kept = |one: &&Use<'_>| self.bit(one.mark).filter(|bit| fits(one, usize::from(*bit)));
        for one in &uses {
            if let Some(bit) = kept(&one).map(usize::from) {
                next.give(one, bit, self.since(bit));
            }
        }
        for one in uses.iter().filter(|one| kept(one).is_none()) {
            let bit = (0..MARKS)
                .find(|bit| fits(one, *bit) && next.name(*bit).is_none())
                .ok_or_else(|| one.too_many())?;
            next.give(one, bit, generation);
        }
        Ok(next)
    }

    fn give(&mut self, one: &Use<'_>, bit: usize, since: u64) {
        if let (Some(name), Some(at)) = (self.names.get_mut(bit), self.since.get_mut(bit)) {
            *name = Some(one.mark.into());
            *at = since;
        }
        if let Some(seconds) = self.seconds.get_mut(bit) {
            *seconds = one.seconds.unwrap_or(0);
        }
        if one.inherited == Some(true) {
            self.inherited |= 1 << bit;
        }
    }
}

/// Whether a mark may have a bit: those with a lifetime have the lowest, and no others.
fn fits(one: &Use<'_>, bit: usize) -> bool {
    one.seconds.is_some() == (bit < TIMED)
}

impl Use<'_> {
    fn too_many(&self) -> CompileError {
        let (rule, mark) = (self.rule.to_owned(), self.mark.to_owned());
        match self.seconds {
            Some(_) => CompileError::Timed { rule, mark },
            None => CompileError::Marks { rule, mark },
        }
    }
}

/// Every mark that the rules set or read, in the order in which they do, those with a lifetime first.
fn uses(rules: &[Rule]) -> Result<Vec<Use<'_>>, CompileError> {
    let mut uses: Vec<Use<'_>> = Vec::new();
    for rule in rules {
        if let Effect::Mark(mark) = &rule.effect {
            let inherited = (!mark.object).then_some(mark.inherited);
            let one = entry(&mut uses, &rule.name, &mark.name)?;
            let same = !one.set || one.seconds == mark.seconds;
            let same_for_children =
                one.inherited.is_none_or(|is| inherited.is_none_or(|to| is == to));
            if !same || !same_for_children || mark.seconds == Some(0) {
                let (rule, mark) = (rule.name.clone(), mark.name.clone());
                return Err(CompileError::MarkDiffers { rule, mark });
            }
            (one.set, one.seconds) = (true, mark.seconds);
            one.inherited = one.inherited.or(inherited);
        }
        let mut failed = Ok(());
        walk(&rule.when, false, &mut |_, mark, _| {
            if failed.is_ok() {
                failed = entry(&mut uses, &rule.name, mark).map(drop);
            }
        });
        failed?;
    }
    uses.sort_by_key(|one| one.seconds.is_none());
    Ok(uses)
}

fn entry<'a, 'b>(
    uses: &'b mut Vec<Use<'a>>,
    rule: &'a str,
    mark: &'a str,
) -> Result<&'b mut Use<'a>, CompileError> {
    let at = uses.iter().position(|one| one.mark == mark).unwrap_or(uses.len());
    if at == uses.len() {
        uses.push(Use { rule, mark, ..Use::default() });
        if at >= MARKS {
            return Err(CompileError::Marks { rule: rule.to_owned(), mark: mark.to_owned() });
        }
    }
    Ok(&mut uses[at])
}

/// Calls `read` with every mark that a condition reads, and whether it does so negated.
pub(super) fn walk<'a>(
    condition: &'a Condition,
    negated: bool,
    read: &mut impl FnMut(Process, &'a str, bool),
) {
    match condition {
        Condition::All(all) | Condition::Any(all) => {
            all.iter().for_each(|one| walk(one, negated, read));
        }
        Condition::Not(not) => walk(not, !negated, read),
        Condition::Marked { whose, mark } => read(*whose, mark, negated),
        Condition::Number { .. }
        | Condition::Text { .. }
        | Condition::Within(_)
        | Condition::Descends { .. } => {}
    }
}

/// The marks of which to have one more can only lead to more denials, by their bits: of these a rule may
/// set one when it cannot be known whether it applies.
///
/// A mark is none of them if a Deny reads it negated, or an Allow as it is; what a rule reads that sets a
/// mark counts as that mark does.
pub(super) fn guarding(rules: &[Rule], names: &MarkNames) -> u64 {
    // Marks of which one more leads to more denials, and those of which it leads to fewer.
    let (mut more, mut fewer) = (0_u64, 0_u64);
    loop {
        let before = (more, fewer);
        for rule in rules {
            let (to_more, to_fewer) = match &rule.effect {
                Effect::Deny => (true, false),
                Effect::Allow => (false, true),
                Effect::Mark(mark) => {
                    let bit = names.bit(&mark.name).map_or(0, |bit| 1 << bit);
                    (more & bit != 0, fewer & bit != 0)
                }
                Effect::Tell(_) => (false, false),
            };
            walk(&rule.when, false, &mut |_, mark, negated| {
                let bit = names.bit(mark).map_or(0, |bit| 1 << bit);
                more |= if to_more && !negated || to_fewer && negated { bit } else { 0 };
                fewer |= if to_fewer && !negated || to_more && negated { bit } else { 0 };
            });
        }
        // Bits are only added, so this comes to an end.
        if before == (more, fewer) {
            return !fewer;
        }
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::{Event, Mode};

    use super::*;
    use crate::rules::{Mark, Source};

    fn rule(name: &str, effect: Effect, when: Condition) -> Rule {
        Rule {
            name: name.to_owned(),
            source: Source::Administrator,
            mode: Mode::Enforce,
            effect,
            events: vec![Event::FileOpen],
            when,
        }
    }

    fn sets(mark: &str, seconds: Option<u32>, when: Condition) -> Rule {
        let name = mark.to_owned();
        let mark = Mark { name, object: false, inherited: false, seconds };
        rule(&mark.name.clone(), Effect::Mark(mark), when)
    }

    fn always() -> Condition {
        Condition::All(Vec::new())
    }

    fn marked(mark: &str) -> Condition {
        Condition::Marked { whose: Process::Subject, mark: mark.to_owned() }
    }

    fn not(condition: Condition) -> Condition {
        Condition::Not(Box::new(condition))
    }

    #[test]
    fn a_mark_keeps_its_bit_as_long_as_rules_name_it() {
        let named = |marks: &[&str]| -> Vec<Rule> {
            marks.iter().map(|mark| sets(mark, None, always())).collect()
        };
        let first = MarkNames::default().next(&named(&["a", "b", "c"]), 1).expect("few");

        let second = first.next(&named(&["d", "c", "b"]), 2).expect("few");
        let third = second.next(&named(&["a", "b", "c", "d"]), 3).expect("few");

        assert_eq!((second.bit("b"), second.bit("c")), (first.bit("b"), first.bit("c")));
        assert_eq!((second.bit("a"), second.bit("d")), (None, first.bit("a")));
        let since = |names: &MarkNames, mark: &str| names.since(names.bit(mark).unwrap().into());
        assert_eq!(["a", "b", "c", "d"].map(|mark| since(&third, mark)), [3, 1, 1, 2]);
        assert_ne!(third.bit("a"), first.bit("a"));
    }

    #[test]
    fn marks_with_a_lifetime_have_the_lowest_bits() {
        let rules = [sets("stays", None, always()), sets("goes", Some(60), always())];
        let names = MarkNames::default().next(&rules, 1).expect("few");

        assert_eq!(names.bit("goes"), Some(0));
        assert_eq!(names.seconds[0], 60);
        assert!(usize::from(names.bit("stays").expect("it is set")) >= TIMED);
    }

    #[test]
    fn a_mark_that_takes_a_lifetime_is_another_one() {
        let before = MarkNames::default().next(&[sets("m", None, always())], 1).expect("few");
        let after = before.next(&[sets("m", Some(60), always())], 2).expect("few");

        assert_eq!(after.since(after.bit("m").expect("it is set").into()), 2);
        assert_eq!(before.name(after.bit("m").expect("it is set").into()), None);
    }

    /// Whether one more `m` can only lead to more denials.
    fn is_guarding(rules: &[Rule]) -> bool {
        let names = MarkNames::default().next(rules, 1).expect("few");
        guarding(rules, &names) & 1 << names.bit("m").expect("it is named") != 0
    }

    #[test]
    fn a_mark_guards_that_is_only_held_against_what_has_it() {
        let deny = |when| rule("deny", Effect::Deny, when);
        let allow = |when| rule("allow", Effect::Allow, when);
        let set = || sets("m", None, always());

        assert!(is_guarding(&[set(), deny(marked("m"))]));
        assert!(is_guarding(&[set(), allow(not(marked("m")))]));
        assert!(!is_guarding(&[set(), deny(not(marked("m")))]));
        assert!(!is_guarding(&[set(), allow(marked("m"))]));
        assert!(!is_guarding(&[set(), deny(marked("m")), allow(marked("m"))]));
        assert!(is_guarding(&[set(), rule("tell", Effect::Tell(0), not(marked("m")))]));
    }

    #[test]
    fn what_leads_to_another_mark_counts_as_that_one_is_used() {
        let deny = |when| rule("deny", Effect::Deny, when);
        let allow = |when| rule("allow", Effect::Allow, when);
        let set = || sets("m", None, always());

        assert!(is_guarding(&[set(), sets("n", None, marked("m")), deny(marked("n"))]));
        assert!(!is_guarding(&[set(), sets("n", None, marked("m")), allow(marked("n"))]));
        assert!(!is_guarding(&[set(), sets("n", None, not(marked("m"))), deny(marked("n"))]));
        assert!(is_guarding(&[set(), sets("n", None, not(marked("m"))), allow(marked("n"))]));
    }
}
