//! The names that objects are remembered under.
//!
//! A rule selects a file by its path; what it means is the file. So an object that is found under a path that some rule
//! selects is remembered under that path, by device and inode number, until it is deleted: reached by a hard link, a bind
//! mount, another root or namespace, or after it or a directory above it was renamed, it is judged by the path it was
//! reached by and by every name it is remembered under, and the strongest verdict counts. A new file below a remembered
//! directory is judged by that directory's names too.
//!
//! Names are learned from paths that cannot be arranged: of processes of the initial user namespace in a mount namespace
//! that belongs to it, whose root is the root of a mount. The agent teaches those that are there when a policy is loaded
//! (`hooks::file::seed`).

use interdict_abi::{
    ids::Fault,
    limits::{NAME_BYTES, NAMES_PER_OBJECT, PATH_BYTES},
    maps::{KnownName, LongName, NameKey},
};

use crate::{
    bounds::masked,
    emit,
    kernel::copy,
    lineage::Words,
    maps::{LONG_NAMES, NAMES},
    scratch::{self, Area, TEXT_BYTES, Work},
    words,
};

/// `BPF_NOEXIST`.
const ONLY_IF_MISSING: u64 = 1;

/// Words of a remembered text.
const WORDS: usize = NAME_BYTES / 8;

/// Remembers that the object goes by the first `bytes` of the text in the area; `last` is as `KnownName` has it. Answers
/// 1 if that is news.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_learn(area: u32, device: u32, inode: u64, bytes: u32, last: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    fill(work, bytes, last);
    let long = bytes as usize >= NAME_BYTES;
    let mut index = 0;
    while index < NAMES_PER_OBJECT {
        let key = NameKey { device, index, inode };
        // SAFETY: read at once; rows are only replaced as a whole.
        match unsafe { NAMES.get(&key) } {
            Some(known) => {
                if long && known.bytes == KnownName::TOO_LONG {
                    return 0;
                }
                if same(known, &work.name)
                    && (!long || interdict_same_long(area, device, inode, index, bytes) != 0)
                {
                    // Arranged once, and now met where nobody arranged it.
                    if known.last & !last & KnownName::ARRANGED != 0 {
                        let _kept = NAMES.insert(&key, &work.name, 0);
                    }
                    return 0;
                }
            }
            None => {
                if long && !keep_long(work, &key) {
                    work.name.bytes = KnownName::TOO_LONG;
                }
                if NAMES.insert(&key, &work.name, ONLY_IF_MISSING).is_err() {
                    if long {
                        let _none = LONG_NAMES.remove(&key);
                    }
                    emit::count(Fault::Names);
                    return 0;
                }
                return 1;
            }
        }
        index += 1;
    }
    emit::count(Fault::Names);
    0
}

/// Keeps the text in the area as that of a long name. False, counted, if there is no room.
#[inline(always)]
fn keep_long(work: &mut Work, key: &NameKey) -> bool {
    // SAFETY: the text has more than PATH_BYTES and is 8-aligned.
    let text = unsafe { &*work.text.0.as_ptr().cast::<LongName>() };
    if LONG_NAMES.insert(key, text, ONLY_IF_MISSING).is_ok() {
        return true;
    }
    emit::count(Fault::Names);
    false
}

/// Whether a long name of the object is the first `bytes` of the text in the area: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_same_long(
    area: u32,
    device: u32,
    inode: u64,
    index: u32,
    bytes: u32,
) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return 0 };
    // SAFETY: read at once; rows are only replaced as a whole.
    let Some(known) = (unsafe { LONG_NAMES.get(&NameKey { device, index, inode }) }) else {
        return 0;
    };
    let bytes = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(bytes));
    u64::from(Words::same(&work.text, known.0.as_ptr().cast(), bytes))
}

#[inline(always)]
fn fill(work: &mut Work, bytes: u32, last: u32) {
    // SAFETY: a name of zeros is a name.
    unsafe { words::zero(&mut work.name) };
    work.name.bytes = bytes;
    work.name.last = last;
    let bytes = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(bytes));
    if bytes < NAME_BYTES as u64 {
        let source = work.text.0.as_ptr();
        // SAFETY: below the room's size.
        unsafe { copy(work.name.text.as_mut_ptr(), bytes, source) };
    }
}

