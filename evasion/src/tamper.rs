//! Ways to switch enforcement off: at the agent, its files, its programs and maps, and at what they stand on.
//!
//! The victim is the agent where there is one, and otherwise, as for the twin, something like it that nobody protects.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::outcome::{Failure, Tried};
use crate::scene::{Place, Scene, child, fork, wait};
use crate::sys::{self, call};
use crate::technique::Class::Tamper;
use crate::technique::{Technique, document, must, should};

const ATTRIBUTE_BYTES: usize = 128;
const BPF_MAP_CREATE: i32 = 0;
const BPF_OBJ_PIN: i32 = 6;
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_GET_NEXT_ID: i32 = 11;
const BPF_MAP_GET_NEXT_ID: i32 = 12;
const BPF_PROG_GET_FD_BY_ID: i32 = 13;
const BPF_MAP_GET_FD_BY_ID: i32 = 14;
const BPF_LINK_GET_FD_BY_ID: i32 = 30;
const BPF_LINK_GET_NEXT_ID: i32 = 31;

/// All of them.
pub const ALL: &[&[Technique]] = &[KERNEL, PROCESS, FILES, BPF];

const KERNEL: &[Technique] = &[
    must(Tamper, "tamper-ftrace", |scene| switched_off(scene, "/proc")),
    must(Tamper, "tamper-ftrace-by-another-proc", |scene| {
        scene.own_mounts()?;
        let to = scene.work("proc");
        fs::create_dir_all(&to)?;
        scene.mount("proc", &to, "")?;
        switched_off(scene, &to)
    }),
    must(Tamper, "tamper-module", |scene| {
        let module = module_file()?;
        let _ = call!(SYS_delete_module, &sys::text("dummy"), 0);
        let file = sys::open(module, libc::O_RDONLY)?;
        let options = sys::text("");
        loaded(call!(SYS_finit_module, &file, &options, 0), scene)
    })
    .by_actor(),
    must(Tamper, "tamper-module-from-memory", |scene| {
        let bytes = fs::read(module_file()?)?;
        let _ = call!(SYS_delete_module, &sys::text("dummy"), 0);
        let options = sys::text("");
        loaded(call!(SYS_init_module, &bytes[..], bytes.len(), &options), scene)
    })
    .by_actor(),
    must(Tamper, "tamper-other-kernel", |_| {
        // Takes away a kernel to go on with, of which there is none: asked for with the same right as to put one there.
        call!(SYS_kexec_load, 0, 0, 0, 0)?;
        Ok(true)
    })
    .by_actor(),
    must(Tamper, "tamper-bpf", |_| {
        create_map()?;
        Ok(true)
    })
    .by_actor(),
    must(Tamper, "tamper-namespace", |_| {
        child(|| {
            call!(SYS_unshare, libc::CLONE_NEWUSER)?;
            Ok(true)
        })
    })
    .by_actor(),
    document(Tamper, "tamper-memory-device", |_| match sys::open("/dev/mem", libc::O_RDWR) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            Err(Failure::Unsupported("no /dev/mem".to_owned()))
        }
        opened => opened.map(|_| true).map_err(Failure::from),
    }),
];

