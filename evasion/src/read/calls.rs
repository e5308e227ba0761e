//! The same file by other system calls than `open` and `read`: rings, handles, maps, copies inside the kernel, the
//! 32-bit entry, and arguments that change or are not there when somebody looks at them.

use std::os::fd::OwnedFd;

use crate::outcome::{Failure, Tried};
use crate::ring::{self, Entry, Ring};
use crate::scene::Scene;
use crate::sys::{self, Mapping, call};
use crate::technique::Class::FileRead;
use crate::technique::{Technique, must};

/// All of them.
pub const ALL: &[Technique] = &[
    must(FileRead, "read-openat2", |scene| {
        let path = sys::text(scene.secret());
        let how = [libc::O_RDONLY as u64, 0, 0];
        let size = size_of_val(&how);
        let file = call!(SYS_openat2, libc::AT_FDCWD, &path, sys::at(&how), size)?;
        scene.read(&sys::owned(file))
    }),
    must(FileRead, "read-ring-open", |scene| {
        let ring = Ring::new(0)?;
        scene.read(&ring::open(&ring, &scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-ring-open-and-read", |scene| {
        let ring = Ring::new(0)?;
        let file = ring::open(&ring, &scene.secret(), libc::O_RDONLY)?;
        through_ring(scene, &ring, std::os::fd::AsRawFd::as_raw_fd(&file), 0)
    }),
    must(FileRead, "read-ring-polled", |scene| {
        let ring = Ring::new(ring::SQPOLL)?;
        scene.read(&ring::open(&ring, &scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-ring-without-descriptor", |scene| {
        // Opened into the ring's own table, read from it: no process ever has a descriptor.
        let ring = Ring::new(0)?.with_table()?;
        let path = sys::text(scene.secret());
        ring.act(Entry {
            opcode: ring::OPENAT,
            file: libc::AT_FDCWD,
            address: ring::address(path.as_bytes_with_nul()),
            file_index: 1,
            ..Entry::default()
        })?;
        through_ring(scene, &ring, 0, 1)
    }),
    must(FileRead, "read-handle", |scene| {
        let handle = Handle::of(&scene.secret())?;
        scene.read(&handle.open(libc::O_RDONLY)?)
    }),
    must(FileRead, "read-mapped", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDONLY)?;
        mapped(scene, &file)
    }),
    must(FileRead, "read-mapped-shared", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDONLY)?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_SHARED, raw)?;
        Ok(scene.is_secret(mapping.bytes()))
    }),
    must(FileRead, "read-sendfile", |scene| {
        sent(scene, &sys::open(scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-splice", |scene| {
        spliced(scene, &sys::open(scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-copy-file-range", |scene| {
        copied(scene, &sys::open(scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-preadv2", |scene| {
        vectored(scene, &sys::open(scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-aio", |scene| {
        asynchronous(scene, &sys::open(scene.secret(), libc::O_RDONLY)?)
    }),
    must(FileRead, "read-32-bit", |scene| {
        const OPEN: u32 = 5;
        let path = sys::low(sys::text(scene.secret()).as_bytes_with_nul())?;
        let file = sys::call_32(OPEN, [path.address as u32, 0, 0])?;
        scene.read(&sys::owned(file.into()))
    }),
    must(FileRead, "read-old-open", |scene| {
        let path = sys::text(scene.secret());
        scene.read(&sys::owned(call!(SYS_open, &path, libc::O_RDONLY, 0)?))
    }),
    must(FileRead, "read-path-not-in-memory", |scene| {
        // The path is in a page of a file that nobody has touched yet: whoever peeks at it reads nothing.
        let holder = scene.work("path");
        let mut path = sys::text(scene.secret()).into_bytes_with_nul();
        path.resize(4096, 0);
        std::fs::write(&holder, path)?;
        let file = sys::open(&holder, libc::O_RDONLY)?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        let opened = call!(SYS_openat, libc::AT_FDCWD, mapping.address, libc::O_RDONLY, 0)?;
        scene.read(&sys::owned(opened))
    }),
    must(FileRead, "read-path-that-changes", |scene| {
        let harmless = scene.work("harmless");
        std::fs::write(&harmless, "harmless")?;
        racing(&harmless, &scene.secret(), |path| {
            let file = call!(SYS_openat, libc::AT_FDCWD, path.address, libc::O_RDONLY, 0)?;
            scene.read(&sys::owned(file))
        })
    }),
];

/// Two texts swapped under one address by another thread while something is done with it, until it has reached what
/// it is after or was refused often enough that the other text cannot have been there every time.
pub fn racing(harmless: &str, wanted: &str, act: impl Fn(&Mapping) -> Tried) -> Tried {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let shared = Mapping::new(4096, protection, flags, -1)?;
    let (harmless, wanted) = (sys::text(harmless), sys::text(wanted));
    let (first, second) = (harmless.as_bytes_with_nul(), wanted.as_bytes_with_nul());
    shared.write(first);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                shared.write(second);
                std::thread::yield_now();
                shared.write(first);
            }
        });
        let mut refused = None;
        let mut refusals = 0;
        let mut answer = Ok(false);
        for _ in 0..20_000 {
            match act(&shared) {
                Ok(true) => {
                    answer = Ok(true);
                    break;
                }
                Ok(false) => {}
                // Half of one path and half of the other.
                Err(Failure::Errno(libc::ENOENT | libc::ENOTDIR)) => {}
                Err(failure) => {
                    refused = Some(failure);
                    refusals += 1;
                    if refusals == 200 {
                        break;
                    }
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        match (answer, refused) {
            (Ok(false), Some(failure)) => Err(failure),
            (answer, _) => answer,
        }
    })
}

/// Reads by `mmap`.
pub fn mapped(scene: &Scene, file: &OwnedFd) -> Tried {
    let raw = std::os::fd::AsRawFd::as_raw_fd(file);
    let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
    Ok(scene.is_secret(mapping.bytes()))
}

/// Reads by `sendfile`.
pub fn sent(scene: &Scene, file: &OwnedFd) -> Tried {
    let copy = sys::open(scene.work("copy"), libc::O_RDWR | libc::O_CREAT)?;
    call!(SYS_sendfile, &copy, file, 0, 4096)?;
    scene.read(&copy)
}

/// Reads by `splice`.
pub fn spliced(scene: &Scene, file: &OwnedFd) -> Tried {
    let mut pipe = [0_i32; 2];
    call!(SYS_pipe2, sys::into(&mut pipe), 0)?;
    call!(SYS_splice, file, 0, pipe[1], 0, 4096, 0)?;
    let mut bytes = [0_u8; 4096];
    let length = call!(SYS_read, pipe[0], &mut bytes[..], 4096)?;
    Ok(scene.is_secret(&bytes[..length as usize]))
}

/// Reads by `copy_file_range`.
pub fn copied(scene: &Scene, file: &OwnedFd) -> Tried {
    let copy = sys::open(scene.work("copy"), libc::O_RDWR | libc::O_CREAT)?;
    call!(SYS_copy_file_range, file, 0, &copy, 0, 4096, 0)?;
    scene.read(&copy)
}

/// Reads by `preadv2`.
pub fn vectored(scene: &Scene, file: &OwnedFd) -> Tried {
    let mut bytes = [0_u8; 4096];
    let vector = [bytes.as_mut_ptr() as usize, bytes.len()];
    let length = call!(SYS_preadv2, file, sys::at(&vector), 1, 0, 0, 0)?;
    Ok(scene.is_secret(&bytes[..length as usize]))
}

/// Reads by `io_submit`.
pub fn asynchronous(scene: &Scene, file: &OwnedFd) -> Tried {
    let mut context = 0_u64;
    call!(SYS_io_setup, 1, sys::into(&mut context))?;
    let mut bytes = [0_u8; 4096];
    const PREAD: u64 = 0;
    let raw = std::os::fd::AsRawFd::as_raw_fd(file) as u64;
    // struct iocb: data, key and flags, opcode and priority and descriptor, buffer, length, offset, two reserved.
    let block = [0, 0, PREAD | raw << 32, bytes.as_mut_ptr() as u64, 4096, 0, 0, 0_u64];
    let blocks = [std::ptr::from_ref(&block) as u64];
    call!(SYS_io_submit, context, 1, sys::at(&blocks))?;
    let mut event = [0_i64; 4];
    call!(SYS_io_getevents, context, 1, 1, sys::into(&mut event), 0)?;
    if event[2] < 0 {
        return Err(Failure::Errno(-event[2] as i32));
    }
    Ok(scene.is_secret(&bytes))
}

/// Reads by a ring; `flags` 1 means that the number is one of the ring's own table.
pub fn through_ring(scene: &Scene, ring: &Ring, file: i32, flags: u8) -> Tried {
    let bytes = [0_u8; 4096];
    let entry = Entry {
        opcode: ring::READ,
        flags,
        file,
        address: ring::address(&bytes),
        length: 4096,
        ..Entry::default()
    };
    ring.act(entry)?;
    Ok(scene.is_secret(std::hint::black_box(&bytes)))
}

/// A file as its file system knows it, without any path.
#[derive(Debug)]
pub struct Handle {
    bytes: [u8; 136],
}

impl Handle {
    /// Of a path, without opening it.
    pub fn of(path: &str) -> Result<Self, Failure> {
        let mut bytes = [0_u8; 136];
        bytes[..4].copy_from_slice(&128_u32.to_ne_bytes());
        let (path, mut mount) = (sys::text(path), 0_i32);
        call!(
            SYS_name_to_handle_at,
            libc::AT_FDCWD,
            &path,
            &mut bytes[..],
            sys::into(&mut mount),
            0
        )?;
        Ok(Self { bytes })
    }

    /// Opens it below the root's mount, where all our files are.
    pub fn open(&self, flags: i32) -> Result<OwnedFd, Failure> {
        let mount = sys::open("/srv", libc::O_RDONLY | libc::O_DIRECTORY)?;
        Ok(sys::owned(call!(SYS_open_by_handle_at, &mount, &self.bytes[..], flags)?))
    }
}
