//! Another file, or none, where the protected one was; new ones beside it.

use std::fs;
use std::os::fd::AsRawFd as _;

use crate::outcome::{Failure, Tried};
use crate::ring::{self, Entry, Ring};
use crate::scene::{Scene, child, descriptor_path};
use crate::sys::{self, call};
use crate::technique::Class::FileWrite;
use crate::technique::{Technique, must};

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileWrite, "write-rename-over", |scene| {
        fs::rename(other(scene)?, scene.secret())?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-over-through-ring", |scene| {
        let (old, new) = (sys::text(other(scene)?), sys::text(scene.secret()));
        Ring::new(0)?.act(Entry {
            opcode: ring::RENAMEAT,
            file: libc::AT_FDCWD,
            length: libc::AT_FDCWD as u32,
            address: ring::address(old.as_bytes_with_nul()),
            offset: ring::address(new.as_bytes_with_nul()),
            ..Entry::default()
        })?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-away", |scene| {
        fs::rename(scene.secret(), scene.work("away"))?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-exchange", |scene| {
        crate::read::names::exchange(&scene.secret(), &other(scene)?)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-exchange-from-outside", |scene| {
        crate::read::names::exchange(&other(scene)?, &scene.secret())?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-folder", |scene| {
        fs::rename(scene.folder(), scene.work("away"))?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-within", |scene| {
        fs::rename(scene.secret(), scene.file("within"))?;
        scene.is_changed()
    }),
    must(FileWrite, "write-rename-in-another-root", |scene| {
        child(|| {
            let root = sys::text(scene.folder());
            call!(SYS_chroot, &root)?;
            fs::rename("/secret", "/within")?;
            Ok(true)
        })?;
        scene.is_changed()
    }),
    must(FileWrite, "write-unlink", |scene| {
        fs::remove_file(scene.secret())?;
        scene.is_changed()
    }),
    must(FileWrite, "write-unlink-through-ring", |scene| {
        let path = sys::text(scene.secret());
        Ring::new(0)?.act(Entry {
            opcode: ring::UNLINKAT,
            file: libc::AT_FDCWD,
            address: ring::address(path.as_bytes_with_nul()),
            ..Entry::default()
        })?;
        scene.is_changed()
    }),
    must(FileWrite, "write-unlink-through-bind", |scene| {
        child(|| {
            scene.own_mounts()?;
            let to = scene.work("bound");
            fs::create_dir_all(&to)?;
            scene.bind(&scene.folder(), &to)?;
            fs::remove_file(format!("{to}/secret"))?;
            Ok(true)
        })?;
        scene.is_changed()
    }),
    must(FileWrite, "write-create-beside", |scene| {
        made(scene, "beside", |path| fs::write(path, "new"))
    }),
    must(FileWrite, "write-create-in-bind", |scene| {
        child(|| {
            scene.own_mounts()?;
            let to = scene.work("bound");
            fs::create_dir_all(&to)?;
            scene.bind(&scene.folder(), &to)?;
            fs::write(format!("{to}/beside"), "new")?;
            Ok(true)
        })?;
        Ok(fs::exists(scene.file("beside"))?)
    }),
    must(FileWrite, "write-make-folder", |scene| {
        made(scene, "beside", |path| fs::create_dir(path))
    }),
    must(FileWrite, "write-make-node", |scene| {
        made(scene, "beside", |path| {
            let path = sys::text(path);
            call!(SYS_mknod, &path, libc::S_IFIFO | 0o644, 0).map(drop)
        })
    }),
    must(FileWrite, "write-make-symlink", |scene| {
        made(scene, "beside", |path| std::os::unix::fs::symlink("/etc/hostname", path))
    }),
    must(FileWrite, "write-make-link", |scene| {
        let other = other(scene)?;
        made(scene, "beside", |path| fs::hard_link(&other, path))
    }),
    must(FileWrite, "write-link-of-nameless", |scene| {
        made(scene, "beside", |path| {
            let flags = libc::O_TMPFILE | libc::O_WRONLY;
            let file = sys::open(scene.work("").trim_end_matches('/'), flags)?;
            let (from, to) = (sys::text(descriptor_path(&file)), sys::text(path));
            let follow = libc::AT_SYMLINK_FOLLOW;
            call!(SYS_linkat, libc::AT_FDCWD, &from, libc::AT_FDCWD, &to, follow).map(drop)
        })
    }),
    must(FileWrite, "write-bind-over", |scene| {
        scene.own_mounts()?;
        scene.bind(&other(scene)?, &scene.secret())?;
        scene.is_changed()
    }),
    must(FileWrite, "write-bind-over-folder", |scene| {
        scene.own_mounts()?;
        let empty = scene.work("empty");
        fs::create_dir_all(&empty)?;
        scene.bind(&empty, &scene.folder())?;
        scene.is_changed()
    }),
    must(FileWrite, "write-tree-moved-over", |scene| {
        scene.own_mounts()?;
        let other = sys::text(other(scene)?);
        let tree = sys::owned(call!(SYS_open_tree, libc::AT_FDCWD, &other, 1)?);
        let (nothing, path) = (sys::text(""), sys::text(scene.secret()));
        call!(SYS_move_mount, tree.as_raw_fd(), &nothing, libc::AT_FDCWD, &path, 4)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-overlay-over", |scene| {
        scene.own_mounts()?;
        for name in ["upper", "under"] {
            fs::create_dir_all(scene.work(name))?;
        }
        fs::write(scene.work("upper/secret"), "changed")?;
        let folder = scene.folder();
        let (upper, under) = (scene.work("upper"), scene.work("under"));
        let options = format!("lowerdir={folder},upperdir={upper},workdir={under}");
        scene.mount("overlay", &folder, &options)?;
        scene.is_changed()
    }),
    must(FileWrite, "write-empty-file-system-over", |scene| {
        scene.own_mounts()?;
        scene.mount("tmpfs", &scene.folder(), "")?;
        scene.is_changed()
    }),
];

fn other(scene: &Scene) -> Result<String, Failure> {
    let path = scene.work("other");
    fs::write(&path, "changed")?;
    Ok(path)
}

fn made(scene: &Scene, name: &str, make: impl FnOnce(&str) -> std::io::Result<()>) -> Tried {
    let path = scene.file(name);
    make(&path)?;
    Ok(fs::symlink_metadata(path).is_ok())
}
