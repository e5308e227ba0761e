//! Numbers of system calls by name, for every way of calling.
//!
//! An image is for all machines: a name stands for its number in each table that has it. The tables come from a crate
//! that takes them from the kernel's own; x32 has the 64-bit numbers but for those listed here
//! (arch/x86/entry/syscalls/syscall_64.tbl, from 512).

use std::{collections::BTreeMap, sync::LazyLock};

use interdict_abi::ids::Calling;
use syscalls::{aarch64, arm, x86, x86_64};

/// What x32 calls by numbers of its own.
const X32: &[(&str, u32)] = &[
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// Values of `Fact::Number` by name.
static NUMBERS: LazyLock<BTreeMap<&'static str, Vec<u32>>> = LazyLock::new(|| {
    let mut numbers: BTreeMap<&'static str, Vec<u32>> = BTreeMap::new();
    let mut add = |calling: Calling, name: &'static str, number: u32| {
        let value = (calling as u32) << Calling::SHIFT | number;
        numbers.entry(name).or_default().push(value);
    };
    for call in x86_64::Sysno::iter() {
        let number = call as u32;
        add(Calling::X86_64, call.name(), number);
        if number < 512 && !X32.iter().any(|(name, _)| *name == call.name()) {
            add(Calling::X32, call.name(), number);
        }
    }
    for (name, number) in X32 {
        add(Calling::X32, name, *number);
    }
    for call in x86::Sysno::iter() {
        add(Calling::I386, call.name(), call as u32);
    }
    for call in aarch64::Sysno::iter() {
        add(Calling::Aarch64, call.name(), call as u32);
    }
    for call in arm::Sysno::iter() {
        add(Calling::Arm, call.name(), call as u32);
    }
    // Numbers past the bitmap are those that ARM keeps for itself.
    for values in numbers.values_mut() {
        values.retain(|value| value & 0xffff < interdict_abi::limits::SYSCALL_NUMBERS);
        values.sort_unstable();
    }
    numbers.retain(|_, values| !values.is_empty());
    numbers
});

/// All values of `Fact::Number` that a system call of this name has.
pub fn syscall_numbers(name: &str) -> Option<&'static [u32]> {
    NUMBERS.get(name).map(Vec::as_slice)
}

/// The names of all system calls.
pub fn syscall_names() -> impl Iterator<Item = &'static str> {
    NUMBERS.keys().copied()
}

/// The name of the system call that is called by this number in this way.
pub fn syscall_name(value: u32) -> Option<&'static str> {
    NUMBERS.iter().find(|(_, values)| values.binary_search(&value).is_ok()).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_has_the_number_of_each_way_of_calling() {
        let values = syscall_numbers("setns").unwrap();
        let of = |calling: Calling, number| (calling as u32) << Calling::SHIFT | number;
        for value in [
            of(Calling::X86_64, 308),
            of(Calling::X32, 308),
            of(Calling::I386, 346),
            of(Calling::Aarch64, 268),
            of(Calling::Arm, 375),
        ] {
            assert!(values.contains(&value), "{value:#x} is not in {values:x?}");
            assert_eq!(syscall_name(value), Some("setns"));
        }
    }

    #[test]
    fn x32_calls_execve_by_a_number_of_its_own() {
        let of = |number| (Calling::X32 as u32) << Calling::SHIFT | number;
        let values = syscall_numbers("execve").unwrap();
        assert!(values.contains(&of(520)) && !values.contains(&of(59)));
    }

    #[test]
    fn calls_on_files_have_the_numbers_of_the_kernels_tables() {
        use interdict_abi::calls::{CALLINGS, FILE_CALLS};
        for call in FILE_CALLS {
            for (calling, number) in CALLINGS.iter().zip(call.numbers) {
                let value = (*calling as u32) << Calling::SHIFT | u32::from(number);
                let named = syscall_numbers(call.name).unwrap_or_default();
                let own: Vec<u32> = named
                    .iter()
                    .filter(|value| **value >> Calling::SHIFT == *calling as u32)
                    .copied()
                    .collect();
                if number == 0 {
                    assert!(own.is_empty(), "{} of {calling:?} is left out: {own:?}", call.name);
                } else if !own.is_empty() {
                    assert_eq!(own, [value], "{} of {calling:?}", call.name);
                } else {
                    assert_eq!(syscall_name(value), None, "{} of {calling:?}", call.name);
                }
            }
        }
    }

    #[test]
    fn no_number_has_two_names() {
        let mut seen = BTreeMap::new();
        for (name, values) in NUMBERS.iter() {
            for value in values {
                assert_eq!(seen.insert(*value, *name), None, "{value:#x}");
            }
        }
    }
}
