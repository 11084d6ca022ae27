//! The system call filters: what each kind of child may call, how that is compiled, how a refused call of
//! an engine is answered.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

pub(crate) mod engine;
pub(crate) mod fetch;
pub(crate) mod gate;
pub(crate) mod judge;
pub(crate) mod list;
pub(crate) mod names;

use std::io;

use list::CallList;

/// Marks the instruction that seccompiler, which knows no user notification, makes for "not on the
/// list"; see [`engine_filter`].
const PLACEHOLDER: SeccompAction = SeccompAction::Trace(0);

/// `BPF_RET | BPF_K`: return the constant of the instruction (linux/bpf_common.h).
const RETURN_CONSTANT: u16 = 0x06;

/// Compiles the engine's allow-list. A call that is not on it is handed to the host.
///
/// A call by another architecture's table (32-bit on x86-64) kills the process: its numbers mean
/// other calls.
pub(crate) fn engine_filter() -> io::Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let rules = engine::ENGINE.rules().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, PLACEHOLDER, SeccompAction::Allow, architecture)
        .map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    hand_to_host(program)
}

/// Compiles `list` for one of our own processes, where `otherwise` answers what is not on it.
pub(crate) fn own_filter(
    list: &CallList,
    otherwise: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(list.rules()?, otherwise, SeccompAction::Allow, architecture)?.try_into()
}

/// Turns the placeholder's return into one that notifies the listener.
fn hand_to_host(mut program: BpfProgram) -> io::Result<BpfProgram> {
    let placeholder = u32::from(PLACEHOLDER);
    let mut turned = 0;
    for instruction in &mut program {
        if instruction.code == RETURN_CONSTANT && instruction.k == placeholder {
            instruction.k = libc::SECCOMP_RET_USER_NOTIF;
            turned += 1;
        }
    }
    // None would allow nothing but kill or trace; refuse a compiler that changed its ways.
    if turned == 0 {
        return Err(io::Error::other("the compiled filter has no instruction for other calls"));
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_survives_the_compilation() {
        let program = engine_filter().unwrap();

        let returns = |k: u32| program.iter().any(|i| i.code == RETURN_CONSTANT && i.k == k);
        assert!(returns(libc::SECCOMP_RET_USER_NOTIF));
        assert!(returns(libc::SECCOMP_RET_ALLOW));
        assert!(!returns(u32::from(PLACEHOLDER)));
    }
}