const PROCESS: &[Technique] = &[
    must(Tamper, "tamper-stop", |scene| {
        let victim = Victim::of(scene)?;
        call!(SYS_kill, victim.pid, libc::SIGSTOP)?;
        call!(SYS_kill, victim.pid, libc::SIGCONT)?;
        Ok(true)
    }),
    must(Tamper, "tamper-signal-by-descriptor", |scene| {
        let victim = Victim::of(scene)?;
        let process = sys::owned(call!(SYS_pidfd_open, victim.pid, 0)?);
        call!(SYS_pidfd_send_signal, &process, libc::SIGSTOP, 0, 0)?;
        call!(SYS_kill, victim.pid, libc::SIGCONT)?;
        Ok(true)
    }),
    must(Tamper, "tamper-signal-to-thread", |scene| {
        let victim = Victim::of(scene)?;
        call!(SYS_tgkill, victim.pid, victim.pid, libc::SIGSTOP)?;
        call!(SYS_kill, victim.pid, libc::SIGCONT)?;
        Ok(true)
    }),
    must(Tamper, "tamper-trace", |scene| {
        let victim = Victim::of(scene)?;
        call!(SYS_ptrace, libc::PTRACE_SEIZE, victim.pid, 0, 0)?;
        Ok(true)
    }),
    must(Tamper, "tamper-memory", |scene| {
        let victim = Victim::of(scene)?;
        sys::open(format!("/proc/{}/mem", victim.pid), libc::O_RDWR)?;
        Ok(true)
    }),
    must(Tamper, "tamper-descriptor", |scene| {
        let victim = Victim::of(scene)?;
        let process = sys::owned(call!(SYS_pidfd_open, victim.pid, 0)?);
        call!(SYS_pidfd_getfd, &process, 0, 0)?;
        Ok(true)
    }),
    should(Tamper, "tamper-limit", |scene| {
        let victim = Victim::of(scene)?;
        let (limit, resource) = ([4096_u64, 4096], libc::RLIMIT_NOFILE);
        call!(SYS_prlimit64, victim.pid, resource, sys::at(&limit), 0)?;
        Ok(true)
    }),
    should(Tamper, "tamper-out-of-memory", |scene| {
        let victim = Victim::of(scene)?;
        let path = format!("/proc/{}/oom_score_adj", victim.pid);
        let before = fs::read(&path)?;
        fs::write(&path, "1000")?;
        let _ = fs::write(&path, before);
        Ok(true)
    }),
    should(Tamper, "tamper-freeze", |scene| {
        let victim = Victim::of(scene)?;
        let group = format!("/sys/fs/cgroup/{}-{}", scene.name, scene.place.word());
        fs::create_dir_all(&group)?;
        fs::write(format!("{group}/cgroup.procs"), victim.pid.to_string())?;
        fs::write(format!("{group}/cgroup.freeze"), "1")?;
        fs::write(format!("{group}/cgroup.freeze"), "0")?;
        fs::write("/sys/fs/cgroup/cgroup.procs", victim.pid.to_string())?;
        Ok(true)
    }),
];

const FILES: &[Technique] = &[
    must(Tamper, "tamper-policy", |scene| {
        let path = theirs(scene, "/etc/interdict/policies")?;
        fs::write(format!("{path}/zz-evasion.yaml.off"), "changed")?;
        let _ = fs::remove_file(format!("{path}/zz-evasion.yaml.off"));
        Ok(true)
    }),
    must(Tamper, "tamper-policy-replaced", |scene| {
        let path = theirs(scene, "/etc/interdict/policies")?;
        let (aside, back) = (format!("{path}-aside"), path.clone());
        fs::rename(&path, &aside)?;
        fs::rename(aside, back)?;
        Ok(true)
    }),
    must(Tamper, "tamper-policy-mounted-over", |scene| {
        // In everybody's mounts: the agent reads another folder.
        let path = theirs(scene, "/etc/interdict/policies")?;
        let empty = scene.work("empty");
        fs::create_dir_all(&empty)?;
        scene.bind(&empty, &path)?;
        call!(SYS_umount2, &sys::text(path), libc::MNT_DETACH)?;
        Ok(true)
    }),
    must(Tamper, "tamper-configuration", |scene| {
        let path = theirs(scene, "/etc/interdict/config.yaml")?;
        sys::open(path, libc::O_WRONLY | libc::O_APPEND)?;
        Ok(true)
    }),
    must(Tamper, "tamper-key", |scene| {
        let path = theirs(scene, "/var/lib/interdict/agent.key")?;
        sys::open(path, libc::O_RDONLY)?;
        Ok(true)
    }),
    must(Tamper, "tamper-spool", |scene| {
        let path = theirs(scene, "/var/lib/interdict/spool")?;
        let aside = format!("{path}-aside");
        fs::rename(&path, &aside)?;
        fs::rename(&aside, &path)?;
        Ok(true)
    }),
    must(Tamper, "tamper-program", |scene| {
        let path = theirs(scene, "/usr/bin/interdict")?;
        let (aside, copy) = (format!("{path}-aside"), scene.work("copy"));
        fs::copy("/usr/bin/true", &copy)?;
        fs::rename(&path, &aside)?;
        fs::rename(&aside, &path)?;
        Ok(true)
    }),
];

