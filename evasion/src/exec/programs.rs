//! The same program by another name, call, root or layer, and programs that have no name.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::outcome::Failure;
use crate::scene::{Scene, child, descriptor_path, exec};
use crate::sys::{self, Mapping, call};
use crate::technique::Class::Exec;
use crate::technique::{Technique, document, must};

/// All of them.
pub const ALL: &[Technique] = &[
    must(Exec, "exec-plain", |scene| scene.run(&scene.program())),
    must(Exec, "exec-symlink", |scene| {
        let link = scene.work("link");
        symlink(scene.program(), &link)?;
        scene.run(&link)
    }),
    must(Exec, "exec-hard-link", |scene| {
        let link = scene.work("link");
        fs::hard_link(scene.program(), &link)?;
        scene.run(&link)
    }),
    must(Exec, "exec-rename-first", |scene| {
        let name = scene.work("renamed");
        fs::rename(scene.program(), &name)?;
        scene.run(&name)
    }),
    must(Exec, "exec-bind", |scene| {
        scene.own_mounts()?;
        let to = scene.work("bound");
        fs::write(&to, "")?;
        scene.bind(&scene.program(), &to)?;
        scene.run(&to)
    }),
    must(Exec, "exec-proc-self-root", |scene| {
        scene.run(&format!("/proc/self/root{}", scene.program()))
    }),
    must(Exec, "exec-relative", |scene| {
        std::env::set_current_dir(scene.folder())?;
        scene.run("./program")
    }),
    must(Exec, "exec-descriptor", |scene| {
        let file = sys::open(scene.program(), libc::O_RDONLY)?;
        scene.ran_after(|| by_descriptor(&file))
    }),
    must(Exec, "exec-path-descriptor", |scene| {
        let file = sys::open(scene.program(), libc::O_PATH)?;
        scene.ran_after(|| by_descriptor(&file))
    }),
    must(Exec, "exec-proc-descriptor", |scene| {
        let file = sys::open(scene.program(), libc::O_PATH)?;
        scene.run(&descriptor_path(&file))
    }),
    must(Exec, "exec-handle", |scene| {
        let file = crate::read::Handle::of(&scene.program())?.open(libc::O_RDONLY)?;
        scene.ran_after(|| by_descriptor(&file))
    }),
    must(Exec, "exec-false-argument", |scene| {
        scene.ran_after(|| exec(&scene.program(), &["/usr/bin/true", "harmless"]))
    }),
    must(Exec, "exec-as-interpreter", |scene| {
        let script = script(scene, "script", &format!("#!{}\n", scene.program()))?;
        scene.run(&script)
    }),
    must(Exec, "exec-as-interpreters-interpreter", |scene| {
        let inner = script(scene, "inner", &format!("#!{} -x\n", scene.program()))?;
        let outer = script(scene, "outer", &format!("#!{inner} -x\n"))?;
        scene.run(&outer)
    }),
    must(Exec, "exec-script", |scene| {
        // The protected thing is a script; its interpreter is everybody's.
        scene.run(&scene.file("script"))
    }),
    must(Exec, "exec-by-shell", |scene| {
        let program = scene.program();
        scene.ran_after(|| exec("/bin/sh", &["sh", "-c", "\"$1\"", "sh", &program]))
    }),
    must(Exec, "exec-thread", |scene| {
        let program = scene.program();
        scene.ran_after(move || {
            let run = move || exec(&program, &["program"]);
            let broken = || Failure::Broken("a thread that panicked".to_owned());
            std::thread::spawn(run).join().unwrap_or_else(|_| broken())
        })
    }),
    must(Exec, "exec-vfork", |scene| {
        let _ = fs::remove_file(scene.ran());
        // The library starts programs from a child that shares its memory.
        let status = std::process::Command::new(scene.program()).status()?;
        Ok(status.code() == Some(42))
    }),
    must(Exec, "exec-32-bit", |scene| {
        const EXECVE: u32 = 11;
        let path = sys::low(sys::text(scene.program()).as_bytes_with_nul())?;
        let nothing = sys::low(&[0; 8])?;
        let words = [path.address as u32, nothing.address as u32, nothing.address as u32];
        scene.ran_after(|| match sys::call_32(EXECVE, words) {
            Ok(_) => Failure::Broken("an exec that returned".to_owned()),
            Err(error) => error.into(),
        })
    }),
    must(Exec, "exec-path-not-in-memory", |scene| {
        let holder = scene.work("path");
        let mut path = sys::text(scene.program()).into_bytes_with_nul();
        path.resize(4096, 0);
        fs::write(&holder, path)?;
        let file = sys::open(&holder, libc::O_RDONLY)?;
        let raw = file.as_raw_fd();
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        scene.ran_after(|| at_address(&mapping))
    }),
    must(Exec, "exec-path-that-changes", |scene| {
        let _ = fs::remove_file(scene.ran());
        let harmless = scene.work("harmless");
        fs::copy("/usr/lib/guest/beacon-harmless", &harmless)?;
        crate::read::racing(&harmless, &scene.program(), |path| {
            match child(|| Err(at_address(path))) {
                Err(Failure::Broken(reason)) if reason == "status 42" => Ok(scene.ran().exists()),
                tried => tried,
            }
        })
    }),
    must(Exec, "exec-below-a-long-path", |scene| {
        std::env::set_current_dir(scene.folder())?;
        for _ in 0..30 {
            std::env::set_current_dir("d".repeat(200))?;
        }
        scene.run("./program")
    }),
    must(Exec, "exec-chroot", |scene| {
        let root = sys::text(scene.folder());
        scene.ran_after(|| match call!(SYS_chroot, &root) {
            Ok(_) => exec("/program", &["/program"]),
            Err(error) => error.into(),
        })
    }),
    must(Exec, "exec-user-namespace", |scene| {
        scene.ran_after(|| {
            if let Err(failure) = crate::read::mounts::unprivileged() {
                return failure;
            }
            match call!(SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS) {
                Ok(_) => exec(&scene.program(), &["program"]),
                Err(error) => error.into(),
            }
        })
    }),
    must(Exec, "exec-detached-tree", |scene| {
        let path = sys::text(scene.program());
        let tree = sys::owned(call!(SYS_open_tree, libc::AT_FDCWD, &path, 1)?);
        scene.ran_after(|| by_descriptor(&tree))
    }),
    must(Exec, "exec-overlay", |scene| {
        let merged = crate::read::mounts::overlay(scene)?;
        scene.run(&format!("{merged}/program"))
    }),
    must(Exec, "exec-overlay-copied-up", |scene| {
        let merged = crate::read::mounts::overlay(scene)?;
        fs::set_permissions(format!("{merged}/program"), fs::Permissions::from_mode(0o700))?;
        scene.run(&scene.work("upper/program"))
    }),
    must(Exec, "exec-moved-in-by-trusted", |scene| {
        let (outside, path) = (scene.work("outside"), scene.file("moved-in"));
        fs::copy(scene.program(), &outside)?;
        crate::trusted::rename(&outside, &path)?;
        scene.run(&path)
    }),
    must(Exec, "exec-memory-file", |scene| {
        let name = sys::text("nothing");
        let file = sys::owned(call!(SYS_memfd_create, &name, 0)?);
        fill(&file)?;
        scene.ran_after(|| by_descriptor(&file))
    })
    .by_actor(),
    must(Exec, "exec-memory-file-by-proc", |scene| {
        let name = sys::text("nothing");
        let file = sys::owned(call!(SYS_memfd_create, &name, 0)?);
        fill(&file)?;
        scene.run(&descriptor_path(&file))
    })
    .by_actor(),
    must(Exec, "exec-nameless-file", |scene| {
        let folder = scene.work("");
        let flags = libc::O_TMPFILE | libc::O_RDWR;
        let folder = sys::text(folder.trim_end_matches('/'));
        let file = sys::owned(call!(SYS_openat, libc::AT_FDCWD, &folder, flags, 0o700)?);
        fill(&file)?;
        let file = read_only(file)?;
        scene.ran_after(|| by_descriptor(&file))
    })
    .by_actor(),
    must(Exec, "exec-unlinked-copy", |scene| {
        let copy = scene.work("copy");
        fs::copy("/usr/lib/guest/beacon-harmless", &copy)?;
        let file = sys::open(&copy, libc::O_RDONLY)?;
        fs::remove_file(&copy)?;
        scene.ran_after(|| by_descriptor(&file))
    })
    .by_actor(),
    document(Exec, "exec-copy", |scene| {
        // Another file with the same content is another program.
        let copy = scene.work("copy");
        fs::copy(scene.program(), &copy)?;
        scene.run(&copy)
    }),
];

