//! A disk that forgets what was not flushed when its machine loses power, as disks with a cache of their own do.
//!
//! It is a network block device of the kind that QEMU talks to, over a socket of the file system: bytes in memory, the
//! last ones of which are kept for certain only once the guest asked for that. [`ForgetfulDisk::cut`] is the loss of power:
//! of what was not flushed some writes stay, some go, some are torn. The protocol is that of `nbd-server`'s
//! documentation, `proto.md`: fixed newstyle, simple replies.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
/// Fixed newstyle, and no padding.
const HANDSHAKE: u16 = 3;
const OPTION_REPLY: u64 = 0x3_e889_0455_65a9;
const OPTION_ABORT: u32 = 2;
const OPTION_GO: u32 = 7;
const ACKNOWLEDGED: u32 = 1;
const INFORMATION: u32 = 3;
const UNSUPPORTED: u32 = 1 << 31 | 1;
/// It has flags, and can flush, also with a write.
const EXPORT: u16 = 1 | 1 << 2 | 1 << 3;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
const WITH_FLUSH: u16 = 1;
/// The most that is asked for at once.
const LONGEST: u32 = 64 << 20;
const EINVAL: u32 = 22;
const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Content {
    /// As the guest reads it.
    seen: Vec<u8>,
    /// What stays whatever happens.
    kept: Vec<u8>,
    /// What was written since the last flush, in order.
    pending: Vec<(usize, Vec<u8>)>,
    flushes: u64,
}

impl Content {
    fn write(&mut self, at: usize, bytes: Vec<u8>) {
        self.seen[at..at + bytes.len()].copy_from_slice(&bytes);
        self.pending.push((at, bytes));
    }

