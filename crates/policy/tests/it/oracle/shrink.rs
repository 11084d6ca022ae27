//! Makes a pair in which the two differ smaller, as long as they still differ.

use super::case::Case;
use super::policies::Policy;
use super::{Decide, Difference, Set};

/// The smallest pair that can be had of `found` by taking something away, one thing at a time.
pub(crate) fn shrink(found: Difference, decide: Decide) -> Difference {
    let mut smallest = found;
    while let Some(smaller) = smaller(&smallest, decide) {
        smallest = smaller;
    }
    smallest
}

fn smaller(from: &Difference, decide: Decide) -> Option<Difference> {
    let with_policies =
        policies(&from.policies).into_iter().map(|policies| (policies, from.case.clone()));
    let with_case = cases(&from.case).into_iter().map(|case| (from.policies.clone(), case));
    with_policies.chain(with_case).find_map(|(policies, case)| {
        let set = Set::read(&policies).ok()?;
        let compiled = set.compile().ok()?;
        let what = set.differs(&compiled, &case, decide).err()?;
        Some(Difference { policies, case, what })
    })
}

/// Each set that is one step smaller.
fn policies(from: &[Policy]) -> Vec<Vec<Policy>> {
    let mut all = Vec::new();
    for at in (0..from.len()).filter(|_| from.len() > 1) {
        let mut fewer = from.to_vec();
        fewer.remove(at);
        all.push(fewer);
    }
    for (at, policy) in from.iter().enumerate() {
        for simpler in policy.simpler() {
            let mut set = from.to_vec();
            set[at] = simpler;
            all.push(set);
        }
    }
    all
}

/// Each event that has one thing less to say.
fn cases(from: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut case = from.clone();
        change(&mut case);
        if case != *from {
            all.push(case);
        }
    };
    for at in 0..from.numbers.len() {
        with(&|case| case.numbers[at].1 = 0);
        with(&|case| case.numbers[at].1 /= 2);
    }
    for at in 0..from.texts.len() {
        with(&|case| case.texts[at].1.clear());
        with(&|case| {
            case.texts[at].1.pop();
        });
    }
    with(&|case| case.lineage.clear());
    with(&|case| case.target_lineage.clear());
    with(&|case| case.marks.clear());
    with(&|case| case.object_marks.clear());
    all
}
