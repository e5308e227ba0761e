//! System calls that act on files: which act each is, and which of its arguments say on what.
//!
//! Only for hosts without BPF LSM, where `ebpf/src/hooks/called.rs` judges these calls as they end. Numbers are those of
//! the kernel's own tables, which do not change. What is not in here is not seen there: reads and writes through
//! descriptors, `io_uring`, handles of files but for `open_by_handle_at`.

use crate::ids::{Act, Calling};

/// Which arguments of a call say what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// It is the file behind the descriptor that the call answers.
    Opened = 1,
    /// It is the file behind the descriptor in argument 0.
    Descriptor = 2,
    /// Argument 0 is a path.
    Path = 3,
    /// Argument 1 is a path.
    SecondPath = 4,
    /// Argument 0 is the descriptor of a directory, argument 1 a path from there.
    At = 5,
    /// The same with arguments 1 and 2.
    SecondAt = 6,
    /// The same with arguments 2 and 3.
    ThirdAt = 7,
    /// Arguments 0 and 1 are paths.
    Paths = 8,
    /// Arguments 0 and 2 are descriptors of directories, 1 and 3 paths from there.
    PathsAt = 9,
}

impl Shape {
    /// The shape of this number, if there is one.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Opened,
            2 => Self::Descriptor,
            3 => Self::Path,
            4 => Self::SecondPath,
            5 => Self::At,
            6 => Self::SecondAt,
            7 => Self::ThirdAt,
            8 => Self::Paths,
            9 => Self::PathsAt,
            _ => return None,
        })
    }
}

/// A call on files: what it does, its shape, and its numbers for 64-bit x86, 32-bit x86, 64-bit ARM and 32-bit ARM; 0
/// where there is no such call, or one that has another name.
#[derive(Clone, Copy, Debug)]
pub struct FileCall {
    /// Its name, for tests.
    pub name: &'static str,
    /// The act; of one that opens, what its descriptor is for says which.
    pub act: Act,
    /// Its arguments.
    pub shape: Shape,
    /// Its numbers.
    pub numbers: [u16; 4],
}

/// Whose numbers [`FileCall::numbers`] are.
pub const CALLINGS: [Calling; 4] = [Calling::X86_64, Calling::I386, Calling::Aarch64, Calling::Arm];

const fn call(name: &'static str, act: Act, shape: Shape, numbers: [u16; 4]) -> FileCall {
    FileCall { name, act, shape, numbers }
}

