//! The same file under another name: links, renames, other roots, names that are long, deep or strange.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use crate::outcome::Tried;
use crate::scene::{Scene, descriptor_path};
use crate::sys::{self, call};
use crate::technique::Class::FileRead;
use crate::technique::{Technique, must};

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileRead, "read-open", |scene| scene.read_path(scene.secret())),
    must(FileRead, "read-open-for-both", |scene| {
        scene.read(&sys::open(scene.secret(), libc::O_RDWR)?)
    }),
    must(FileRead, "read-symlink", |scene| {
        let link = scene.work("link");
        symlink(scene.secret(), &link)?;
        scene.read_path(link)
    }),
    must(FileRead, "read-symlink-to-folder", |scene| {
        let link = scene.work("link");
        symlink(scene.file("deep"), &link)?;
        scene.read_path(format!("{link}/../secret"))
    }),
    must(FileRead, "read-hard-link", |scene| {
        let link = scene.work("link");
        fs::hard_link(scene.secret(), &link)?;
        scene.read_path(link)
    }),
    must(FileRead, "read-hard-link-of-descriptor", |scene| {
        let file = sys::open(scene.secret(), libc::O_PATH)?;
        let link = scene.work("link");
        let (from, to) = (sys::text(descriptor_path(&file)), sys::text(&link));
        call!(SYS_linkat, libc::AT_FDCWD, &from, libc::AT_FDCWD, &to, libc::AT_SYMLINK_FOLLOW)?;
        scene.read_path(link)
    }),
    must(FileRead, "read-proc-self-root", |scene| {
        scene.read_path(format!("/proc/self/root{}", scene.secret()))
    }),
    must(FileRead, "read-proc-pid-root", |scene| {
        let parent = std::os::unix::process::parent_id();
        scene.read_path(format!("/proc/{parent}/root{}", scene.secret()))
    }),
    must(FileRead, "read-relative", |scene| {
        std::env::set_current_dir(scene.folder())?;
        scene.read_path("secret")
    }),
    must(FileRead, "read-proc-self-cwd", |scene| {
        std::env::set_current_dir(scene.folder())?;
        scene.read_path("/proc/self/cwd/./secret")
    }),
    must(FileRead, "read-noise", |scene| {
        let root = scene.place.word();
        scene.read_path(format!("//srv/./{root}//../{root}/{0}/../{0}///secret", scene.name))
    }),
    must(FileRead, "read-opath-reopen", |scene| {
        let file = sys::open(scene.secret(), libc::O_PATH)?;
        scene.read_path(descriptor_path(&file))
    }),
    must(FileRead, "read-openat2-in-root", |scene| {
        let root = sys::open(scene.place.root(), libc::O_PATH | libc::O_DIRECTORY)?;
        let path = sys::text(format!("/{}/secret", scene.name));
        const RESOLVE_IN_ROOT: u64 = 0x10;
        let how = [libc::O_RDONLY as u64, 0, RESOLVE_IN_ROOT];
        let file = call!(SYS_openat2, &root, &path, sys::at(&how), size_of_val(&how))?;
        scene.read(&sys::owned(file))
    }),
    must(FileRead, "read-rename-first", |scene| {
        let name = scene.work("renamed");
        fs::rename(scene.secret(), &name)?;
        scene.read_path(name)
    }),
    must(FileRead, "read-rename-exchange", |scene| {
        let name = scene.work("exchanged");
        fs::write(&name, "harmless")?;
        exchange(&scene.secret(), &name)?;
        scene.read_path(name)
    }),
    must(FileRead, "read-rename-folder-first", |scene| {
        let name = scene.work("renamed");
        fs::rename(scene.folder(), &name)?;
        scene.read_path(format!("{name}/secret"))
    }),
    must(FileRead, "read-rename-through-ring", |scene| {
        let name = scene.work("renamed");
        let ring = crate::ring::Ring::new(0)?;
        let (old, new) = (sys::text(scene.secret()), sys::text(&name));
        ring.act(crate::ring::Entry {
            opcode: crate::ring::RENAMEAT,
            file: libc::AT_FDCWD,
            length: libc::AT_FDCWD as u32,
            address: crate::ring::address(old.as_bytes_with_nul()),
            offset: crate::ring::address(new.as_bytes_with_nul()),
            ..Default::default()
        })?;
        scene.read_path(name)
    }),
    must(FileRead, "read-below-a-long-path", |scene| {
        // Longer than PATH_MAX, so that no name of it can be handed over or built.
        in_a_long_folder(scene, 200, 30)?;
        scene.read_path("secret")
    }),
    must(FileRead, "read-below-500-folders", |scene| {
        in_a_long_folder(scene, 1, 500)?;
        scene.read_path("secret")
    }),
    must(FileRead, "read-strange-bytes", |scene| {
        let name = b"new\nline \x1b[31m \xff\xfe\x80 \"quote\" \\";
        let mut path = scene.file("").into_bytes();
        path.extend_from_slice(name);
        scene.read_path(path)
    }),
    must(FileRead, "read-longest-name", |scene| scene.read_path(scene.file(&"n".repeat(255)))),
    must(FileRead, "read-created-later", |scene| {
        // The trusted program makes the file while rules are in force; nobody has walked past it before.
        let path = scene.file("later");
        crate::trusted::copy(&scene.secret(), &path)?;
        scene.read_path(path)
    }),
    must(FileRead, "read-created-in-a-new-folder", |scene| {
        let path = scene.file("new/folder/later");
        crate::trusted::copy(&scene.secret(), &path)?;
        scene.read_path(path)
    }),
    must(FileRead, "read-hard-link-of-created", |scene| {
        let (path, link) = (scene.file("later"), scene.work("link"));
        crate::trusted::copy(&scene.secret(), &path)?;
        fs::hard_link(path, &link)?;
        scene.read_path(link)
    }),
    must(FileRead, "read-replaced", |scene| {
        // Written beside and renamed over, as editors and passwd do: another inode takes the name.
        crate::trusted::replace(&scene.secret(), &scene.file("secret.new"))?;
        scene.read_path(scene.secret())
    }),
    must(FileRead, "read-hard-link-of-replaced", |scene| {
        let link = scene.work("link");
        crate::trusted::replace(&scene.secret(), &scene.file("secret.new"))?;
        fs::hard_link(scene.secret(), &link)?;
        scene.read_path(link)
    }),
    must(FileRead, "read-moved-in-by-trusted", |scene| {
        // Comes from outside of everything protected.
        let (outside, path) = (scene.work("outside"), scene.file("moved-in"));
        fs::write(&outside, scene.token())?;
        crate::trusted::rename(&outside, &path)?;
        scene.read_path(path)
    }),
    must(FileRead, "read-in-a-folder-moved-in", |scene| {
        let (outside, path) = (scene.work("outside"), scene.file("moved-in"));
        fs::create_dir(&outside)?;
        fs::write(format!("{outside}/secret"), scene.token())?;
        crate::trusted::rename(&outside, &path)?;
        scene.read_path(format!("{path}/secret"))
    }),
];

/// Exchanges two names.
pub fn exchange(one: &str, other: &str) -> std::io::Result<()> {
    let (one, other) = (sys::text(one), sys::text(other));
    let flags = libc::RENAME_EXCHANGE;
    call!(SYS_renameat2, libc::AT_FDCWD, &one, libc::AT_FDCWD, &other, flags).map(drop)
}

/// Steps down into folders of so many bytes and so many levels below the technique's own, where ground has put them.
fn in_a_long_folder(scene: &Scene, name_bytes: usize, levels: usize) -> Tried {
    std::env::set_current_dir(scene.folder())?;
    let name = std::ffi::OsString::from("d".repeat(name_bytes));
    for _ in 0..levels {
        std::env::set_current_dir(std::ffi::OsStr::from_bytes(name.as_bytes()))?;
    }
    Ok(true)
}