fn script(scene: &Scene, name: &str, text: &str) -> Result<String, Failure> {
    let path = scene.work(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn fill(file: &OwnedFd) -> Result<(), Failure> {
    let program = fs::read("/usr/lib/guest/beacon-harmless")?;
    call!(SYS_write, file, &program[..], program.len())?;
    Ok(())
}

/// The same file without a writer, since what is open for writing cannot run.
fn read_only(file: OwnedFd) -> Result<OwnedFd, Failure> {
    Ok(sys::open(descriptor_path(&file), libc::O_RDONLY)?)
}

/// Runs what a descriptor stands for.
pub fn by_descriptor(file: &OwnedFd) -> Failure {
    let (nothing, name) = (sys::text(""), sys::text("program"));
    let arguments = [name.as_ptr() as usize, 0];
    let environment = [0_usize];
    let flags = libc::AT_EMPTY_PATH;
    let (arguments, environment) = (sys::at(&arguments), sys::at(&environment));
    match call!(SYS_execveat, file, &nothing, arguments, environment, flags) {
        Ok(_) => Failure::Broken("an exec that returned".to_owned()),
        Err(error) => error.into(),
    }
}

fn at_address(path: &Mapping) -> Failure {
    let arguments = [path.address, 0];
    let environment = [0_usize];
    match call!(SYS_execve, path.address, sys::at(&arguments), sys::at(&environment)) {
        Ok(_) => Failure::Broken("an exec that returned".to_owned()),
        Err(error) => error.into(),
    }
}
