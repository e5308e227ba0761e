//! The least of io_uring: one entry in, one answer out.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::{self, Mapping, call};

/// `IORING_SETUP_SQPOLL`: a kernel thread takes the entries.
pub const SQPOLL: u32 = 1 << 1;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const NEED_WAKEUP: u32 = 1;
const OFFSET_SQES: i64 = 0x1000_0000;

/// `IORING_OP_CONNECT`
pub const CONNECT: u8 = 16;
/// `IORING_OP_OPENAT`
pub const OPENAT: u8 = 18;
/// `IORING_OP_READ`
pub const READ: u8 = 22;
/// `IORING_OP_WRITE`
pub const WRITE: u8 = 23;
/// `IORING_OP_SEND`
pub const SEND: u8 = 26;
/// `IORING_OP_UNLINKAT`
pub const UNLINKAT: u8 = 36;
/// `IORING_OP_RENAMEAT`
pub const RENAMEAT: u8 = 35;

/// A submission entry, as the kernel reads it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    /// Operation.
    pub opcode: u8,
    /// 1 if the descriptor is an index of the ring's own table.
    pub flags: u8,
    /// Unused here.
    pub priority: u16,
    /// Descriptor.
    pub file: i32,
    /// Offset or second address.
    pub offset: u64,
    /// Address.
    pub address: u64,
    /// Length.
    pub length: u32,
    /// Flags of the operation.
    pub operation_flags: u32,
    /// Unused here.
    pub user_data: u64,
    /// Unused here.
    pub buffer: u16,
    /// Unused here.
    pub personality: u16,
    /// Index of the ring's own table that a new descriptor goes to, plus 1.
    pub file_index: u32,
    /// Unused here.
    pub rest: [u64; 2],
}

/// A ring.
#[derive(Debug)]
pub struct Ring {
    file: OwnedFd,
    rings: Mapping,
    entries: Mapping,
    parameters: [u32; 30],
    polled: bool,
}

impl Ring {
    /// One with eight entries.
    pub fn new(flags: u32) -> io::Result<Self> {
        let mut parameters = [0_u32; 30];
        parameters[2] = flags;
        if flags & SQPOLL != 0 {
            // Milliseconds until the kernel's thread rests.
            parameters[4] = 2000;
        }
        let file = sys::owned(call!(SYS_io_uring_setup, 8, sys::into(&mut parameters))?);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let map = |length: usize, offset: i64| -> io::Result<Mapping> {
            let address = call!(SYS_mmap, 0, length, protection, libc::MAP_SHARED, &file, offset)?;
            Ok(Mapping { address: address as usize, len_bytes: length })
        };
        let (rings, entries) = (map(8192, 0)?, map(4096, OFFSET_SQES)?);
        Ok(Self { file, rings, entries, parameters, polled: flags & SQPOLL != 0 })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the kernel gave the offset; it lies in the mapping, is aligned, and both sides change it atomically.
        unsafe { &*((self.rings.address + offset as usize) as *const AtomicU32) }
    }

    /// Gives the ring a table of its own with one free place.
    pub fn with_table(self) -> io::Result<Self> {
        let files = [-1_i32];
        const REGISTER_FILES: i32 = 2;
        call!(SYS_io_uring_register, &self.file, REGISTER_FILES, sys::at(&files), 1)?;
        Ok(self)
    }

    /// Does one operation and answers its result.
    pub fn act(&self, entry: Entry) -> io::Result<i32> {
        // Words 10 to 19 are the offsets of the submission ring, 20 to 29 those of the completion ring.
        let (tail, mask, flags, array) =
            (self.parameters[11], self.parameters[12], self.parameters[14], self.parameters[16]);
        let at = self.word(tail).load(Ordering::Acquire);
        let index = at & self.word(mask).load(Ordering::Relaxed);
        let slot = Mapping {
            address: self.entries.address + index as usize * size_of::<Entry>(),
            len_bytes: size_of::<Entry>(),
        };
        slot.write(sys::bytes_of(&entry));
        self.word(array + index * 4).store(index, Ordering::Relaxed);
        self.word(tail).store(at.wrapping_add(1), Ordering::Release);
        let mut how = ENTER_GETEVENTS;
        if self.polled && self.word(flags).load(Ordering::SeqCst) & NEED_WAKEUP != 0 {
            how |= ENTER_SQ_WAKEUP;
        }
        call!(SYS_io_uring_enter, &self.file, 1, 1, how, 0, 0)?;
        let (head, completions) = (self.parameters[20], self.parameters[25]);
        let completed = self.word(head).load(Ordering::Acquire);
        let mask = self.word(self.parameters[22]).load(Ordering::Relaxed);
        // user_data, result, flags: 16 bytes.
        let result = self.word(completions + (completed & mask) * 16 + 8).load(Ordering::Acquire);
        self.word(head).store(completed.wrapping_add(1), Ordering::Release);
        let result = result as i32;
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
    }
}

/// The address of something that an entry names; it must outlive the operation.
pub fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

/// Opens for reading through the ring.
pub fn open(ring: &Ring, path: &str, flags: i32) -> io::Result<OwnedFd> {
    let path = sys::text(path);
    let entry = Entry {
        opcode: OPENAT,
        file: libc::AT_FDCWD,
        address: address(path.as_bytes_with_nul()),
        length: 0o644,
        operation_flags: flags as u32,
        ..Entry::default()
    };
    ring.act(entry).map(|descriptor| sys::owned(descriptor.into()))
}
