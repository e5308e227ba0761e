//! Who may do what with the file, and what is said about it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::outcome::Tried;
use crate::scene::{Scene, descriptor_path};
use crate::sys::{self, call};
use crate::technique::Class::FileWrite;
use crate::technique::{Technique, must, should};

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileWrite, "write-chmod", |scene| {
        let path = sys::text(scene.secret());
        call!(SYS_chmod, &path, 0o666)?;
        has_mode(scene, 0o666)
    }),
    must(FileWrite, "write-fchmod", |scene| {
        // A descriptor that may neither read nor write is enough for the reopened path.
        let file = sys::open(scene.secret(), libc::O_PATH)?;
        let path = sys::text(descriptor_path(&file));
        call!(SYS_chmod, &path, 0o666)?;
        has_mode(scene, 0o666)
    }),
    must(FileWrite, "write-chmod-hard-link", |scene| {
        let link = scene.work("link");
        std::fs::hard_link(scene.secret(), &link)?;
        let path = sys::text(link);
        call!(SYS_chmod, &path, 0o666)?;
        has_mode(scene, 0o666)
    }),
    must(FileWrite, "write-chown", |scene| {
        let path = sys::text(scene.secret());
        call!(SYS_chown, &path, 1000, 1000)?;
        Ok(std::fs::metadata(scene.secret())?.uid() == 1000)
    }),
    must(FileWrite, "write-attribute", |scene| {
        let (path, name) = (sys::text(scene.secret()), sys::text("trusted.changed"));
        call!(SYS_setxattr, &path, &name, &b"yes"[..], 3, 0)?;
        Ok(true)
    }),
    must(FileWrite, "write-acl", |scene| {
        let (path, name) = (sys::text(scene.secret()), sys::text("system.posix_acl_access"));
        // Version 2; owner, user 1000, group, mask, others: all may read and write.
        let mut acl = 2_u32.to_ne_bytes().to_vec();
        for (tag, who) in
            [(1_u16, u32::MAX), (2, 1000), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)]
        {
            acl.extend_from_slice(&tag.to_ne_bytes());
            acl.extend_from_slice(&6_u16.to_ne_bytes());
            acl.extend_from_slice(&who.to_ne_bytes());
        }
        call!(SYS_setxattr, &path, &name, &acl[..], acl.len(), 0)?;
        Ok(true)
    }),
    should(FileWrite, "write-times", |scene| {
        let path = sys::text(scene.secret());
        let times = [1_i64, 0, 1, 0];
        call!(SYS_utimensat, libc::AT_FDCWD, &path, sys::at(&times), 0)?;
        Ok(std::fs::metadata(scene.secret())?.mtime() == 1)
    }),
    must(FileWrite, "write-chmod-folder", |scene| {
        let path = sys::text(scene.folder());
        call!(SYS_chmod, &path, 0o777)?;
        Ok(std::fs::metadata(scene.folder())?.permissions().mode() & 0o777 == 0o777)
    }),
];

fn has_mode(scene: &Scene, mode: u32) -> Tried {
    Ok(std::fs::metadata(scene.secret())?.permissions().mode() & 0o777 == mode)
}
