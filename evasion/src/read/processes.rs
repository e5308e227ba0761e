//! The same file by processes that are not what they seem: threads, orphans, other names, and through the memory and the
//! descriptors of the one program that may read it.

use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::outcome::{Failure, Tried};
use crate::scene::{PATIENCE, Scene, TRUSTED, child, exec, fork, status, wait, wait_until};
use crate::sys::{self, call};
use crate::technique::Class::FileRead;
use crate::technique::{Technique, document, must};
use crate::trusted::{self, Holder};

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileRead, "read-thread", |scene| {
        let scene = scene.clone();
        std::thread::spawn(move || scene.read_path(scene.secret()))
            .join()
            .unwrap_or_else(|_| Err(Failure::Broken("a thread that panicked".to_owned())))
    }),
    must(FileRead, "read-dead-leader", |scene| {
        let scene = scene.clone();
        child(move || {
            std::thread::spawn(move || {
                let gone = || {
                    std::fs::read_to_string("/proc/self/stat")
                        .is_ok_and(|line| line.contains(") Z "))
                };
                let _ = wait_until(PATIENCE, gone);
                sys::exit(status(&scene.read_path(scene.secret())));
            });
            // Only this thread, the first one, ends.
            call!(SYS_exit, 0)?;
            Ok(false)
        })
    }),
    must(FileRead, "read-shared-descriptors", |scene| {
        // A child with the same descriptors opens, we read.
        let secret = sys::text(scene.secret());
        let flags = libc::CLONE_FILES | libc::SIGCHLD;
        let pid = call!(SYS_clone, flags, 0, 0, 0, 0)?;
        if pid == 0 {
            let opened = call!(SYS_openat, libc::AT_FDCWD, &secret, libc::O_RDONLY, 0);
            let duplicated = opened.and_then(|file| call!(SYS_dup2, file as i32, 99));
            sys::exit(status(&duplicated.map(|_| true).map_err(Failure::from)));
        }
        wait(pid as i32)?;
        // SAFETY: the child has put it there, and nobody else uses this number.
        scene.read(&unsafe { OwnedFd::from_raw_fd(99) })
    }),
    must(FileRead, "read-orphan", |scene| {
        // The reader's parent has ended before it reads, and it ends at once itself.
        let answer = scene.work("answer");
        let act = || {
            fork(|| {
                let orphaned = || std::os::unix::process::parent_id() == 1;
                wait_until(PATIENCE, orphaned)?;
                let tried = scene.read_path(scene.secret());
                std::fs::write(scene.work("answer.new"), status(&tried).to_string())?;
                std::fs::rename(scene.work("answer.new"), &answer)?;
                tried
            })
            .map(|_| true)
        };
        child(act)?;
        wait_until(PATIENCE, || std::fs::exists(&answer).unwrap_or(false))?;
        match std::fs::read_to_string(&answer)?.parse::<i32>() {
            Ok(0) => Ok(true),
            Ok(code) if code >= 64 => Err(Failure::Errno(code - 64)),
            other => Err(Failure::Broken(format!("the orphan ended with {other:?}"))),
        }
    }),
    must(FileRead, "read-shell-redirect", |scene| {
        let script = "read -r line < \"$1\"; echo \"$line\"";
        let output = std::process::Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .arg(scene.secret())
            .output()?;
        said(scene, &output)
    }),
    must(FileRead, "read-as-a-script", |scene| {
        // A shell that is given the file as its program complains with its content.
        let output = std::process::Command::new("/bin/sh").arg(scene.secret()).output()?;
        said(scene, &output)
    }),
    must(FileRead, "read-by-another-user", |scene| {
        child(|| {
            super::mounts::unprivileged()?;
            scene.read_path(scene.secret())
        })
    }),
    must(FileRead, "read-under-the-trusted-name", |scene| {
        let name = sys::text("trusted");
        call!(SYS_prctl, libc::PR_SET_NAME, &name, 0, 0, 0)?;
        scene.read_path(scene.secret())
    }),
    must(FileRead, "read-with-the-trusted-argument", |scene| {
        child(|| {
            let secret = scene.secret();
            Err(exec("/usr/bin/evasion", &[TRUSTED, "show-quietly", &secret]))
        })
    }),
    must(FileRead, "read-by-traced-child", |scene| {
        let mut buffer = [0_u64; 8];
        let address = std::ptr::from_mut(&mut buffer) as usize;
        let pid = fork(|| {
            call!(SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0)?;
            let file = sys::open(scene.secret(), libc::O_RDONLY)?;
            call!(SYS_pread64, &file, address, 64, 0)?;
            call!(SYS_kill, std::process::id(), libc::SIGSTOP)?;
            Ok(true)
        })?;
        let mut status = 0_i32;
        call!(SYS_wait4, pid, sys::into(&mut status), 0, 0)?;
        if libc::WIFEXITED(status) {
            return match libc::WEXITSTATUS(status) {
                code if code >= 64 => Err(Failure::Errno(code - 64)),
                code => Err(Failure::Broken(format!("status {code}"))),
            };
        }
        let bytes = peek(pid, address);
        let _ = call!(SYS_kill, pid, libc::SIGKILL);
        Ok(scene.is_secret(&bytes?))
    }),
    must(FileRead, "read-fanotify-descriptor", |scene| {
        // The trusted program opens it, and the kernel hands whoever watches a descriptor of the same file.
        let watch = sys::owned(call!(SYS_fanotify_init, 0, libc::O_RDONLY)?);
        let (how, path) = (libc::FAN_MARK_ADD, sys::text(scene.secret()));
        call!(SYS_fanotify_mark, &watch, how, libc::FAN_OPEN, libc::AT_FDCWD, &path)?;
        trusted::read(&scene.secret())?;
        let mut event = [0_u8; 24];
        let length = call!(SYS_read, &watch, &mut event[..], 24)?;
        if length < 24 {
            return Ok(false);
        }
        let descriptor = i32::from_ne_bytes([event[16], event[17], event[18], event[19]]);
        if descriptor < 0 {
            return Err(Failure::Errno(libc::EPERM));
        }
        scene.read(&sys::owned(descriptor.into()))
    }),
    must(FileRead, "read-memory-of-trusted", |scene| {
        let holder = Holder::of(scene.place, &scene.secret())?;
        let mut bytes = [0_u8; 512];
        let here = [bytes.as_mut_ptr() as usize, bytes.len()];
        let there = [holder.address, bytes.len()];
        let pid = holder.pid();
        call!(SYS_process_vm_readv, pid, sys::at(&here), 1, sys::at(&there), 1, 0)?;
        Ok(scene.is_secret(&bytes))
    }),
    must(FileRead, "read-proc-memory-of-trusted", |scene| {
        let holder = Holder::of(scene.place, &scene.secret())?;
        let memory = sys::open(format!("/proc/{}/mem", holder.pid()), libc::O_RDONLY)?;
        let mut bytes = [0_u8; 512];
        call!(SYS_pread64, &memory, &mut bytes[..], 512, holder.address)?;
        Ok(scene.is_secret(&bytes))
    }),
    must(FileRead, "read-peek-into-trusted", |scene| {
        let holder = Holder::of(scene.place, &scene.secret())?;
        attach(holder.pid())?;
        Ok(scene.is_secret(&peek(holder.pid(), holder.address)?))
    }),
    must(FileRead, "read-descriptor-of-trusted", |scene| {
        let holder = Holder::of(scene.place, &scene.secret())?;
        let process = sys::owned(call!(SYS_pidfd_open, holder.pid(), 0)?);
        let file = call!(SYS_pidfd_getfd, &process, holder.descriptor, 0)?;
        scene.read(&sys::owned(file))
    }),
    must(FileRead, "read-proc-descriptor-of-trusted", |scene| {
        let holder = Holder::of(scene.place, &scene.secret())?;
        scene.read_path(format!("/proc/{}/fd/{}", holder.pid(), holder.descriptor))
    }),
    must(FileRead, "read-by-injected-trusted", |scene| {
        // The trusted program is made to open the file for us, by changing its registers in the middle of a call.
        let other = scene.work("harmless");
        std::fs::write(&other, "harmless")?;
        let holder = Holder::of(scene.place, &other)?;
        let pid = holder.pid();
        attach(pid)?;
        let mut registers: libc::user_regs_struct = sys::zeroed();
        call!(SYS_ptrace, libc::PTRACE_GETREGS, pid, 0, sys::into(&mut registers))?;
        let mut path = scene.secret().into_bytes();
        path.resize(path.len().next_multiple_of(8) + 8, 0);
        for (index, word) in path.chunks(8).enumerate() {
            let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
            let at = holder.address + 1024 + index * 8;
            call!(SYS_ptrace, libc::PTRACE_POKEDATA, pid, at, word)?;
        }
        // It waits in a call; the two bytes of the instruction before where it goes on make one.
        let step = |number: i64, words: [u64; 4]| -> Result<i64, Failure> {
            let mut changed = registers;
            changed.rip = registers.rip - 2;
            changed.rax = number as u64;
            changed.orig_rax = u64::MAX;
            [changed.rdi, changed.rsi, changed.rdx, changed.r10] = words;
            call!(SYS_ptrace, libc::PTRACE_SETREGS, pid, 0, sys::at(&changed))?;
            call!(SYS_ptrace, libc::PTRACE_SINGLESTEP, pid, 0, 0)?;
            stopped(pid)?;
            call!(SYS_ptrace, libc::PTRACE_GETREGS, pid, 0, sys::into(&mut changed))?;
            let answer = changed.rax as i64;
            if answer < 0 { Err(Failure::Errno(-answer as i32)) } else { Ok(answer) }
        };
        let at = holder.address as u64;
        let file = step(libc::SYS_openat, [libc::AT_FDCWD as u64, at + 1024, 0, 0])?;
        step(libc::SYS_pread64, [file as u64, at, 512, 0])?;
        Ok(scene.is_secret(&peek(pid, holder.address)?))
    }),
    must(FileRead, "read-after-exe-was-set", |scene| {
        // What /proc says this process runs can be set once none of its own program is mapped any more.
        child(|| {
            crate::exe::pretend_to_be(TRUSTED)?;
            scene.read_path(scene.secret())
        })
    }),
    document(FileRead, "read-core-of-trusted", |scene| {
        let holder = Holder::of(scene.place, &scene.secret())?;
        let pattern = std::fs::read("/proc/sys/kernel/core_pattern")?;
        let core = scene.work("core");
        let mut limit = [0_u64; 2];
        limit.fill(u64::MAX);
        let (none, resource) = (0, libc::RLIMIT_CORE);
        std::fs::write("/proc/sys/kernel/core_pattern", &core)?;
        call!(SYS_prlimit64, holder.pid(), resource, sys::at(&limit), none)?;
        call!(SYS_kill, holder.pid(), libc::SIGQUIT)?;
        let dumped = wait_until(PATIENCE, || {
            let with_pid = format!("{core}.{}", holder.pid());
            [&core, &with_pid]
                .iter()
                .any(|path| std::fs::read(path).is_ok_and(|bytes| scene.is_secret(&bytes)))
        });
        std::fs::write("/proc/sys/kernel/core_pattern", pattern)?;
        dumped.map(|()| true)
    }),
];

fn said(scene: &Scene, output: &std::process::Output) -> Tried {
    if scene.is_secret(&output.stdout) || scene.is_secret(&output.stderr) {
        return Ok(true);
    }
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if complaint.contains("not permitted") || complaint.contains("cannot open") {
        return Err(Failure::Errno(libc::EPERM));
    }
    Err(Failure::Broken(complaint))
}

/// Waits until a traced process has stopped.
pub fn stopped(pid: i32) -> Result<(), Failure> {
    let mut status = 0_i32;
    call!(SYS_wait4, pid, sys::into(&mut status), 0, 0)?;
    if libc::WIFSTOPPED(status) { Ok(()) } else { Err(Failure::Broken(format!("status {status}"))) }
}

/// Attaches to a child and waits until it has stopped.
pub fn attach(pid: i32) -> Result<(), Failure> {
    call!(SYS_ptrace, libc::PTRACE_ATTACH, pid, 0, 0)?;
    stopped(pid)
}

fn peek(pid: i32, address: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    for index in 0..8 {
        let mut word = 0_u64;
        let at = address + index * 8;
        call!(SYS_ptrace, libc::PTRACE_PEEKDATA, pid, at, sys::into(&mut word))?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    Ok(bytes)
}
