//! Does techniques one after another, each in a process of its own with a time limit, and tells what came of each.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ground::scenes;
use crate::outcome::{Failure, Told};
use crate::scene::{Place, Scene, wait_until};
use crate::sys::{self, call};
use crate::technique::Technique;

const PROGRAM: &str = "/usr/bin/evasion";
/// Copies of this program, where rules are about who does something: the one they name, and one they do not.
const ACTOR: &str = "/usr/local/bin/evasion-actor";
pub const TWIN: &str = "/usr/local/bin/evasion-twin";
/// More than any technique needs that is not stuck.
const LIMIT: Duration = Duration::from_secs(25);

/// Nanoseconds since boot.
fn now() -> u64 {
    let mut now: libc::timespec = sys::zeroed();
    let _ = call!(SYS_clock_gettime, libc::CLOCK_BOOTTIME, sys::into(&mut now));
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Does one technique in this process and answers its line.
pub fn one(name: &str, place: Place) -> Option<String> {
    let (technique, scene) = scenes(place).into_iter().find(|(known, _)| known.name == name)?;
    let from = now();
    let tried = (technique.run)(&scene);
    let time = (from, now());
    Some(
        Told { name: technique.name, place: place.word(), pid: std::process::id(), time, tried }
            .line(),
    )
}

fn program(technique: &Technique, place: Place) -> &'static str {
    match (technique.by_actor, place) {
        (false, _) => PROGRAM,
        (true, Place::Vault) => ACTOR,
        (true, Place::Plain) => TWIN,
    }
}

/// Starts those that begin early, and waits until every one has done its first half or ended.
pub fn early(places: &[Place]) -> Result<(), Failure> {
    let mut waiting = Vec::new();
    for &place in places {
        for (technique, scene) in scenes(place).into_iter().filter(|(known, _)| known.early) {
            let out = File::create(scene.line())?;
            let child = Command::new(program(&technique, place))
                .args([technique.name, place.word()])
                .stdin(Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out)
                .spawn()?;
            waiting.push((scene, child));
        }
    }
    for (scene, mut child) in waiting {
        let deadline = Instant::now() + LIMIT;
        while !scene.is_ready() && child.try_wait()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

/// Does all, or those named; the second halves of those that began early among them.
pub fn run(places: &[Place], names: &[&str]) -> Result<(), Failure> {
    let wanted = |technique: &Technique| names.is_empty() || names.contains(&technique.name);
    let (vault, plain) = (scenes(Place::Vault), scenes(Place::Plain));
    for pair in vault.into_iter().zip(plain) {
        for (technique, scene) in [pair.0, pair.1] {
            if !wanted(&technique) || !places.contains(&scene.place) {
                continue;
            }
            let line =
                if technique.early { second_half(&scene) } else { started(&technique, &scene) };
            println!("{line}");
        }
    }
    Ok(())
}

/// The line of something that ended without one.
fn failed(scene: &Scene, from: u64, tried: Failure) -> String {
    let (name, place) = (scene.name, scene.place.word());
    Told { name, place, pid: 0, time: (from, now()), tried: Err(tried) }.line()
}

fn second_half(scene: &Scene) -> String {
    let from = now();
    let line = || fs::read_to_string(scene.line()).unwrap_or_default();
    if scene.is_ready() {
        let went = scene.go().map_err(Failure::from);
        let ended = went.and_then(|_held| wait_until(LIMIT, || line().contains('}')));
        if let Err(failure) = ended {
            return failed(scene, from, failure);
        }
        // It counted from its first half; what was told before the second one is not about it.
        let line = line();
        return match line
            .split_once("\"from_ns\":")
            .and_then(|(head, tail)| Some((head, tail.split_once(',')?.1)))
        {
            Some((head, tail)) => format!("{head}\"from_ns\":{from},{}", tail.trim_end()),
            None => line,
        };
    }
    match line().lines().last() {
        Some(line) if line.starts_with('{') => line.to_owned(),
        _ => failed(scene, from, Failure::Broken(format!("its first half failed: {}", line()))),
    }
}

fn started(technique: &Technique, scene: &Scene) -> String {
    let from = now();
    match attended(program(technique, scene.place), scene) {
        Ok(line) => line,
        Err(failure) => failed(scene, from, failure),
    }
}

fn attended(program: &str, scene: &Scene) -> Result<String, Failure> {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    let path = scene.line();
    let out = File::create(&path)?;
    let mut child = Command::new(program)
        .args([scene.name, scene.place.word()])
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()?;
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = call!(SYS_kill, -(child.id() as i32), libc::SIGKILL);
            child.wait()?;
            return Err(Failure::Broken(format!("not done after {} s", LIMIT.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    // Whatever it left running is of no use to anybody.
    let _ = call!(SYS_kill, -(child.id() as i32), libc::SIGKILL);
    let said = fs::read(&path)?;
    let said = String::from_utf8_lossy(&said);
    match (said.lines().find(|line| line.starts_with('{')), status.signal()) {
        (Some(line), _) => Ok(line.to_owned()),
        (None, Some(signal)) => Err(Failure::Signal(signal)),
        (None, None) => Err(Failure::Broken(format!("{status}: {said}"))),
    }
}
