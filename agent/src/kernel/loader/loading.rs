//! Has the kernel check programs and load them, several at a time if there are processors for it: checking takes it longer
//! than everything else at a start, and each program is checked by itself.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use aya::{
    Btf as KernelBtf, Ebpf,
    programs::{
        CgroupSkb, CgroupSockAddr, CgroupSysctl, FEntry, FExit, Lsm, Program, RawTracePoint, Xdp,
    },
};

use super::{LoadError, interfaces::BARE};
use crate::{
    kernel::hooks::{Attach, Hook},
    sys::signals::held_off,
};

/// Programs that are checked at a time at most: what the kernel remembers of each may take tens of megabytes meanwhile.
const AT_ONCE: usize = 4;

/// Loads the programs of these hooks. Of several that are refused the first is told; what was not begun by then is left.
pub(super) fn load_programs(
    ebpf: &mut Ebpf,
    hooks: &[&'static Hook],
    btf: &KernelBtf,
) -> Result<(), LoadError> {
    let mut there: BTreeMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let mut waiting = Vec::with_capacity(hooks.len());
    for hook in hooks {
        let program = there.remove(hook.program).ok_or(LoadError::Missing(hook.program))?;
        waiting.push((hook, program));
        if hook.attach == Attach::Xdp {
            let program = there.remove(BARE).ok_or(LoadError::Missing(BARE))?;
            waiting.push((hook, program));
        }
    }
    // Taken from the end: programs on packets, the last of the hooks, take longest, and are not to be waited for alone.
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(AT_ONCE);
    let (waiting, refused) = (Mutex::new(waiting), Mutex::new(BTreeMap::new()));
    let stopped = AtomicBool::new(false);
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let mut left = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((hook, program)) = left.pop() else { return };
            let at = left.len();
            drop(left);
            if let Err(error) = held_off(|| load(program, hook, btf)) {
                stopped.store(true, Ordering::Relaxed);
                refused.lock().unwrap_or_else(PoisonError::into_inner).insert(at, error);
            }
        }
    };
    thread::scope(|scope| {
        for _another in 1..threads.min(hooks.len()) {
            // Without it the others do its work.
            let _thread = thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    refused.into_values().next().map_or(Ok(()), Err)
}

fn load(program: &mut Program, hook: &'static Hook, btf: &KernelBtf) -> Result<(), LoadError> {
    let refused = |source| LoadError::Program { program: hook.program, source };
    match hook.attach {
        Attach::Lsm(name) => {
            let program: &mut Lsm = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)
        }
        Attach::Entry(name) => {
            let program: &mut FEntry = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)
        }
        Attach::Exit(name) => {
            let program: &mut FExit = program.try_into().map_err(refused)?;
            program.load(name, btf).map_err(refused)
        }
        Attach::Tracepoint(_) => {
            let program: &mut RawTracePoint = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::Cgroup => {
            let program: &mut CgroupSockAddr = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::Sysctl => {
            let program: &mut CgroupSysctl = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::CgroupOut | Attach::CgroupIn => {
            let program: &mut CgroupSkb = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
        Attach::Xdp => {
            let program: &mut Xdp = program.try_into().map_err(refused)?;
            program.load().map_err(refused)
        }
    }
}
