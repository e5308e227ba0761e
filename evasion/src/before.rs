//! Ways to use what was opened, mapped, mounted or connected before there were rules.
//!
//! Each does its first half, says so, and goes on when rules are in force ([`Scene::enforced`]).

use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::exec::{code, programs};
use crate::net::{self, PORT};
use crate::outcome::{Failure, Tried};
use crate::read::{Handle, calls, mounts};
use crate::ring::Ring;
use crate::scene::{PATIENCE, Scene, descriptor_path, fork, wait, wait_until};
use crate::sys::{self, Mapping, call};
use crate::technique::Class::LoadTime;
use crate::technique::{Technique, document, must};
use crate::write::content;

/// All of them.
pub const ALL: &[&[Technique]] = &[FILES, NAMES, OTHERS];

const FILES: &[Technique] = &[
    must(LoadTime, "before-descriptor", |scene| opened(scene, Scene::read)).early(),
    must(LoadTime, "before-descriptor-mapped", |scene| opened(scene, calls::mapped)).early(),
    must(LoadTime, "before-descriptor-sendfile", |scene| opened(scene, calls::sent)).early(),
    must(LoadTime, "before-descriptor-splice", |scene| opened(scene, calls::spliced)).early(),
    must(LoadTime, "before-descriptor-copied", |scene| opened(scene, calls::copied)).early(),
    must(LoadTime, "before-descriptor-preadv2", |scene| opened(scene, calls::vectored)).early(),
    must(LoadTime, "before-descriptor-aio", |scene| opened(scene, calls::asynchronous)).early(),
    must(LoadTime, "before-descriptor-and-ring", |scene| {
        let ring = Ring::new(0)?;
        opened(scene, |scene, file| calls::through_ring(scene, &ring, file.as_raw_fd(), 0))
    })
    .early(),
    must(LoadTime, "before-descriptor-reopened", |scene| {
        opened(scene, |scene, file| scene.read_path(descriptor_path(file)))
    })
    .early(),
    must(LoadTime, "before-descriptor-passed", |scene| {
        // Opened by one process, handed to another while rules are in force.
        let mut pair = [0_i32; 2];
        call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_DGRAM, 0, sys::into(&mut pair))?;
        let file = sys::open(scene.secret(), libc::O_RDONLY)?;
        let sender = fork(|| {
            scene.enforced()?;
            pass(pair[0], file.as_raw_fd())?;
            Ok(true)
        })?;
        drop(file);
        scene.enforced()?;
        let received = receive(pair[1]);
        wait(sender)?;
        scene.read(&received?)
    })
    .early(),
    must(LoadTime, "before-descriptor-taken", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDONLY)?;
        let holder = fork(|| {
            std::thread::sleep(std::time::Duration::from_secs(900));
            Ok(true)
        })?;
        let number = file.as_raw_fd();
        drop(file);
        scene.enforced()?;
        let process = sys::owned(call!(SYS_pidfd_open, holder, 0)?);
        let taken = call!(SYS_pidfd_getfd, &process, number, 0);
        let read = taken.map(sys::owned).map_err(Failure::from).and_then(|file| scene.read(&file));
        call!(SYS_kill, holder, libc::SIGKILL)?;
        let _ = wait(holder);
        read
    })
    .early(),
    must(LoadTime, "before-path-descriptor", |scene| {
        let file = sys::open(scene.secret(), libc::O_PATH)?;
        scene.enforced()?;
        scene.read_path(descriptor_path(&file))
    })
    .early(),
    must(LoadTime, "before-write-descriptor", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDWR)?;
        scene.enforced()?;
        content::written(scene, &file)
    })
    .early(),
    must(LoadTime, "before-write-descriptor-truncated", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDWR)?;
        scene.enforced()?;
        call!(SYS_ftruncate, &file, 0)?;
        scene.is_changed()
    })
    .early(),
    must(LoadTime, "before-write-descriptor-mapped", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDWR)?;
        scene.enforced()?;
        content::mapped(scene, &file)
    })
    .early(),
    must(LoadTime, "before-write-descriptor-and-ring", |scene| {
        let (ring, file) = (Ring::new(0)?, sys::open(scene.secret(), libc::O_RDWR)?);
        scene.enforced()?;
        content::through_ring(scene, &ring, file.as_raw_fd())
    })
    .early(),
    document(LoadTime, "before-mapping", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDONLY)?;
        let raw = file.as_raw_fd();
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_SHARED, raw)?;
        scene.enforced()?;
        Ok(scene.is_secret(mapping.bytes()))
    })
    .early(),
    document(LoadTime, "before-write-mapping", |scene| {
        let file = sys::open(scene.secret(), libc::O_RDWR)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let raw = file.as_raw_fd();
        let mapping = Mapping::new(4096, protection, libc::MAP_SHARED, raw)?;
        scene.enforced()?;
        mapping.write(b"changed");
        scene.is_changed()
    })
    .early(),
];

