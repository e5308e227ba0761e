//! The same file through another mount, root or namespace, and through file systems that stand on others.

use std::fs;
use std::os::fd::AsRawFd as _;

use crate::outcome::{Failure, Tried};
use crate::scene::{Scene, child, descriptor_path};
use crate::sys::{self, call};
use crate::technique::Class::FileRead;
use crate::technique::{Technique, must};

const OPEN_TREE_CLONE: i32 = 1;
const AT_RECURSIVE: i32 = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: i32 = 4;

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileRead, "read-bind-of-file", |scene| {
        scene.own_mounts()?;
        let to = scene.work("bound");
        fs::write(&to, "")?;
        scene.bind(&scene.secret(), &to)?;
        scene.read_path(to)
    }),
    must(FileRead, "read-bind-of-folder", |scene| {
        scene.own_mounts()?;
        let to = folder(scene, "bound")?;
        scene.bind(&scene.folder(), &to)?;
        scene.read_path(format!("{to}/secret"))
    }),
    must(FileRead, "read-bind-of-root", |scene| {
        scene.own_mounts()?;
        let to = folder(scene, "bound")?;
        scene.bind("/", &to)?;
        scene.read_path(format!("{to}{}", scene.secret()))
    }),
    must(FileRead, "read-bind-in-everybodys-namespace", |scene| {
        let to = folder(scene, "bound")?;
        scene.bind(&scene.folder(), &to)?;
        let read = scene.read_path(format!("{to}/secret"));
        let to = sys::text(to);
        call!(SYS_umount2, &to, libc::MNT_DETACH)?;
        read
    }),
    must(FileRead, "read-bind-unmounted", |scene| {
        // The mount is gone when the file is opened through a folder held below it.
        scene.own_mounts()?;
        let to = folder(scene, "bound")?;
        scene.bind(&scene.folder(), &to)?;
        let inside = sys::open(&to, libc::O_PATH | libc::O_DIRECTORY)?;
        let to = sys::text(to);
        call!(SYS_umount2, &to, libc::MNT_DETACH)?;
        scene.read(&sys::open_from(inside.as_raw_fd(), "secret", libc::O_RDONLY)?)
    }),
    must(FileRead, "read-moved-tree", |scene| {
        scene.own_mounts()?;
        let to = folder(scene, "moved")?;
        let tree = tree_of(&scene.folder())?;
        let (nothing, path) = (sys::text(""), sys::text(&to));
        call!(SYS_move_mount, &tree, &nothing, libc::AT_FDCWD, &path, MOVE_MOUNT_F_EMPTY_PATH)?;
        scene.read_path(format!("{to}/secret"))
    }),
    must(FileRead, "read-detached-tree", |scene| {
        let tree = tree_of(&scene.folder())?;
        scene.read(&sys::open_from(tree.as_raw_fd(), "secret", libc::O_RDONLY)?)
    }),
    must(FileRead, "read-detached-tree-of-file", |scene| {
        let tree = tree_of(&scene.secret())?;
        scene.read_path(descriptor_path(&tree))
    }),
    must(FileRead, "read-chroot", |scene| {
        let root = sys::text(scene.folder());
        call!(SYS_chroot, &root)?;
        scene.read_path("/secret")
    }),
    must(FileRead, "read-chroot-to-a-parent", |scene| {
        let root = sys::text("/srv");
        call!(SYS_chroot, &root)?;
        scene.read_path(format!("/{}/{}/secret", scene.place.word(), scene.name))
    }),
    must(FileRead, "read-pivot-root", |scene| {
        scene.own_mounts()?;
        let root = folder(scene, "root")?;
        scene.mount("tmpfs", &root, "")?;
        for name in ["old", "inside"] {
            fs::create_dir(format!("{root}/{name}"))?;
        }
        scene.bind(&scene.folder(), &format!("{root}/inside"))?;
        let (new, old) = (sys::text(&root), sys::text(format!("{root}/old")));
        call!(SYS_pivot_root, &new, &old)?;
        scene.read_path("/inside/secret")
    }),
    must(FileRead, "read-user-namespace", |scene| {
        // As anybody may on many hosts: root over namespaces of one's own, and a mount in them.
        let to = folder(scene, "bound")?;
        child(|| {
            unprivileged()?;
            call!(SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
            scene.bind(&scene.folder(), &to)?;
            scene.read_path(format!("{to}/secret"))
        })
    }),
    must(FileRead, "read-user-namespace-chroot", |scene| {
        child(|| {
            unprivileged()?;
            call!(SYS_unshare, libc::CLONE_NEWUSER)?;
            let root = sys::text(scene.folder());
            call!(SYS_chroot, &root)?;
            scene.read_path("/secret")
        })
    }),
    must(FileRead, "read-overlay-lower", |scene| {
        let merged = overlay(scene)?;
        scene.read_path(format!("{merged}/secret"))
    }),
    must(FileRead, "read-overlay-copied-up", |scene| {
        // To open for writing makes the kernel copy the content to the upper layer, where it has no name of ours.
        let merged = overlay(scene)?;
        let _ = sys::open(format!("{merged}/secret"), libc::O_WRONLY | libc::O_APPEND)?;
        scene.read_path(scene.work("upper/secret"))
    }),
    must(FileRead, "read-overlay-copied-up-by-chmod", |scene| {
        let merged = overlay(scene)?;
        let path = sys::text(format!("{merged}/secret"));
        call!(SYS_chmod, &path, 0o600)?;
        scene.read_path(scene.work("upper/secret"))
    }),
    must(FileRead, "read-mapped-ids", |scene| {
        let tree = tree_of(&scene.folder())?;
        let users = user_namespace()?;
        const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
        let attributes = [MOUNT_ATTR_IDMAP, 0, 0, users.as_raw_fd() as u64];
        let nothing = sys::text("");
        let set = call!(
            SYS_mount_setattr,
            &tree,
            &nothing,
            libc::AT_EMPTY_PATH,
            sys::at(&attributes),
            size_of_val(&attributes)
        );
        match set {
            // tmpfs takes mapped ids since 6.3.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                return Err(Failure::Unsupported("mapped ids on tmpfs".to_owned()));
            }
            set => drop(set?),
        }
        scene.read(&sys::open_from(tree.as_raw_fd(), "secret", libc::O_RDONLY)?)
    }),
    must(FileRead, "read-impostor-by-bind", |scene| {
        // Our own program at the path of the one that may read.
        scene.own_mounts()?;
        scene.bind("/usr/bin/evasion", crate::scene::TRUSTED)?;
        as_trusted(scene)
    }),
    must(FileRead, "read-impostor-by-chroot", |scene| {
        let root = folder(scene, "root")?;
        for folder in ["/usr/local/bin", "/srv", "/proc"] {
            fs::create_dir_all(format!("{root}{folder}"))?;
        }
        scene.own_mounts()?;
        fs::copy("/usr/bin/evasion", format!("{root}{}", crate::scene::TRUSTED))?;
        scene.bind("/srv", &format!("{root}/srv"))?;
        let root = sys::text(root);
        child(|| {
            call!(SYS_chroot, &root)?;
            std::env::set_current_dir("/")?;
            as_trusted(scene)
        })
    }),
    must(FileRead, "read-impostor-by-rename", |scene| {
        // The path of the program that may read is free for anybody who may write its folder.
        let folder = folder(scene, "bin")?;
        scene.own_mounts()?;
        fs::copy("/usr/bin/evasion", format!("{folder}/trusted"))?;
        scene.bind(&folder, "/usr/local/bin")?;
        as_trusted(scene)
    }),
];