#[inline(always)]
fn same(known: &KnownName, name: &KnownName) -> bool {
    let (first, second): (*const u64, *const u64) =
        (known.text.as_ptr().cast(), name.text.as_ptr().cast());
    let mut differs = u64::from(known.bytes ^ name.bytes);
    let mut word = 0;
    while word < WORDS {
        // SAFETY: both texts have so many words and are aligned to them.
        differs |= unsafe { first.add(word).read_volatile() ^ second.add(word).read_volatile() };
        word += 1;
    }
    differs == 0
}

/// [`recall`] found no such name.
pub const NONE: u64 = 0;
/// [`recall`] found a name for whose text there was no room.
pub const UNKNOWN: u64 = 1 << 32;

/// Copies a name of the object to `at` in the text of the area, with a terminator. Answers its bytes, [`NONE`] or
/// [`UNKNOWN`]; where its last component starts is in `name.last` of the area.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_recall(area: u32, device: u32, inode: u64, index: u32, at: u32) -> u64 {
    // SAFETY: the hook that calls has claimed the area.
    let Some(work) = (unsafe { scratch::claimed(area) }) else { return NONE };
    // SAFETY: copied at once; rows are only replaced as a whole.
    let Some(known) = (unsafe { NAMES.get(&NameKey { device, index, inode }) }) else {
        return NONE;
    };
    if known.bytes == KnownName::TOO_LONG {
        return UNKNOWN;
    }
    work.name.last = known.last;
    if known.bytes as usize >= NAME_BYTES {
        return recall_long(work, &NameKey { device, index, inode }, known.bytes, at);
    }
    let at = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(at));
    // SAFETY: a path and a name are shorter than the text.
    let target = unsafe { work.text.0.as_mut_ptr().add(at as usize) };
    // SAFETY: as above; the row's text ends with a zero unless it fills its room.
    unsafe { copy(target, NAME_BYTES as u64, known.text.as_ptr()) };
    let end = (at as usize + NAME_BYTES) & (TEXT_BYTES - 1);
    work.text.0[end] = 0;
    u64::from(known.bytes)
}

#[inline(always)]
fn recall_long(work: &mut Work, key: &NameKey, bytes: u32, at: u32) -> u64 {
    // SAFETY: copied at once; rows are only replaced as a whole.
    let Some(long) = (unsafe { LONG_NAMES.get(key) }) else { return UNKNOWN };
    let at = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(at));
    let bytes = masked::<{ PATH_BYTES as u64 - 1 }>(u64::from(bytes));
    // SAFETY: two paths are shorter than the text.
    let target = unsafe { work.text.0.as_mut_ptr().add(at as usize) };
    // SAFETY: as above.
    unsafe { copy(target, bytes, long.0.as_ptr()) };
    work.text.0[(at + bytes) as usize & (TEXT_BYTES - 1)] = 0;
    bytes
}

/// Remembers a name: see [`interdict_learn`].
#[inline(always)]
pub fn learn(area: Area, device: u32, inode: u64, bytes: u64, last: u64) -> bool {
    interdict_learn(area.number, device, inode, bytes as u32, last as u32) != 0
}

/// Reads a name: see [`interdict_recall`].
#[inline(always)]
pub fn recall(area: Area, device: u32, inode: u64, index: u32, at: u64) -> u64 {
    interdict_recall(area.number, device, inode, index, at as u32)
}

/// Whether the object goes by any name.
#[inline(always)]
pub fn has_any(device: u32, inode: u64) -> bool {
    // SAFETY: only whether it is there is asked.
    unsafe { NAMES.get(&NameKey { device, index: 0, inode }) }.is_some()
}

/// Forgets the names of an object that is deleted.
#[inline(always)]
pub fn forget(device: u32, inode: u64) {
    let mut index = 0;
    while index < NAMES_PER_OBJECT {
        let key = NameKey { device, index, inode };
        if NAMES.remove(&key).is_err() {
            return;
        }
        let _none = LONG_NAMES.remove(&key);
        index += 1;
    }
}