/// All of them.
pub const FILE_CALLS: &[FileCall] = &[
    call("open", Act::FileRead, Shape::Opened, [2, 5, 0, 5]),
    call("creat", Act::FileRead, Shape::Opened, [85, 8, 0, 8]),
    call("openat", Act::FileRead, Shape::Opened, [257, 295, 56, 322]),
    call("openat2", Act::FileRead, Shape::Opened, [437, 437, 437, 437]),
    call("open_by_handle_at", Act::FileRead, Shape::Opened, [304, 342, 265, 371]),
    call("unlink", Act::FileUnlink, Shape::Path, [87, 10, 0, 10]),
    call("rmdir", Act::FileUnlink, Shape::Path, [84, 40, 0, 40]),
    call("unlinkat", Act::FileUnlink, Shape::At, [263, 301, 35, 328]),
    call("rename", Act::FileRename, Shape::Paths, [82, 38, 0, 38]),
    call("renameat", Act::FileRename, Shape::PathsAt, [264, 302, 38, 329]),
    call("renameat2", Act::FileRename, Shape::PathsAt, [316, 353, 276, 382]),
    call("link", Act::FileLink, Shape::Paths, [86, 9, 0, 9]),
    call("linkat", Act::FileLink, Shape::PathsAt, [265, 303, 37, 330]),
    call("symlink", Act::FileSymlink, Shape::SecondPath, [88, 83, 0, 83]),
    call("symlinkat", Act::FileSymlink, Shape::SecondAt, [266, 304, 36, 331]),
    call("mkdir", Act::FileMkdir, Shape::Path, [83, 39, 0, 39]),
    call("mkdirat", Act::FileMkdir, Shape::At, [258, 296, 34, 323]),
    call("mknod", Act::FileMknod, Shape::Path, [133, 14, 0, 14]),
    call("mknodat", Act::FileMknod, Shape::At, [259, 297, 33, 324]),
    call("truncate", Act::FileTruncate, Shape::Path, [76, 92, 45, 92]),
    call("truncate64", Act::FileTruncate, Shape::Path, [0, 193, 0, 193]),
    call("ftruncate", Act::FileTruncate, Shape::Descriptor, [77, 93, 46, 93]),
    call("ftruncate64", Act::FileTruncate, Shape::Descriptor, [0, 194, 0, 194]),
    call("chmod", Act::FileSetattr, Shape::Path, [90, 15, 0, 15]),
    call("fchmod", Act::FileSetattr, Shape::Descriptor, [91, 94, 52, 94]),
    call("fchmodat", Act::FileSetattr, Shape::At, [268, 306, 53, 333]),
    call("fchmodat2", Act::FileSetattr, Shape::At, [452, 452, 452, 452]),
    call("chown", Act::FileSetattr, Shape::Path, [92, 182, 0, 182]),
    call("chown32", Act::FileSetattr, Shape::Path, [0, 212, 0, 212]),
    call("lchown", Act::FileSetattr, Shape::Path, [94, 16, 0, 16]),
    call("lchown32", Act::FileSetattr, Shape::Path, [0, 198, 0, 198]),
    call("fchown", Act::FileSetattr, Shape::Descriptor, [93, 95, 55, 95]),
    call("fchown32", Act::FileSetattr, Shape::Descriptor, [0, 207, 0, 207]),
    call("fchownat", Act::FileSetattr, Shape::At, [260, 298, 54, 325]),
    call("utime", Act::FileSetattr, Shape::Path, [132, 30, 0, 0]),
    call("utimes", Act::FileSetattr, Shape::Path, [235, 271, 0, 269]),
    call("futimesat", Act::FileSetattr, Shape::At, [261, 299, 0, 326]),
    call("utimensat", Act::FileSetattr, Shape::At, [280, 320, 88, 348]),
    call("utimensat_time64", Act::FileSetattr, Shape::At, [0, 412, 412, 412]),
    call("setxattr", Act::FileSetattr, Shape::Path, [188, 226, 5, 226]),
    call("lsetxattr", Act::FileSetattr, Shape::Path, [189, 227, 6, 227]),
    call("fsetxattr", Act::FileSetattr, Shape::Descriptor, [190, 228, 7, 228]),
    call("removexattr", Act::FileSetattr, Shape::Path, [197, 235, 14, 235]),
    call("lremovexattr", Act::FileSetattr, Shape::Path, [198, 236, 15, 236]),
    call("fremovexattr", Act::FileSetattr, Shape::Descriptor, [199, 237, 16, 237]),
    call("setxattrat", Act::FileSetattr, Shape::At, [463, 463, 463, 463]),
    call("removexattrat", Act::FileSetattr, Shape::At, [466, 466, 466, 466]),
    call("mount", Act::FileMount, Shape::SecondPath, [165, 21, 40, 21]),
    call("umount", Act::FileMount, Shape::Path, [0, 22, 0, 0]),
    call("umount2", Act::FileMount, Shape::Path, [166, 52, 39, 52]),
    call("move_mount", Act::FileMount, Shape::ThirdAt, [429, 429, 429, 429]),
];

/// Numbers a table of [`FILE_CALLS`] has room for, for each way of calling.
pub const NUMBERS: usize = 512;

/// [`FILE_CALLS`] by way of calling (see [`CALLINGS`]) and number: the shape in the upper half of a byte, the number of the
/// act in its family in the lower one; 0 for calls that are not about files.
pub const TABLE: [u8; CALLINGS.len() * NUMBERS] = {
    let mut table = [0; CALLINGS.len() * NUMBERS];
    let mut at = 0;
    while at < FILE_CALLS.len() {
        let call = &FILE_CALLS[at];
        let mut calling = 0;
        while calling < CALLINGS.len() {
            let number = call.numbers[calling] as usize;
            if number != 0 {
                assert!(table[calling * NUMBERS + number] == 0);
                table[calling * NUMBERS + number] =
                    (call.shape as u8) << 4 | (call.act as u8 - Act::FileRead as u8);
            }
            calling += 1;
        }
        at += 1;
    }
    table
};