const NAMES: &[Technique] = &[
    must(LoadTime, "before-hard-link", |scene| {
        let link = scene.work("link");
        fs::hard_link(scene.secret(), &link)?;
        scene.enforced()?;
        scene.read_path(link)
    })
    .early(),
    must(LoadTime, "before-handle", |scene| {
        let handle = Handle::of(&scene.secret())?;
        scene.enforced()?;
        scene.read(&handle.open(libc::O_RDONLY)?)
    })
    .early(),
    must(LoadTime, "before-folder-descriptor", |scene| {
        let folder = sys::open(scene.folder(), libc::O_RDONLY | libc::O_DIRECTORY)?;
        scene.enforced()?;
        scene.read(&sys::open_from(folder.as_raw_fd(), "secret", libc::O_RDONLY)?)
    })
    .early(),
    must(LoadTime, "before-working-folder", |scene| {
        std::env::set_current_dir(scene.folder())?;
        scene.enforced()?;
        scene.read_path("secret")
    })
    .early(),
    must(LoadTime, "before-root", |scene| {
        // Marks are left outside, so the half that has another root is a child.
        let mut pipe = [0_i32; 2];
        call!(SYS_pipe2, sys::into(&mut pipe), 0)?;
        let root = sys::text(scene.folder());
        let inside = fork(|| {
            call!(SYS_chroot, &root)?;
            let mut byte = [0];
            call!(SYS_read, pipe[0], &mut byte[..], 1)?;
            scene.read_path("/secret")
        })?;
        scene.enforced()?;
        call!(SYS_write, pipe[1], &b"."[..], 1)?;
        wait(inside)
    })
    .early(),
    must(LoadTime, "before-mount", |scene| {
        scene.own_mounts()?;
        let to = scene.work("bound");
        fs::create_dir_all(&to)?;
        scene.bind(&scene.folder(), &to)?;
        scene.enforced()?;
        scene.read_path(format!("{to}/secret"))
    })
    .early(),
    must(LoadTime, "before-detached-tree", |scene| {
        let folder = sys::text(scene.folder());
        let tree = sys::owned(call!(SYS_open_tree, libc::AT_FDCWD, &folder, 1)?);
        scene.enforced()?;
        scene.read(&sys::open_from(tree.as_raw_fd(), "secret", libc::O_RDONLY)?)
    })
    .early(),
    must(LoadTime, "before-overlay", |scene| {
        let merged = mounts::overlay(scene)?;
        scene.enforced()?;
        scene.read_path(format!("{merged}/secret"))
    })
    .early(),
    must(LoadTime, "before-namespace", |scene| {
        // Into the mounts of a process that was there before.
        let to = scene.work("bound");
        fs::create_dir_all(&to)?;
        let own = fs::read_link("/proc/self/ns/mnt")?;
        let holder = fork(|| {
            scene.own_mounts()?;
            scene.bind(&scene.folder(), &to)?;
            fs::write(scene.work("mounted"), "")?;
            std::thread::sleep(std::time::Duration::from_secs(900));
            Ok(true)
        })?;
        let mounted = scene.work("mounted");
        wait_until(PATIENCE, || fs::exists(&mounted).unwrap_or(false))?;
        debug_assert!(own.as_os_str().len() > 4);
        scene.enforced()?;
        let namespace = sys::open(format!("/proc/{holder}/ns/mnt"), libc::O_RDONLY)?;
        let joined = call!(SYS_setns, &namespace, libc::CLONE_NEWNS);
        let read =
            joined.map_err(Failure::from).and_then(|_| scene.read_path(format!("{to}/secret")));
        call!(SYS_kill, holder, libc::SIGKILL)?;
        let _ = wait(holder);
        read
    })
    .early(),
    must(LoadTime, "before-watch", |scene| {
        let watch = sys::owned(call!(SYS_fanotify_init, 0, libc::O_RDONLY)?);
        let (how, path) = (libc::FAN_MARK_ADD, sys::text(scene.secret()));
        call!(SYS_fanotify_mark, &watch, how, libc::FAN_OPEN, libc::AT_FDCWD, &path)?;
        scene.enforced()?;
        crate::trusted::read(&scene.secret())?;
        let mut event = [0_u8; 24];
        call!(SYS_read, &watch, &mut event[..], 24)?;
        let descriptor = i32::from_ne_bytes([event[16], event[17], event[18], event[19]]);
        if descriptor < 0 {
            return Err(Failure::Errno(libc::EPERM));
        }
        scene.read(&sys::owned(descriptor.into()))
    })
    .early(),
];

