//! Memory that the agent shares with somebody: a BPF array map with the kernel, a file with the next agent.

use std::{
    io,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared, writable mapping of a memory-mappable array map or of a file that nobody shortens.
#[derive(Debug)]
pub struct MappedArray {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is owned by this value alone and is only reached through `&mut self` or copied out of.
unsafe impl Send for MappedArray {}
// SAFETY: shared access only copies bytes out.
unsafe impl Sync for MappedArray {}

impl MappedArray {
    /// Maps the first `bytes` of the array or file behind `map`.
    pub fn new(map: impl AsFd, bytes: usize) -> io::Result<Self> {
        // SAFETY: no address is asked for, so nothing that exists can be replaced.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map,
                0,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, bytes })
    }

    /// Copies `source` to `offset`. The kernel must not be reading there: see `kernel::slots`.
    pub fn write(&mut self, offset: usize, source: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(source.len()).filter(|end| *end <= self.bytes);
        if end.is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `offset` is inside the mapping.
        let target = unsafe { self.base.add(offset) };
        // SAFETY: the range was checked against the mapping; `source` is other memory.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), source.len()) };
        Ok(())
    }

    /// Stores one word at `offset`, a multiple of 8, in one piece.
    pub fn store(&mut self, offset: usize, word: u64) -> io::Result<()> {
        if !offset.is_multiple_of(8) || offset + 8 > self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `offset` is inside the mapping.
        let target = unsafe { self.base.add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned, inside the mapping, and only ever accessed atomically or by the kernel.
        unsafe { target.as_ref() }.store(word, Ordering::SeqCst);
        Ok(())
    }

    /// Clears bits of the byte at `offset` and then sets others.
    pub fn change_bits(&mut self, offset: usize, clear: u8, set: u8) -> io::Result<()> {
        if offset >= self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `offset` is inside the mapping.
        let target = unsafe { self.base.add(offset) }.cast::<AtomicU8>();
        // SAFETY: inside the mapping; a byte that is changed so is never written otherwise while somebody reads it.
        let byte = unsafe { target.as_ref() };
        byte.fetch_and(!clear, Ordering::SeqCst);
        byte.fetch_or(set, Ordering::SeqCst);
        Ok(())
    }

    /// Reads one word at `offset`, a multiple of 8, in one piece.
    pub fn load(&self, offset: usize) -> io::Result<u64> {
        if !offset.is_multiple_of(8) || offset + 8 > self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `offset` is inside the mapping.
        let source = unsafe { self.base.add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned, inside the mapping, and only ever accessed atomically or by the kernel.
        Ok(unsafe { source.as_ref() }.load(Ordering::SeqCst))
    }

    /// Appends `bytes` at `offset` to `target`.
    pub fn append_to(&self, offset: usize, bytes: usize, target: &mut Vec<u8>) -> io::Result<()> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes);
        if end.is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let before = target.len();
        target.resize(before + bytes, 0);
        // SAFETY: `offset` is inside the mapping.
        let source = unsafe { self.base.add(offset) };
        let place = target[before..].as_mut_ptr();
        // SAFETY: the range was checked against the mapping; `target` is other memory and has so much room from `place`.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), place, bytes) };
        Ok(())
    }

    /// Whether `expected` is at `offset`. In pieces: memory for all of it would be asked of the system and given back each time.
    pub fn holds(&self, offset: usize, expected: &[u8]) -> io::Result<bool> {
        const PIECE: usize = 16 << 10;
        let mut piece = Vec::with_capacity(PIECE.min(expected.len()));
        for (at, expected) in (offset..).step_by(PIECE).zip(expected.chunks(PIECE)) {
            piece.clear();
            self.append_to(at, expected.len(), &mut piece)?;
            if piece != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies `bytes` at `offset` out.
    pub fn read(&self, offset: usize, bytes: usize) -> io::Result<Vec<u8>> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.bytes);
        if end.is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut copied = vec![0; bytes];
        // SAFETY: `offset` is inside the mapping.
        let source = unsafe { self.base.add(offset) };
        // SAFETY: the range was checked against the mapping; `copied` is other memory of that size.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), copied.as_mut_ptr(), bytes) };
        Ok(copied)
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size and not handed out.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        if let Err(error) = unmapped {
            tracing::warn!(%error, "shared memory stays mapped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_change_anywhere_is_seen_and_what_is_outside_is_an_error() {
        let bytes: Vec<u8> = (0..50_000u32).map(|number| (number % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let mut memory = MappedArray::new(&file, bytes.len()).unwrap();
        assert!(memory.holds(0, &bytes).unwrap() && memory.holds(3, &bytes[3..]).unwrap());
        assert!(
            memory.holds(1, &bytes[1..]).unwrap()
                && memory.holds(49_999, &bytes[49_998..]).is_err()
        );
        for at in [0, 16_383, 16_384, 49_999] {
            memory.write(at, &[255]).unwrap();
            assert!(!memory.holds(0, &bytes).unwrap(), "{at}");
            memory.write(at, &bytes[at..=at]).unwrap();
        }
        assert!(memory.holds(0, &bytes).unwrap());
    }
}
