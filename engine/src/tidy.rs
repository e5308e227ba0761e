//! Makes an absolute path of one that a caller wrote: no empty components, no `.`, no `..`, no slash at the end.
//!
//! In place, a byte at a time, so that the kernel programs can drive [`Tidying::step`] with `bpf_loop`. Links are not
//! followed: what `..` takes back is the component that was written before it.

/// The bytes that are tidied.
pub trait Page {
    /// The byte at `at`; 0 where there is none.
    fn get(&self, at: u64) -> u8;
    /// Puts a byte there.
    fn put(&mut self, at: u64, byte: u8);
}

/// How far tidying has come. Positions in the page.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tidying {
    /// The path's first byte, a slash.
    at: u64,
    /// The next byte to look at.
    read: u64,
    /// Where it goes.
    write: u64,
    /// Where the component that is being written starts.
    start: u64,
    /// Where the page ends.
    room: u64,
    /// See [`READING`].
    state: u64,
    /// 1 when all was read.
    ended: u64,
}

/// Bytes are moved to where they belong.
const READING: u64 = 0;
/// A component is taken back, for `..`.
const BACK: u64 = 1;
/// The slash at the end was taken off: where the last component starts is looked for.
const TRIMMED: u64 = 2;
/// The path is tidy.
const TIDY: u64 = 3;
/// It does not end on the page.
const LOST: u64 = 4;

impl Tidying {
    /// The path that starts with a slash at `at`, on a page of `room` bytes.
    #[inline(always)]
    pub fn start(at: u64, room: u64) -> Self {
        let start = at + 1;
        Self { at, read: start, write: start, start, room, state: READING, ended: 0 }
    }

    /// Steps that it takes at most on a page of `room` bytes: each byte is read once, and at most twice gone back over.
    pub const fn steps(room: u32) -> u32 {
        3 * room
    }

    /// Where the last component starts, once the path is tidy.
    #[inline(always)]
    pub fn last(&self) -> u64 {
        self.start
    }

    /// Bytes of the path; 0 if it is not tidy.
    #[inline(always)]
    pub fn bytes(&self) -> u64 {
        if self.state == TIDY { self.write - self.at } else { 0 }
    }

    /// One step. Answers whether it is over.
    #[inline(always)]
    pub fn step<P: Page>(&mut self, page: &mut P) -> bool {
        if self.state == READING {
            self.read(page);
        } else if self.state == BACK || self.state == TRIMMED {
            if page.get(self.start - 1) != b'/' {
                self.start -= 1;
            } else if self.state == TRIMMED {
                self.state = TIDY;
            } else {
                self.write = self.start;
                self.state = READING;
                if self.ended != 0 {
                    self.end();
                }
            }
        }
        self.state >= TIDY
    }

    #[inline(always)]
    fn read<P: Page>(&mut self, page: &mut P) {
        if self.read >= self.room {
            self.state = LOST;
            return;
        }
        let next = page.get(self.read);
        self.read += 1;
        if next != b'/' && next != 0 {
            page.put(self.write, next);
            self.write += 1;
            return;
        }
        if next == 0 {
            self.ended = 1;
        }
        let bytes = self.write - self.start;
        let dots = (bytes == 1 || bytes == 2 && page.get(self.start + 1) == b'.')
            && page.get(self.start) == b'.';
        if dots {
            self.write = self.start;
            if bytes == 2 && self.start > self.at + 1 {
                self.start -= 1;
                self.state = BACK;
                return;
            }
        } else if bytes != 0 && next == b'/' {
            page.put(self.write, b'/');
            self.write += 1;
            self.start = self.write;
        }
        if self.ended != 0 {
            self.end();
        }
    }

    /// All was read.
    #[inline(always)]
    fn end(&mut self) {
        self.state = TIDY;
        if self.write == self.start && self.write > self.at + 1 {
            self.write -= 1;
            self.start = self.write;
            self.state = TRIMMED;
        }
    }
}
