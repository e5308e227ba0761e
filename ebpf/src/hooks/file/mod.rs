//! Acts on files: each hook writes down what is asked and lets `object` answer.

pub mod change;
pub mod mount;
pub mod moves;
pub mod names;
pub mod open;
pub mod tree;

use interdict_abi::ids::{Act, Family, READ_AND_WRITE};
use interdict_engine::facts;

use super::{
    object::{self, Question, how},
    with_area,
};
use crate::{
    bounds, cache,
    kernel::{
        fields,
        object::{Object, Reader, Typed},
        path::Spot,
    },
    policy::{self, Policy},
    scratch::Area,
    words,
};

const FMODE_READ: u32 = 1;
const FMODE_WRITE: u32 = 2;

/// The policy in force and where it has the rules on files. `None` if it has none that are about `act`, a value of
/// `Fact::Act`.
#[inline(always)]
fn concerned(act: u32) -> Option<(Policy, u32, u64)> {
    concerns(policy::active()?, act)
}

/// As [`concerned`], of a policy that is known.
#[inline(always)]
fn concerns(policy: Policy, act: u32) -> Option<(Policy, u32, u64)> {
    let directory = facts::directory(&policy.image, Family::File);
    if directory == 0 {
        return None;
    }
    let acting = object::acting(&policy, directory, act);
    if acting == 0 { None } else { Some((policy, directory, acting)) }
}

/// The mode a file is open in: for reading, for writing, for both or for neither.
#[inline(always)]
fn mode_of(file: *const u8) -> u32 {
    Typed::read::<u32>(file, fields::file_mode()).unwrap_or(0) & (FMODE_READ | FMODE_WRITE)
}

/// The value of `Fact::Act` for a mode of [`mode_of`]. `None`: neither for reading nor for writing.
#[inline(always)]
fn of_mode(mode: u32) -> Option<u32> {
    match mode {
        FMODE_READ => Some(Act::FileRead.value()),
        FMODE_WRITE => Some(Act::FileWrite.value()),
        0 => None,
        _ => Some(READ_AND_WRITE),
    }
}

/// Starts a question in the area.
#[inline(always)]
pub fn ask(policy: &Policy, area: Area, act: u32, how: u32) -> &'static mut Question {
    let question = &mut area.work().question;
    // SAFETY: a question of zeros is a question.
    unsafe { words::zero(question) };
    question.slot = policy.generation.slot();
    question.generation = policy.generation.0;
    question.mode = policy.mode as u32;
    question.family = Family::File as u32;
    question.act = act;
    question.how = how;
    question
}

/// What an LSM program returns for an answer.
#[inline(always)]
fn refusal(errno: u32) -> i32 {
    if errno == 0 { 0 } else { bounds::refusal(errno as u8) }
}

/// An act on what exists at `spot`, whose inode is `inode`.
#[inline(always)]
fn existing(act: Act, spot: Spot, inode: *const u8, second: Spot) -> i32 {
    let Some((policy, directory, _)) = concerned(act.value()) else { return 0 };
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, act.value(), how::EXISTS);
        question.spot = spot;
        question.second = second;
        if !question.object.fill::<Typed>(inode) {
            question.how = 0;
        }
        let answer = object::answer(area);
        if area.work().question.how & how::LEARNED != 0 {
            cache::forget(inode.cast_mut().cast());
        }
        refusal(answer)
    })
}

/// An act that makes something new at `dentry` in `directory`.
#[inline(always)]
fn new(act: Act, parent: *const u8, dentry: *const u8, number: u32) -> i32 {
    let Some((policy, directory, _)) = concerned(act.value()) else { return 0 };
    with_area(&policy, directory, |area| {
        let question = ask(&policy, area, act.value(), 0);
        question.spot = below(parent, dentry);
        question.number = number;
        made_in(question, parent);
        refusal(object::answer(area))
    })
}

/// Nowhere.
const NOWHERE: Spot = Spot { dentry: 0, mount: 0 };

/// The place of `dentry` in the directory that the `struct path` at `parent` names.
#[inline(always)]
fn below(parent: *const u8, dentry: *const u8) -> Spot {
    let mount = Typed::read::<u64>(parent, fields::path_mnt()).unwrap_or(0);
    Spot { dentry: dentry as u64, mount }
}

/// Writes down the directory something new is made in.
#[inline(always)]
fn made_in(question: &mut Question, parent: *const u8) {
    let Some(dentry) = Typed::read::<*const u8>(parent, fields::path_dentry()) else { return };
    let Some(inode) = inode_of(dentry) else { return };
    let Some((device, number)) = Object::identity::<Typed>(inode) else { return };
    question.parent_device = device;
    question.parent_inode = number;
}

/// The inode behind a dentry, `None` for a name that nothing goes by. New kernels insist that a program looks.
#[inline(always)]
fn inode_of(dentry: *const u8) -> Option<*const u8> {
    let inode: *const u8 = Typed::read(dentry, fields::dentry_inode())?;
    if inode.is_null() { None } else { Some(inode) }
}

/// The place and the inode that the `struct path` at `path` names.
#[inline(always)]
fn of_path(path: *const u8) -> Option<(Spot, *const u8)> {
    let dentry = Typed::read::<*const u8>(path, fields::path_dentry())?;
    let mount = Typed::read::<u64>(path, fields::path_mnt())?;
    let inode = inode_of(dentry)?;
    Some((Spot { dentry: dentry as u64, mount }, inode))
}
