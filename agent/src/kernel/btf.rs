//! Reads BTF: where fields sit in the running kernel's structs, and what its functions take.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux`. Format: Documentation/bpf/btf.rst. Anonymous structs and unions are
//! passed through, because `file.f_path` sits in one from 6.18 on.

use std::path::Path;

use interdict_abi::offsets;
use thiserror::Error;

/// Where the running kernel tells its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Where it tells those of its overlays, if they are a module and that is loaded.
pub const OVERLAY: &str = "/sys/kernel/btf/overlay";

/// What can be wrong with BTF, or missing in it.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("{path}: {source} (the kernel must be built with CONFIG_DEBUG_INFO_BTF=y)")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Not BTF, or cut short.
    #[error("malformed BTF at byte {offset}: {what}")]
    Malformed {
        /// Where.
        offset: usize,
        /// What was expected there.
        what: &'static str,
    },
    /// A struct the programs need is not in this kernel.
    #[error("this kernel has no struct `{0}`")]
    NoStruct(String),
    /// A field the programs need is not in this kernel.
    #[error("this kernel's struct `{structure}` has no field `{member}`")]
    NoField {
        /// The struct.
        structure: String,
        /// The field.
        member: String,
    },
}

const MAGIC: u16 = 0xeb9f;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
/// Kinds that only wrap another type: typedef, volatile, const, restrict, type tag.
const KIND_WRAPPERS: [u32; 5] = [8, 9, 10, 11, 18];

/// Types followed before giving up: anonymous members inside anonymous members, chains of typedefs.
const DEPTH: u32 = 16;

/// Parsed BTF.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    /// Byte offset of each type, from type 1.
    types: Vec<usize>,
    /// Where the name is, and the number of the type. Names are compared where they lie: a kernel has 60,000 functions,
    /// of which a handful is asked for, once.
    structs: Vec<(usize, u32)>,
    functions: Vec<(usize, u32)>,
}

impl Btf {
    /// The running kernel's.
    ///
    /// # Errors
    /// It has none, or not one this reader understands.
    pub fn of_kernel() -> Result<Self, BtfError> {
        Self::from_file(Path::new(VMLINUX))
    }