const BPF: &[Technique] = &[
    must(Tamper, "tamper-map-by-number", |scene| {
        by_number(scene, BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID)
    }),
    must(Tamper, "tamper-program-by-number", |scene| {
        if scene.place == Place::Plain || agent().is_none() {
            // There is no other program to take.
            return by_number(scene, BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID);
        }
        by_number(scene, BPF_PROG_GET_NEXT_ID, BPF_PROG_GET_FD_BY_ID)
    }),
    must(Tamper, "tamper-link-by-number", |scene| {
        if scene.place == Place::Plain || agent().is_none() {
            return by_number(scene, BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID);
        }
        by_number(scene, BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID)
    }),
    must(Tamper, "tamper-link-just-made", |scene| {
        if scene.place == Place::Plain || agent().is_none() {
            return by_number(scene, BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID);
        }
        just_made()
    }),
    must(Tamper, "tamper-pin-taken", |scene| {
        let path = sys::text(pin(scene)?);
        let attribute = [path.as_ptr() as u64, 0];
        bpf(BPF_OBJ_GET, &attribute)?;
        Ok(true)
    }),
    must(Tamper, "tamper-packet-program", |scene| {
        let interface = if scene.place == Place::Vault { "gate" } else { "lo" };
        let output =
            Command::new("ip").args(["link", "set", "dev", interface, "xdp", "off"]).output()?;
        if output.status.success() { Ok(true) } else { Err(Failure::Errno(libc::EPERM)) }
    }),
    must(Tamper, "tamper-pins-mounted-over", scene_mount_over),
    must(Tamper, "tamper-unpin", |scene| {
        let path = pin(scene)?;
        fs::rename(&path, format!("{path}-aside"))?;
        let _ = fs::rename(format!("{path}-aside"), path);
        Ok(true)
    }),
    must(Tamper, "tamper-unpin-and-kill", |scene| {
        fs::remove_file(pin(scene)?)?;
        let victim = Victim::of(scene)?;
        call!(SYS_kill, victim.pid, libc::SIGKILL)?;
        Ok(true)
    }),
];

fn scene_mount_over(scene: &Scene) -> Tried {
    let path = pin(scene)?;
    let folder = path.rsplit_once('/').map_or(path.as_str(), |(folder, _)| folder).to_owned();
    let empty = scene.work("empty");
    fs::create_dir_all(&empty)?;
    scene.bind(&empty, &folder)?;
    call!(SYS_umount2, &sys::text(folder), libc::MNT_DETACH)?;
    Ok(true)
}

/// Sets what all programs of the kernel's tracer hang on to 0 and back, or for the twin another number.
fn switched_off(scene: &Scene, proc: &str) -> Tried {
    let name = if scene.place == Place::Vault { "ftrace_enabled" } else { "panic_on_oops" };
    let path = format!("{proc}/sys/kernel/{name}");
    let before = fs::read(&path)?;
    fs::write(&path, "0")?;
    let is_off = fs::read(&path)?.starts_with(b"0");
    fs::write(&path, before)?;
    Ok(is_off)
}

fn module_file() -> Result<String, Failure> {
    let folder = "/usr/lib/guest/modules";
    let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let file = files.find(|path| path.to_string_lossy().contains("dummy"));
    file.map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(|| Failure::Unsupported("no module to load".to_owned()))
}

fn loaded(answer: std::io::Result<i64>, _: &Scene) -> Tried {
    match answer {
        // Another technique has loaded it just now: it was asked for and not refused.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(true),
        answer => answer.map(|_| true).map_err(Failure::from),
    }
}

/// The process that is attacked.
struct Victim {
    pid: i32,
    stand_in: Option<Child>,
}

fn agent() -> Option<i32> {
    let pid: i32 = fs::read_to_string("/run/interdict/agent.pid").ok()?.trim().parse().ok()?;
    fs::exists(format!("/proc/{pid}")).ok()?.then_some(pid)
}

