//! What techniques find: folders with a secret, a program, code, and names that are long, deep or strange.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::outcome::Failure;
use crate::scene::{Place, Scene, WORK};
use crate::technique;

const MAGIC: &[u8] = b"BEACON-MARK-PATH";
/// `mov eax, 42; ret`
const CODE: &[u8] = &[0xb8, 42, 0, 0, 0, 0xc3];

/// The scene of every technique in one place.
pub fn scenes(place: Place) -> Vec<(technique::Technique, Scene)> {
    technique::all()
        .into_iter()
        .zip(0_u16..)
        .map(|(technique, number)| (technique, Scene { name: technique.name, number, place }))
        .collect()
}

/// Makes everything anew; what earlier runs left is removed first.
pub fn make(beacon: &str) -> Result<(), Failure> {
    for folder in ["/srv/vault", "/srv/plain", "/srv/watched", WORK] {
        let seen = format!("{WORK}/sink");
        let keep = folder == WORK && fs::exists(seen)?;
        if keep {
            // The sink goes on; its marks are of texts that come again.
            for part in ["work", "ran", "ready", "go", "line", "seen"] {
                remove(&format!("{WORK}/{part}"))?;
            }
            fs::create_dir_all(format!("{WORK}/seen"))?;
        } else {
            remove(folder)?;
        }
        fs::create_dir_all(folder)?;
        open_to_all(folder)?;
    }
    // Maps that earlier runs pinned would be taken for the agent's.
    remove("/sys/fs/bpf/evasion")?;
    let program = fs::read(beacon)?;
    for place in Place::ALL {
        for (technique, scene) in scenes(place) {
            furnish(&scene, &program)?;
            let _ = technique;
        }
    }
    Ok(())
}

fn remove(path: &str) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_to_all(folder: &str) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))
}

fn furnish(scene: &Scene, program: &[u8]) -> Result<(), Failure> {
    let folder = scene.folder();
    fs::create_dir_all(scene.file("deep"))?;
    open_to_all(&folder)?;
    fs::write(scene.secret(), scene.token())?;
    let mut code = CODE.to_vec();
    code.resize(4096, 0xc3);
    fs::write(scene.code(), code)?;
    let mark = scene.ran();
    let mut program = program.to_vec();
    if let Some(at) = program.windows(MAGIC.len()).position(|window| window == MAGIC) {
        let mut path = mark.as_os_str().as_bytes().to_vec();
        path.push(0);
        program[at..at + path.len()].copy_from_slice(&path);
    }
    write_program(&scene.program(), &program)?;
    write_program(&scene.file("script"), b"#!/bin/sh\nexit 42\n")?;
    let name = scene.name;
    if name.contains("loader") {
        fs::copy("/usr/bin/echo", scene.file("echo"))?;
    }
    if name.contains("long-path") {
        down(scene, &"d".repeat(200), 30, &program)?;
    }
    if name.contains("500") {
        down(scene, "d", 500, &program)?;
    }
    if name.contains("longest") {
        fs::write(scene.file(&"n".repeat(255)), scene.token())?;
    }
    if name.contains("strange") {
        let mut path = scene.file("").into_bytes();
        path.extend_from_slice(b"new\nline \x1b[31m \xff\xfe\x80 \"quote\" \\");
        fs::write(std::ffi::OsStr::from_bytes(&path), scene.token())?;
    }
    Ok(())
}

fn write_program(path: &str, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Folders in folders, with what techniques look for in the last one.
fn down(scene: &Scene, name: &str, levels: usize, program: &[u8]) -> Result<(), Failure> {
    let before = std::env::current_dir()?;
    std::env::set_current_dir(scene.folder())?;
    for _ in 0..levels {
        fs::create_dir(name)?;
        std::env::set_current_dir(name)?;
    }
    fs::write("secret", scene.token())?;
    write_program("program", program)?;
    std::env::set_current_dir(before)?;
    Ok(())
}