/// Reads with the program that now lies where the trusted one did, and looks at what it says.
fn as_trusted(scene: &Scene) -> Tried {
    let output = std::process::Command::new(crate::scene::TRUSTED)
        .args(["show", &scene.secret()])
        .stdin(std::process::Stdio::inherit())
        .output()?;
    if scene.is_secret(&output.stdout) {
        return Ok(true);
    }
    match output.status.code() {
        Some(code) if code >= 64 => Err(Failure::Errno(code - 64)),
        code => Err(Failure::Broken(format!("the impostor ended with {code:?}"))),
    }
}

fn folder(scene: &Scene, name: &str) -> Result<String, Failure> {
    let path = scene.work(name);
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn tree_of(path: &str) -> Result<std::os::fd::OwnedFd, Failure> {
    let path = sys::text(path);
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE;
    Ok(sys::owned(call!(SYS_open_tree, libc::AT_FDCWD, &path, flags)?))
}

/// An overlay over the technique's folder, in mounts of our own; answers where it is.
pub fn overlay(scene: &Scene) -> Result<String, Failure> {
    scene.own_mounts()?;
    for name in ["upper", "under", "merged"] {
        folder(scene, name)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        scene.folder(),
        scene.work("upper"),
        scene.work("under")
    );
    scene.mount("overlay", &scene.work("merged"), &options)?;
    Ok(scene.work("merged"))
}

/// Goes on as an ordinary user.
pub fn unprivileged() -> Result<(), Failure> {
    call!(SYS_setgroups, 0, 0)?;
    call!(SYS_setresgid, 1000, 1000, 1000)?;
    call!(SYS_setresuid, 1000, 1000, 1000)?;
    // Its own entries of /proc belong to root until it is said that it may be looked at.
    call!(SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0)?;
    Ok(())
}

/// A user namespace that maps root to root, held by a descriptor.
fn user_namespace() -> Result<std::os::fd::OwnedFd, Failure> {
    let pid = crate::scene::fork(|| {
        call!(SYS_unshare, libc::CLONE_NEWUSER)?;
        std::thread::sleep(crate::scene::PATIENCE);
        Ok(true)
    })?;
    let own = fs::read_link("/proc/self/ns/user")?;
    let path = format!("/proc/{pid}/ns/user");
    crate::scene::wait_until(crate::scene::PATIENCE, || {
        fs::read_link(&path).is_ok_and(|namespace| namespace != own)
    })?;
    fs::write(format!("/proc/{pid}/uid_map"), "0 0 65536")?;
    fs::write(format!("/proc/{pid}/gid_map"), "0 0 65536")?;
    let held = sys::open(&path, libc::O_RDONLY)?;
    call!(SYS_kill, pid, libc::SIGKILL)?;
    let _ = crate::scene::wait(pid);
    Ok(held)
}
