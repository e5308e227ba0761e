//! System calls as they are: a number and up to six words.
//!
//! Evasions are about which call is made and how, so they are not hidden behind a library. What a word points at is
//! borrowed until the call returned; that the numbers fit the call is for whoever writes it down, next to the manual.

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// One argument of a system call.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a>(usize, PhantomData<&'a ()>);

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl From<$number> for Word<'_> {
            fn from(number: $number) -> Self {
                Self(number as usize, PhantomData)
            }
        })*
    };
}
numbers!(i32 u32 i64 u64 usize u8);

impl<'a> From<&'a CStr> for Word<'a> {
    fn from(text: &'a CStr) -> Self {
        Self(text.as_ptr() as usize, PhantomData)
    }
}

impl<'a> From<&'a CString> for Word<'a> {
    fn from(text: &'a CString) -> Self {
        Self(text.as_ptr() as usize, PhantomData)
    }
}

impl<'a> From<&'a [u8]> for Word<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes.as_ptr() as usize, PhantomData)
    }
}

impl<'a> From<&'a mut [u8]> for Word<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self(bytes.as_mut_ptr() as usize, PhantomData)
    }
}

impl From<&OwnedFd> for Word<'_> {
    fn from(file: &OwnedFd) -> Self {
        Self(file.as_raw_fd() as usize, PhantomData)
    }
}

impl From<&std::fs::File> for Word<'_> {
    fn from(file: &std::fs::File) -> Self {
        Self(file.as_raw_fd() as usize, PhantomData)
    }
}

impl From<BorrowedFd<'_>> for Word<'_> {
    fn from(file: BorrowedFd<'_>) -> Self {
        Self(file.as_raw_fd() as usize, PhantomData)
    }
}

/// A word that points at something the call reads.
pub fn at<T>(value: &T) -> Word<'_> {
    Word(std::ptr::from_ref(value) as usize, PhantomData)
}

/// A word that points at something the call may change.
pub fn into<T>(value: &mut T) -> Word<'_> {
    Word(std::ptr::from_mut(value) as usize, PhantomData)
}

/// Does the call; what [`call!`] expands to.
pub fn system(number: i64, words: &[Word<'_>]) -> io::Result<i64> {
    let word = |index: usize| words.get(index).map_or(0, |word| word.0);
    // SAFETY: pointers among the words are of borrowed memory; the call sites give each call what its manual asks for.
    let answer =
        unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// `call!(SYS_openat, AT_FDCWD, &path, O_RDONLY)`: makes the call, answers its number or its error.
macro_rules! call {
    ($number:ident $(, $word:expr)* $(,)?) => {
        $crate::sys::system(libc::$number, &[$($crate::sys::Word::from($word)),*])
    };
}
pub(crate) use call;

/// Takes a descriptor that a call answered.
pub fn owned(descriptor: i64) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(descriptor as i32) }
}

/// Bytes as a path or another text that ends with zero.
pub fn text(bytes: impl AsRef<[u8]>) -> CString {
    CString::new(bytes.as_ref()).unwrap_or_default()
}

/// Opens by `openat` from the working directory.
pub fn open(path: impl AsRef<[u8]>, flags: i32) -> io::Result<OwnedFd> {
    open_from(libc::AT_FDCWD, path, flags)
}

/// Opens by `openat` from a directory.
pub fn open_from(directory: i32, path: impl AsRef<[u8]>, flags: i32) -> io::Result<OwnedFd> {
    let path = text(path);
    call!(SYS_openat, directory, &path, flags, 0o644).map(owned)
}

/// A plain structure with all its bytes zero.
pub fn zeroed<T: Copy>() -> T {
    // SAFETY: used for the kernel's structures of numbers, for which zeros are values.
    unsafe { std::mem::zeroed() }
}

/// The bytes of a plain structure.
pub fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: as many bytes as the structure has, and the kernel's structures name their padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Memory of our own from `mmap`, never given back.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    /// Where it starts.
    pub address: usize,
    /// How much of it there is.
    pub len_bytes: usize,
}

impl Mapping {
    /// Maps; without a file it is anonymous memory.
    pub fn new(len_bytes: usize, protection: i32, flags: i32, file: i32) -> io::Result<Self> {
        let address = call!(SYS_mmap, 0, len_bytes, protection, flags, file, 0)?;
        Ok(Self { address: address as usize, len_bytes })
    }

    /// What is there now; only of memory that may be read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping stays, and the page may be read by the protection it was made with.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.len_bytes) }
    }

    /// Puts bytes at its start; only of memory that may be written.
    pub fn write(&self, bytes: &[u8]) {
        let length = bytes.len().min(self.len_bytes);
        // SAFETY: within the mapping, whose memory is ours alone.
        unsafe { std::ptr::copy(bytes.as_ptr(), self.address as *mut u8, length) };
    }

    /// Runs what is there as a function without arguments.
    pub fn run(&self) -> i32 {
        // SAFETY: the page holds the code of such a function, or the processor ends this process, which is an answer.
        let function: extern "C" fn() -> i32 =
            unsafe { std::mem::transmute(self.address as *const ()) };
        function()
    }
}

/// A 32-bit system call by `int 0x80`, with addresses below 4 GiB.
pub fn call_32(number: u32, words: [u32; 3]) -> io::Result<u32> {
    let answer: u32;
    // SAFETY: the 32-bit entry keeps all registers but eax and r8 to r11; rbx is put back.
    unsafe {
        std::arch::asm!(
            "xchg {first:r}, rbx",
            "int 0x80",
            "xchg {first:r}, rbx",
            first = inout(reg) u64::from(words[0]) => _,
            inlateout("eax") number => answer,
            in("ecx") words[1],
            in("edx") words[2],
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    // The last page of numbers are errors; what comes before may be addresses.
    if answer > u32::MAX - 4095 {
        Err(io::Error::from_raw_os_error(answer.wrapping_neg() as i32))
    } else {
        Ok(answer)
    }
}

/// Memory that a 32-bit call can name, with these bytes in it.
pub fn low(bytes: &[u8]) -> io::Result<Mapping> {
    let mapping = Mapping::new(
        8192,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
        -1,
    )?;
    mapping.write(bytes);
    Ok(mapping)
}

/// Ends this process at once, all its threads with it.
pub fn exit(status: i32) -> ! {
    // SAFETY: no memory is touched.
    unsafe { libc::_exit(status) }
}
