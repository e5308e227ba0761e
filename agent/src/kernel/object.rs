//! The kernel object, and what is changed in it before it is loaded: the size of an image slot.
//!
//! The size of a map's value is part of its definition in the object (`struct bpf_map_def` in the section `maps`:
//! type, key size, value size, max entries, flags, id, pinning, each u32). The loader library lets one override the
//! number of entries but not that, so it is written into the bytes.

use std::sync::LazyLock;

use object::{Object, ObjectSection, ObjectSymbol};
use thiserror::Error;

use crate::alert::hash::sha256;

/// The object that belongs to this source, with BTF and without debug information: `build.rs` names it.
pub static PREBUILT: &[u8] = aya::include_bytes_aligned!(env!("INTERDICT_BPF_OBJECT_PATH"));

const VALUE_SIZE_OFFSET: u64 = 8;

/// What can be wrong with a kernel object.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// Not an ELF file.
    #[error("the kernel object is not ELF: {0}")]
    Elf(#[from] object::Error),
    /// It was built from other source than this agent.
    #[error("the kernel object has no map `{0}`: it was built from other source than this agent")]
    NoMap(&'static str),
}

/// What instances of [`PREBUILT`] are called: the first 12 hex digits of its SHA-256.
pub static NAME: LazyLock<String> = LazyLock::new(|| {
    let hash = sha256(&[PREBUILT]);
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// A copy of `object` whose map `map` has values of `bytes`.
///
/// # Errors
/// The object is not ELF or has no such map.
pub fn with_value_size(
    object: &[u8],
    map: &'static str,
    bytes: u32,
) -> Result<Vec<u8>, ObjectError> {
    let elf = object::File::parse(object)?;
    let symbol =
        elf.symbols().find(|symbol| symbol.name() == Ok(map)).ok_or(ObjectError::NoMap(map))?;
    let section = symbol
        .section_index()
        .map(|index| elf.section_by_index(index))
        .transpose()?
        .filter(|section| section.name() == Ok("maps"))
        .ok_or(ObjectError::NoMap(map))?;
    let (start, _) = section.file_range().ok_or(ObjectError::NoMap(map))?;
    let at = (start + symbol.address() + VALUE_SIZE_OFFSET) as usize;
    let mut changed = object.to_vec();
    changed
        .get_mut(at..at + 4)
        .ok_or(ObjectError::NoMap(map))?
        .copy_from_slice(&bytes.to_le_bytes());
    Ok(changed)
}