const OTHERS: &[Technique] = &[
    must(LoadTime, "before-program-descriptor", |scene| {
        let file = sys::open(scene.program(), libc::O_RDONLY)?;
        scene.enforced()?;
        scene.ran_after(|| programs::by_descriptor(&file))
    })
    .early(),
    must(LoadTime, "before-code-descriptor", |scene| {
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        scene.enforced()?;
        code::mapped(&file)
    })
    .early(),
    must(LoadTime, "before-code-mapping-protected", |scene| {
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        let raw = file.as_raw_fd();
        let mapping = Mapping::new(4096, libc::PROT_READ, libc::MAP_PRIVATE, raw)?;
        scene.enforced()?;
        code::protected(&mapping)
    })
    .early(),
    document(LoadTime, "before-code-mapping", |scene| {
        let file = sys::open(scene.code(), libc::O_RDONLY)?;
        let raw = file.as_raw_fd();
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let mapping = Mapping::new(4096, protection, libc::MAP_PRIVATE, raw)?;
        scene.enforced()?;
        Ok(mapping.run() == 42)
    })
    .early(),
    must(LoadTime, "before-connection", |scene| {
        let mut stream = TcpStream::connect(net::socket_address(scene.place.address(), PORT))?;
        scene.enforced()?;
        stream.write_all(scene.token().as_bytes())?;
        net::arrived(scene)
    })
    .early(),
    must(LoadTime, "before-udp-socket", |scene| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(net::socket_address(scene.place.address(), PORT))?;
        scene.enforced()?;
        socket.send(scene.token().as_bytes())?;
        net::arrived(scene)
    })
    .early(),
    must(LoadTime, "before-connection-passed", |scene| {
        let mut pair = [0_i32; 2];
        call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_DGRAM, 0, sys::into(&mut pair))?;
        let stream = TcpStream::connect(net::socket_address(scene.place.address(), PORT))?;
        let sender = fork(|| {
            scene.enforced()?;
            pass(pair[0], stream.as_raw_fd())?;
            Ok(true)
        })?;
        drop(stream);
        scene.enforced()?;
        let received = receive(pair[1]);
        wait(sender)?;
        let (received, token) = (received?, scene.token());
        call!(SYS_write, &received, token.as_bytes(), token.len())?;
        net::arrived(scene)
    })
    .early(),
    must(LoadTime, "before-packet-socket", |scene| {
        let socket = net::sockets::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        scene.enforced()?;
        let token = scene.token();
        let datagram = net::packet::udp(9, PORT, token.as_bytes());
        let packet = net::packet::V4 {
            source: [198, 51, 100, 1],
            target: scene.place.address(),
            protocol: net::packet::UDP,
            fragment: 0,
            options: &[],
            payload: &datagram,
        };
        let kinds = [(net::packet::IPV4, None)];
        let frame = net::packet::frame([0xff; 6], &kinds, &packet.bytes());
        let mut to: libc::sockaddr_ll = sys::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = net::interface("gate")?;
        to.sll_halen = 6;
        let size = size_of_val(&to);
        call!(SYS_sendto, &socket, &frame[..], frame.len(), 0, sys::at(&to), size)?;
        net::arrived(scene)
    })
    .early()
    .by_actor(),
];

fn opened(scene: &Scene, read: impl FnOnce(&Scene, &OwnedFd) -> Tried) -> Tried {
    let file = sys::open(scene.secret(), libc::O_RDONLY)?;
    scene.enforced()?;
    read(scene, &file)
}

const RIGHTS_BYTES: usize = 24;

/// Passes a descriptor over a socket.
fn pass(socket: i32, file: i32) -> Result<(), Failure> {
    // struct cmsghdr: length, level, type, and behind them the descriptor.
    let mut control = [0_u64; 3];
    control[0] = 20;
    control[1] = libc::SOL_SOCKET as u64 | (libc::SCM_RIGHTS as u64) << 32;
    control[2] = file as u64;
    let byte = [1_u8];
    let vector = [byte.as_ptr() as usize, 1];
    let mut header: libc::msghdr = sys::zeroed();
    header.msg_iov = std::ptr::from_ref(&vector).cast_mut().cast();
    header.msg_iovlen = 1;
    header.msg_control = std::ptr::from_mut(&mut control).cast();
    header.msg_controllen = RIGHTS_BYTES;
    call!(SYS_sendmsg, socket, sys::at(&header), 0)?;
    Ok(())
}

/// Receives one.
fn receive(socket: i32) -> Result<OwnedFd, Failure> {
    let mut control = [0_u64; 3];
    let mut byte = [0_u8];
    let vector = [byte.as_mut_ptr() as usize, 1];
    let mut header: libc::msghdr = sys::zeroed();
    header.msg_iov = std::ptr::from_ref(&vector).cast_mut().cast();
    header.msg_iovlen = 1;
    header.msg_control = std::ptr::from_mut(&mut control).cast();
    header.msg_controllen = RIGHTS_BYTES;
    call!(SYS_recvmsg, socket, sys::into(&mut header), 0)?;
    if std::hint::black_box(&control)[0] < 20 {
        // What may not be received is left out, without an error.
        return Err(Failure::Errno(libc::EPERM));
    }
    Ok(sys::owned(i64::from(control[2] as u32)))
}