    /// From a file in the same format.
    ///
    /// # Errors
    /// It cannot be read or parsed.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let data = std::fs::read(path)
            .map_err(|source| BtfError::Read { path: path.display().to_string(), source })?;
        Self::parse(data)
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are not BTF.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let short = |offset| BtfError::Malformed { offset, what: "more bytes" };
        let magic = data.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes));
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed { offset: 0, what: "the BTF magic" });
        }
        let header = word(&data, 4).ok_or_else(|| short(4))? as usize;
        let type_start = header + word(&data, 8).ok_or_else(|| short(8))? as usize;
        let type_bytes = word(&data, 12).ok_or_else(|| short(12))? as usize;
        let strings = header + word(&data, 16).ok_or_else(|| short(16))? as usize;
        let mut btf =
            Self { data, strings, types: vec![0], structs: Vec::new(), functions: Vec::new() };
        let mut at = type_start;
        let end = type_start.saturating_add(type_bytes);
        while at < end {
            let id = btf.types.len() as u32;
            btf.types.push(at);
            let info = btf.word(at + 4)?;
            let entries = (info & 0xffff) as usize;
            let kind = (info >> 24) & 0x1f;
            let name = btf.word(at)? as usize;
            match kind {
                KIND_STRUCT => btf.structs.push((name, id)),
                KIND_FUNC => btf.functions.push((name, id)),
                _ => {}
            }
            at += 12
                + match kind {
                    1 | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * entries,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * entries,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => return Err(BtfError::Malformed { offset: at, what: "a known type kind" }),
                };
        }
        Ok(btf)
    }

    /// With the types of a module, from the file the kernel tells them in: it counts types and strings on from those of
    /// the kernel, and has only what those lack.
    ///
    /// # Errors
    /// It cannot be read or parsed.
    pub fn with_module(&self, path: &Path) -> Result<Self, BtfError> {
        let module = std::fs::read(path)
            .map_err(|source| BtfError::Read { path: path.display().to_string(), source })?;
        let [(types, strings), (own_types, own_strings)] =
            [sections(&self.data)?, sections(&module)?];
        let number = |bytes: usize| (bytes as u32).to_le_bytes();
        let type_bytes = types.len() + own_types.len();
        let mut data = Vec::with_capacity(self.data.len() + module.len());
        data.extend_from_slice(&self.data[..8]);
        data[4..8].copy_from_slice(&number(24));
        for bytes in [0, type_bytes, type_bytes, strings.len() + own_strings.len()] {
            data.extend_from_slice(&number(bytes));
        }
        for part in [types, own_types, strings, own_strings] {
            data.extend_from_slice(part);
        }
        Self::parse(data)
    }

    /// From an overlay's inode to its entry in the upper layer: as the module tells, else, while it has not told, behind
    /// the inode that all file systems have, where it has been since there are inodes of overlays.
    pub fn overlay_upper(&self, module: &Path) -> u64 {
        let told = |types: &Self| {
            let upper = types.offset("ovl_inode", "__upperdentry").ok()?;
            upper.checked_sub(types.offset("ovl_inode", "vfs_inode").ok()?)
        };
        let found = if self.find(&self.structs, "ovl_inode").is_some() {
            told(self)
        } else if module.exists() {
            self.with_module(module).ok().as_ref().and_then(told)
        } else {
            self.size("inode")
        };
        found.unwrap_or(offsets::MISSING)
    }

    /// Bytes of a struct, if there is one of that name.
    pub fn size(&self, structure: &str) -> Option<u64> {
        let at = *self.types.get(self.find(&self.structs, structure)? as usize)?;
        self.word(at + 8).ok().map(u64::from)
    }

    fn word(&self, offset: usize) -> Result<u32, BtfError> {
        word(&self.data, offset).ok_or(BtfError::Malformed { offset, what: "more bytes" })
    }

    fn string(&self, offset: usize) -> String {
        let rest = self.data.get(self.strings + offset..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).into_owned()
    }

    /// The first of these types that has the name.
    fn find(&self, types: &[(usize, u32)], name: &str) -> Option<u32> {
        let is_named = |at: usize| {
            let text = self.data.get(self.strings + at..).unwrap_or_default();
            text.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        types.iter().find(|(at, _)| is_named(*at)).map(|(_, id)| *id)
    }

    /// BTF with these functions under the numbers they have here, and nothing else: as much as attaching to them by name
    /// takes, and much less to read than all that a kernel has.
    pub fn only_functions(&self, names: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        // A forward declaration without a name: twelve bytes of nothing.
        const NOTHING: [u32; 3] = [0, 7 << 24, 0];
        let mut types = vec![NOTHING; self.types.len() - 1];
        for name in names {
            let found =
                self.find(&self.functions, name).and_then(|id| (id as usize).checked_sub(1));
            if let Some(place) = found.and_then(|at| types.get_mut(at)) {
                *place = [strings.len() as u32, KIND_FUNC << 24, 1];
                strings.extend_from_slice(name.as_bytes());
                strings.push(0);
            }
        }
        let type_bytes = 12 * types.len() as u32;
        let mut out = Vec::with_capacity(24 + type_bytes as usize + strings.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        for number in [24, 0, type_bytes, type_bytes, strings.len() as u32] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend(types.iter().flatten().flat_map(|word| word.to_le_bytes()));
        out.extend_from_slice(&strings);
        out
    }

    /// The type behind typedefs and qualifiers.
    fn resolved(&self, mut id: u32) -> Result<(u32, usize), BtfError> {
        for _ in 0..DEPTH {
            let at = *self
                .types
                .get(id as usize)
                .ok_or(BtfError::Malformed { offset: 0, what: "a type that exists" })?;
            let kind = (self.word(at + 4)? >> 24) & 0x1f;
            if !KIND_WRAPPERS.contains(&kind) {
                return Ok((kind, at));
            }
            id = self.word(at + 8)?;
        }
        Err(BtfError::Malformed { offset: 0, what: "an end to a chain of typedefs" })
    }

    /// The bit offset and type of `name` in the struct or union at `at`, anonymous members included.
    fn member(&self, at: usize, name: &str, depth: u32) -> Result<Option<(u32, u32)>, BtfError> {
        let info = self.word(at + 4)?;
        let bitfields = info >> 31 != 0;
        for index in 0..(info & 0xffff) as usize {
            let entry = at + 12 + 12 * index;
            let own = self.string(self.word(entry)? as usize);
            let kind = self.word(entry + 4)?;
            let raw = self.word(entry + 8)?;
            let bits = if bitfields { raw & 0x00ff_ffff } else { raw };
            if own == name {
                return Ok(Some((bits, kind)));
            }
            if own.is_empty() && depth < DEPTH {
                let (inner, inner_at) = self.resolved(kind)?;
                if (inner == KIND_STRUCT || inner == KIND_UNION)
                    && let Some((inside, found)) = self.member(inner_at, name, depth + 1)?
                {
                    return Ok(Some((bits + inside, found)));
                }
            }
        }
        Ok(None)
    }

    /// The byte offset of `member` (dots between nested members) in `structure`.
    ///
    /// # Errors
    /// The struct or the member is not there.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u64, BtfError> {
        let id = self
            .find(&self.structs, structure)
            .ok_or_else(|| BtfError::NoStruct(structure.to_owned()))?;
        let (_, mut at) = self.resolved(id)?;
        let mut bits = 0;
        for part in member.split('.') {
            let missing =
                || BtfError::NoField { structure: structure.to_owned(), member: member.to_owned() };
            let (inside, kind) = self.member(at, part, 0)?.ok_or_else(missing)?;
            bits += inside;
            at = self.resolved(kind)?.1;
        }
        Ok(u64::from(bits / 8))
    }

    /// The byte offset of a field that may be missing or elsewhere: [`offsets::MISSING`] if it is nowhere.
    pub fn choice(&self, choice: &offsets::Choice) -> u64 {
        let found = choice.places.iter().find_map(|(structure, member, past)| {
            Some(self.offset(structure, member).ok()? + past)
        });
        found.unwrap_or(offsets::MISSING)
    }

    /// The value of a constant of some enumeration.
    pub fn constant(&self, name: &str) -> Option<u64> {
        self.types.iter().skip(1).find_map(|at| {
            let info = self.word(at + 4).ok()?;
            if (info >> 24) & 0x1f != KIND_ENUM {
                return None;
            }
            (0..(info & 0xffff) as usize).find_map(|index| {
                let entry = at + 12 + 8 * index;
                let named = self.is_string(self.word(entry).ok()? as usize, name);
                named.then(|| self.word(entry + 4).ok().map(u64::from))?
            })
        })
    }

    /// Whether the string at `offset` is `text`.
    fn is_string(&self, offset: usize, text: &str) -> bool {
        let rest = self.data.get(self.strings + offset..).unwrap_or_default();
        rest.strip_prefix(text.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Names of the parameters of a function, if the kernel has it.
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        let at = *self.types.get(self.find(&self.functions, function)? as usize)?;
        let prototype = *self.types.get(self.word(at + 8).ok()? as usize)?;
        let count = (self.word(prototype + 4).ok()? & 0xffff) as usize;
        (0..count)
            .map(|index| Some(self.string(self.word(prototype + 12 + 8 * index).ok()? as usize)))
            .collect()
    }

    /// Whether the kernel has this BPF LSM hook.
    pub fn has_lsm_hook(&self, hook: &str) -> bool {
        self.has_function(&format!("bpf_lsm_{hook}"))
    }

    /// Whether the kernel has a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.find(&self.functions, name).is_some()
    }
}