    fn flush(&mut self) {
        for (at, bytes) in self.pending.drain(..) {
            self.kept[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        self.flushes += 1;
    }

    fn cut(&mut self, mut random: u64) -> usize {
        let mut forgotten = 0;
        for (at, bytes) in self.pending.drain(..) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let sectors = bytes.len() / SECTOR;
            let stays = match random % 3 {
                0 => 0,
                1 => (random / 3) as usize % (sectors + 1) * SECTOR,
                _all => bytes.len(),
            };
            forgotten += usize::from(stays < bytes.len());
            self.kept[at..at + stays].copy_from_slice(&bytes[..stays]);
        }
        self.seen.clone_from(&self.kept);
        forgotten
    }
}

/// The disk. It is served until the program ends.
#[derive(Debug)]
pub struct ForgetfulDisk {
    content: Arc<Mutex<Content>>,
    socket: PathBuf,
}

impl ForgetfulDisk {
    /// A disk with this content, served at `socket`.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve(content: Vec<u8>, socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let content = Content { seen: content.clone(), kept: content, ..Content::default() };
        let content = Arc::new(Mutex::new(content));
        let served = Arc::clone(&content);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A machine that is gone is no failure.
                let _gone = converse(stream, &served);
            }
        });
        Ok(Self { content, socket: socket.to_owned() })
    }

    /// What QEMU calls it.
    pub fn name(&self) -> String {
        format!("nbd:unix:{}", self.socket.display())
    }

    /// Whether something was written that is not flushed.
    pub fn is_dirty(&self) -> bool {
        !lock(&self.content).pending.is_empty()
    }

    /// The machine has lost power. Answers how many writes were forgotten, all of them or a part, and how often it had been
    /// asked to keep what was written.
    pub fn cut(&self, random: u64) -> (usize, u64) {
        let mut content = lock(&self.content);
        (content.cut(random), content.flushes)
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<const BYTES: usize>(stream: &mut UnixStream) -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(stream: &mut UnixStream) -> io::Result<u32> {
    read(stream).map(u32::from_be_bytes)
}

fn bytes(stream: &mut UnixStream, count: u32) -> io::Result<Vec<u8>> {
    if count > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; count as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn converse(mut stream: UnixStream, content: &Mutex<Content>) -> io::Result<()> {
    stream.write_all(GREETING)?;
    stream.write_all(&HANDSHAKE.to_be_bytes())?;
    let _flags = number(&mut stream)?;
    loop {
        let _magic: [u8; 8] = read(&mut stream)?;
        let option = number(&mut stream)?;
        let len = number(&mut stream)?;
        let _asked = bytes(&mut stream, len)?;
        let reply = |kind: u32, data: &[u8]| {
            let head =
                [&OPTION_REPLY.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes()];
            [&head.concat()[..], &(data.len() as u32).to_be_bytes(), data].concat()
        };
        match option {
            OPTION_GO => {
                let size = lock(content).seen.len() as u64;
                let export = [&0_u16.to_be_bytes()[..], &size.to_be_bytes(), &EXPORT.to_be_bytes()];
                stream.write_all(&reply(INFORMATION, &export.concat()))?;
                stream.write_all(&reply(ACKNOWLEDGED, &[]))?;
                return transmit(stream, content);
            }
            OPTION_ABORT => return stream.write_all(&reply(ACKNOWLEDGED, &[])),
            _other => stream.write_all(&reply(UNSUPPORTED, &[]))?,
        }
    }
}

fn transmit(mut stream: UnixStream, content: &Mutex<Content>) -> io::Result<()> {
    loop {
        if number(&mut stream)? != REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let flags: [u8; 2] = read(&mut stream)?;
        let kind: [u8; 2] = read(&mut stream)?;
        let cookie: [u8; 8] = read(&mut stream)?;
        let at = u64::from_be_bytes(read(&mut stream)?);
        let len = number(&mut stream)?;
        let kind = Kind::of(u16::from_be_bytes(kind));
        let written = match kind {
            Some(Kind::Write) => bytes(&mut stream, len)?,
            Some(Kind::Read | Kind::Disconnect | Kind::Flush) | None => Vec::new(),
        };
        let mut content = lock(content);
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let end = at.checked_add(len as usize).filter(|end| *end <= content.seen.len());
        let (error, data) = match (kind, end) {
            (Some(Kind::Disconnect), _) => return Ok(()),
            (Some(Kind::Flush), _) => {
                content.flush();
                (0, Vec::new())
            }
            (Some(Kind::Read), Some(end)) => (0, content.seen[at..end].to_vec()),
            (Some(Kind::Write), Some(_)) => {
                content.write(at, written);
                if u16::from_be_bytes(flags) & WITH_FLUSH != 0 {
                    // More than was asked for is kept; never less.
                    content.flush();
                }
                (0, Vec::new())
            }
            (Some(Kind::Read | Kind::Write), None) | (None, _) => (EINVAL, Vec::new()),
        };
        drop(content);
        let head = [&REPLY.to_be_bytes()[..], &u32::to_be_bytes(error), &cookie];
        stream.write_all(&[&head.concat()[..], &data].concat())?;
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
    Disconnect,
    Flush,
}

impl Kind {
    fn of(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Read),
            1 => Some(Self::Write),
            2 => Some(Self::Disconnect),
            3 => Some(Self::Flush),
            _other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Content;

    #[test]
    fn what_was_flushed_stays_and_of_the_rest_some_is_forgotten() {
        let mut forgotten = 0;
        for random in 1..50 {
            let mut content =
                Content { seen: vec![0; 4_096], kept: vec![0; 4_096], ..Content::default() };
            content.write(0, vec![1; 1_024]);
            content.flush();
            content.write(512, vec![2; 512]);
            content.write(2_048, vec![3; 1_024]);
            assert_eq!(content.seen[512], 2, "what was written is read");
            forgotten += content.cut(random);
            assert_eq!(content.seen[..512], [1; 512]);
            assert!([1, 2].contains(&content.seen[512]));
            assert_eq!(
                content.seen[2_560..3_072].iter().filter(|byte| **byte == 0).count() % 512,
                0
            );
        }
        assert!(forgotten > 20, "{forgotten}");
    }
}
