//! Ways to act without being told of, or told of wrongly. Nothing is refused here: each reads a file about which a rule
//! only alerts, and the harness looks at what was told.

use std::os::unix::ffi::OsStringExt as _;

use crate::outcome::{Failure, Tried};
use crate::ring::{self, Ring};
use crate::scene::{PATIENCE, Scene, child, fork, wait, wait_until};
use crate::sys::{self, call};
use crate::technique::Class::Observation;
use crate::technique::{Technique, must};

/// All of them.
pub const ALL: &[&[Technique]] = &[&[
    must(Observation, "obs-open", |scene| scene.read_path(scene.secret())),
    must(Observation, "obs-hard-link", |scene| {
        let link = scene.work("link");
        std::fs::hard_link(scene.secret(), &link)?;
        scene.read_path(link)
    }),
    must(Observation, "obs-strange-path", |scene| {
        let mut path = scene.file("").into_bytes();
        path.extend_from_slice(b"new\nline \x1b[31m \xff\xfe\x80 \"quote\" \\");
        scene.read_path(path)
    }),
    must(Observation, "obs-strange-name", |scene| {
        let name = sys::text(b"a\n{\"kind\":\xff");
        call!(SYS_prctl, libc::PR_SET_NAME, &name, 0, 0, 0)?;
        scene.read_path(scene.secret())
    }),
    must(Observation, "obs-strange-arguments", |scene| {
        let argument =
            std::ffi::OsString::from_vec(b"\n{\"kind\":\"decision\"}\n\xff\x1b]0;x\x07".to_vec());
        let output = std::process::Command::new("/usr/bin/cat")
            .arg(scene.secret())
            .arg(argument)
            .output()?;
        Ok(scene.is_secret(&output.stdout))
    }),
    must(Observation, "obs-many-arguments", |scene| {
        let mut command = std::process::Command::new("/usr/bin/cat");
        command.arg(scene.secret());
        command.args((0..2000).map(|index| format!("/nonexistent/argument-{index}")));
        Ok(scene.is_secret(&command.output()?.stdout))
    }),
    must(Observation, "obs-thread", |scene| {
        let scene = scene.clone();
        std::thread::spawn(move || scene.read_path(scene.secret()))
            .join()
            .unwrap_or_else(|_| Err(Failure::Broken("a thread that panicked".to_owned())))
    }),
    must(Observation, "obs-short-life", |scene| {
        // Gone long before anybody could look at it in /proc.
        let mut shares_memory = Ok(false);
        for _ in 0..20 {
            shares_memory = child(|| scene.read_path(scene.secret()));
        }
        shares_memory
    }),
    must(Observation, "obs-orphan", |scene| {
        let done = scene.work("done");
        child(|| {
            fork(|| {
                wait_until(PATIENCE, || std::os::unix::process::parent_id() == 1)?;
                let tried = scene.read_path(scene.secret());
                std::fs::write(&done, "")?;
                tried
            })
            .map(|_| true)
        })?;
        wait_until(PATIENCE, || std::fs::exists(&done).unwrap_or(false))?;
        Ok(true)
    }),
    must(Observation, "obs-same-pid-again", |scene| {
        // A process that ends and another with its number, which reads.
        let first = fork(|| Ok(true))?;
        wait(first)?;
        for _ in 0..200 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (first - 1).to_string())?;
            let second = fork(|| {
                if std::process::id() == first as u32 {
                    return scene.read_path(scene.secret());
                }
                Ok(false)
            })?;
            if wait(second)? {
                return Ok(true);
            }
        }
        Err(Failure::Broken("the number did not come again".to_owned()))
    }),
    must(Observation, "obs-32-bit", |scene| {
        const OPEN: u32 = 5;
        let path = sys::low(sys::text(scene.secret()).as_bytes_with_nul())?;
        let file = sys::call_32(OPEN, [path.address as u32, 0, 0])?;
        scene.read(&sys::owned(file.into()))
    }),
    must(Observation, "obs-ring", |scene| {
        let ring = Ring::new(0)?;
        scene.read(&ring::open(&ring, &scene.secret(), libc::O_RDONLY)?)
    }),
    must(Observation, "obs-ring-polled", |scene| {
        let ring = Ring::new(ring::SQPOLL)?;
        scene.read(&ring::open(&ring, &scene.secret(), libc::O_RDONLY)?)
    }),
    must(Observation, "obs-clock-set-back", |scene| {
        let mut now: libc::timespec = sys::zeroed();
        call!(SYS_clock_gettime, libc::CLOCK_REALTIME, sys::into(&mut now))?;
        let mut yesterday = now;
        yesterday.tv_sec -= 86_400;
        call!(SYS_clock_settime, libc::CLOCK_REALTIME, sys::at(&yesterday))?;
        let read = scene.read_path(scene.secret());
        call!(SYS_clock_settime, libc::CLOCK_REALTIME, sys::at(&now))?;
        read
    }),
    must(Observation, "obs-other-pid-namespace", |scene| {
        // Process 1 of a namespace of its own.
        child(|| {
            call!(SYS_unshare, libc::CLONE_NEWPID)?;
            child(|| numbered_one(scene))
        })
    }),
]];

fn numbered_one(scene: &Scene) -> Tried {
    if std::process::id() != 1 {
        return Err(Failure::Broken("not the first process".to_owned()));
    }
    scene.read_path(scene.secret())
}
