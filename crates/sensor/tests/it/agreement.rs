//! The kernel's evaluation of rules agrees with the host's.

use crate::kernel_rules::{Kernel, Missing, compare};

/// Pairs of sets and facts; in the VM there are more (`examples/agree.rs`).
const PAIRS: usize = 5_000;

#[test]
fn the_kernel_decides_as_the_host_does() {
    let mut kernel = match Kernel::load() {
        Ok(kernel) => kernel,
        Err(Missing::Refused(why)) => {
            eprintln!("SKIPPED: this kernel does not take the evaluator: {why}");
            return;
        }
        Err(Missing::Broken(why)) => panic!("{why}"),
    };

    let compared = compare(&mut kernel, PAIRS, 6);

    assert!(compared.unwrap_or_else(|why| panic!("{why}")) >= PAIRS);
}