impl Victim {
    fn of(scene: &Scene) -> Result<Self, Failure> {
        if scene.place == Place::Vault
            && let Some(pid) = agent()
        {
            return Ok(Self { pid, stand_in: None });
        }
        let sleep = Command::new("/usr/bin/sleep").arg("900").stdin(Stdio::null()).spawn()?;
        Ok(Self { pid: sleep.id() as i32, stand_in: Some(sleep) })
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(mut child) = self.stand_in.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A path of the agent's, or one like it.
fn theirs(scene: &Scene, path: &str) -> Result<String, Failure> {
    if scene.place == Place::Vault && agent().is_some() {
        return Ok(path.to_owned());
    }
    let (stand_in, is_folder) =
        (scene.work("theirs"), fs::metadata(path).is_ok_and(|kind| kind.is_dir()));
    if is_folder || path.ends_with("policies") || path.ends_with("spool") {
        fs::create_dir_all(&stand_in)?;
    } else {
        fs::write(&stand_in, "theirs")?;
    }
    Ok(stand_in)
}

fn bpf(command: i32, attribute: &[u64]) -> Result<i64, Failure> {
    let mut words = [0_u64; 16];
    words[..attribute.len()].copy_from_slice(attribute);
    Ok(call!(SYS_bpf, command, sys::into(&mut words), ATTRIBUTE_BYTES)?)
}

fn create_map() -> Result<OwnedFd, Failure> {
    // An array with one element: type and key size, value size and number of elements.
    const ARRAY: u64 = 2;
    Ok(sys::owned(bpf(BPF_MAP_CREATE, &[ARRAY | 4 << 32, 4 | 1 << 32])?))
}

/// Takes a map, program or link that another process made, by walking the kernel's numbers: the agent's, or, where there
/// is none and for the twin, the newest map, which a process of ours has just made.
fn by_number(scene: &Scene, next: i32, take: i32) -> Tried {
    let of_agent = scene.place == Place::Vault && agent().is_some();
    let mut attribute = [0_u64; 2];
    let mut last = 0;
    if of_agent {
        let mut tried = Ok(false);
        while sys_next(next, &mut attribute).is_ok() {
            match bpf(take, &[attribute[0]]) {
                Ok(file) => {
                    drop(sys::owned(file));
                    return Ok(true);
                }
                Err(failure) => tried = Err(failure),
            }
        }
        return tried;
    }
    let mut pipe = [0_i32; 2];
    call!(SYS_pipe2, sys::into(&mut pipe), 0)?;
    let stand_in = fork(|| {
        let _map = create_map()?;
        call!(SYS_write, pipe[1], &b"."[..], 1)?;
        std::thread::sleep(crate::scene::PATIENCE);
        Ok(true)
    })?;
    call!(SYS_read, pipe[0], &mut [0_u8][..], 1)?;
    while sys_next(next, &mut attribute).is_ok() {
        last = attribute[0];
    }
    let tried = bpf(take, &[last]).map(|file| drop(sys::owned(file))).map(|()| true);
    call!(SYS_kill, stand_in, libc::SIGKILL)?;
    let _ = wait(stand_in);
    tried
}

/// Has the agent make a link, for an interface that is new, and takes it before the agent can say whose it is.
fn just_made() -> Tried {
    let mut attribute = [0_u64; 2];
    while sys_next(BPF_LINK_GET_NEXT_ID, &mut attribute).is_ok() {}
    let ip = |words: &[&str]| Command::new("ip").arg("link").args(words).status();
    ip(&["add", "fresh", "type", "veth", "peer", "name", "stale"])?;
    let deadline = Instant::now() + crate::scene::PATIENCE;
    let mut tried = Err(Failure::Broken("no link was made".to_owned()));
    while Instant::now() < deadline {
        if sys_next(BPF_LINK_GET_NEXT_ID, &mut attribute).is_ok() {
            // The very moment it is there.
            tried = bpf(BPF_LINK_GET_FD_BY_ID, &[attribute[0]]);
            break;
        }
    }
    ip(&["del", "fresh"])?;
    tried.map(|file| drop(sys::owned(file))).map(|()| true)
}

/// The next number of a kind; the kernel puts it into the second half of the first word.
fn sys_next(next: i32, attribute: &mut [u64; 2]) -> Result<(), Failure> {
    let mut words = [0_u64; 16];
    words[0] = attribute[0];
    call!(SYS_bpf, next, sys::into(&mut words), ATTRIBUTE_BYTES)?;
    attribute[0] = words[0] >> 32;
    Ok(())
}

/// A pin of the agent's, or of our own.
fn pin(scene: &Scene) -> Result<String, Failure> {
    if scene.place == Place::Vault && agent().is_some() {
        let found = find_pin("/sys/fs/bpf/interdict");
        return found.ok_or_else(|| Failure::Broken("nothing is pinned".to_owned()));
    }
    let folder = "/sys/fs/bpf/evasion";
    fs::create_dir_all(folder)?;
    let path = format!("{folder}/{}-{}", scene.name, scene.place.word());
    let _ = fs::remove_file(&path);
    let (map, name) = (create_map()?, sys::text(&path));
    bpf(BPF_OBJ_PIN, &[name.as_ptr() as u64, map.as_raw_fd() as u64])?;
    Ok(path)
}

fn find_pin(folder: &str) -> Option<String> {
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path().to_string_lossy().into_owned();
        if !entry.path().is_dir() {
            return Some(path);
        }
        if let Some(found) = find_pin(&path) {
            return Some(found);
        }
    }
    None
}