/// Types and strings of BTF.
fn sections(data: &[u8]) -> Result<(&[u8], &[u8]), BtfError> {
    let header = |at: usize| {
        let short = BtfError::Malformed { offset: at, what: "more bytes" };
        word(data, at).map(|number| number as usize).ok_or(short)
    };
    if data.first_chunk::<2>() != Some(&MAGIC.to_le_bytes()) {
        return Err(BtfError::Malformed { offset: 0, what: "the BTF magic" });
    }
    let start = header(4)?;
    let section = |offset: usize, bytes: usize| {
        let at = start.saturating_add(offset);
        let short = BtfError::Malformed { offset: at, what: "a whole section" };
        data.get(at..at.saturating_add(bytes)).ok_or(short)
    };
    Ok((section(header(8)?, header(12)?)?, section(header(16)?, header(20)?)?))
}

fn word(data: &[u8], offset: usize) -> Option<u32> {
    data.get(offset..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_the_programs_read_is_found_in_this_kernel() {
        let btf = Btf::of_kernel().unwrap();
        for field in interdict_abi::offsets::FIELDS {
            btf.offset(field.structure, field.member).unwrap();
        }
    }

    #[test]
    fn constants_of_enumerations_are_found() {
        let btf = Btf::of_kernel().unwrap();
        assert_eq!(btf.constant("READING_MODULE"), Some(2));
        assert_eq!(btf.constant("NO_SUCH_CONSTANT"), None);
    }

    #[test]
    fn members_of_anonymous_members_are_found() {
        let btf = Btf::of_kernel().unwrap();
        // `skc_daddr` sits in a struct in a union, both anonymous.
        let daddr = btf.offset("sock_common", "skc_daddr").unwrap();
        let rcv = btf.offset("sock_common", "skc_rcv_saddr").unwrap();
        assert_eq!(rcv, daddr + 4);
    }

    #[test]
    fn reduced_to_some_functions_it_has_them_under_the_same_numbers() {
        let whole = Btf::of_kernel().unwrap();
        let names = ["bpf_lsm_file_open", "bpf_lsm_socket_connect", "no_such_function"];
        let few = Btf::parse(whole.only_functions(&names)).unwrap();
        assert_eq!(few.types.len(), whole.types.len());
        for name in &names[..2] {
            let number = whole.find(&whole.functions, name);
            assert!(number.is_some(), "this kernel has {name}");
            assert_eq!(few.find(&few.functions, name), number);
        }
        assert_eq!(few.functions.len(), 2);
        // The loader reads it too.
        let bytes = whole.only_functions(&names);
        aya::Btf::parse(&bytes, aya::Endianness::default()).unwrap();
    }

    #[test]
    fn a_missing_field_is_named() {
        let btf = Btf::of_kernel().unwrap();
        let error = btf.offset("file", "no_such_field").unwrap_err();
        assert_eq!(error.to_string(), "this kernel's struct `file` has no field `no_such_field`");
    }

    /// BTF of one struct, whose members are all of type 1. Strings and types are counted from `before` and 1.
    fn of_struct(strings: &str, before: u32, name: &str, members: &[(&str, u32)]) -> Vec<u8> {
        let all = format!("{strings}\0");
        let place = |name: &str| before + all.find(&format!("\0{name}\0")).unwrap() as u32 + 1;
        let mut types = vec![place(name), KIND_STRUCT << 24 | members.len() as u32, 624];
        for (member, bytes) in members {
            // The kernel's own strings are not told again.
            let at = if *member == "vfs_inode" { 7 } else { place(member) };
            types.extend([at, 1, bytes * 8]);
        }
        let type_bytes = 4 * types.len() as u32;
        let mut data = MAGIC.to_le_bytes().to_vec();
        data.extend([1, 0]);
        let header = [24, 0, type_bytes, type_bytes, all.len() as u32];
        data.extend(header.iter().chain(&types).flat_map(|word| word.to_le_bytes()));
        data.extend(all.as_bytes());
        data
    }

    #[test]
    fn the_upper_layer_of_an_overlay_is_where_its_module_tells() {
        let kernel = Btf::parse(of_struct("\0inode\0vfs_inode", 0, "inode", &[])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("overlay");
        assert_eq!(kernel.overlay_upper(&module), 624, "not loaded: behind the inode");
        let names = "\0ovl_inode\0__upperdentry";
        let members = [("vfs_inode", 32), ("__upperdentry", 672)];
        std::fs::write(&module, of_struct(names, 17, "ovl_inode", &members)).unwrap();
        assert_eq!(kernel.overlay_upper(&module), 640, "as the module tells");
        std::fs::write(&module, of_struct(names, 17, "ovl_inode", &members[..1])).unwrap();
        assert_eq!(kernel.overlay_upper(&module), offsets::MISSING, "the module has none");
        std::fs::write(&module, b"nothing").unwrap();
        assert_eq!(kernel.overlay_upper(&module), offsets::MISSING, "nobody can tell");
    }

    #[test]
    fn bytes_that_are_not_btf_are_refused_without_panic() {
        for length in 0..64 {
            assert!(Btf::parse(vec![0x9f; length]).is_err());
        }
        let mut cut = std::fs::read(VMLINUX).unwrap();
        cut.truncate(cut.len() / 7);
        assert!(Btf::parse(cut).is_err());
    }
}
