//! Messages of the domain name system: which name is asked for, and which addresses an answer gives.
//!
//! In: the bytes of one message through [`Room`], as they are in a packet, without the length that TCP puts in front. Out:
//! the name of its question as it is decided on (small letters, labels last first, joined by `/`), and the addresses of its
//! answer. A byte or a record at a time, because the kernel programs drive it with `bpf_loop`. Nothing is believed here:
//! whether somebody asked for an answer is the caller's to know.
//!
//! What is not as RFC 1035 wants it has an outcome of its own: see [`Read`]. A name in a question is never compressed, so
//! a pointer there is malformed and cannot loop; in an answer names are passed over, not followed.

/// Bytes of the room a name is written to, its terminating zero included: a name has at most 253 characters.
pub const KEY_BYTES: u32 = 256;

/// Where the terminating zero is: names end there, whatever their length.
pub const KEY_END: u32 = KEY_BYTES - 1;

/// Characters of the longest name: 255 bytes on the wire, less the first length and the last.
const NAME_CHARACTERS: u32 = 253;

/// Bytes of the longest label.
const LABEL_BYTES: u32 = 63;

/// Bytes of a message's head.
const HEAD_BYTES: u32 = 12;

/// Bytes of a record behind its name and before its data.
const RECORD_BYTES: u32 = 10;

/// What stands for a byte of a label that would end the key or be taken for the end of a label. No name in a rule has it.
const STRANGE: u8 = 1;

/// Steps after which a question of any length is read.
pub const QUESTION_STEPS: u32 = 256;

/// Steps after which the records of an answer are no longer read: a record takes two, and one more for each label of its
/// name that is spelt out.
pub const RECORD_STEPS: u32 = 256;

/// Where a message is read from and its key is written to.
pub trait Room {
    /// The byte at `index` of the message; anything past its end, which is not looked at.
    fn message(&self, index: u32) -> u8;
    /// Writes the byte at `index`, at most [`KEY_END`], of the key.
    fn put(&mut self, index: u32, byte: u8);
}

/// Whether a query is expected or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Expected {
    /// A query.
    Query = 0,
    /// An answer.
    Answer = 1,
}

/// What reading a question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Read {
    /// It is not read yet.
    Reading = 0,
    /// Its name is known.
    Name = 1,
    /// The message asks nothing.
    NoQuestion = 2,
    /// It is an answer where a query was expected, or the other way round.
    OtherWay = 3,
    /// It ends before its question does.
    Cut = 4,
    /// Several questions (no server answers them), a compressed name, a label or name that is too long.
    Malformed = 5,
}

/// How far reading the question of a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Question {
    at: u32,
    length: u32,
    left: u32,
    write: u32,
    /// Where the key starts; it ends at [`KEY_END`].
    pub start: u32,
    /// What it has come to.
    pub read: Read,
}

impl Question {
    /// Before the question of a message of `length` bytes.
    #[inline(always)]
    pub fn start<R: Room + ?Sized>(room: &mut R, length: u32, expected: Expected) -> Self {
        let mut question =
            Self { at: HEAD_BYTES, length, left: 0, write: 0, start: KEY_END, read: Read::Reading };
        room.put(KEY_END, 0);
        if length < HEAD_BYTES {
            question.read = Read::Cut;
            return question;
        }
        let answers = u32::from(room.message(2) >> 7);
        let questions = pair(room, 4);
        if answers != expected as u32 {
            question.read = Read::OtherWay;
        } else if questions == 0 {
            question.read = Read::NoQuestion;
        } else if questions != 1 {
            question.read = Read::Malformed;
        }
        question
    }

    /// Reads one byte. Answers whether that is all there is to do.
    #[inline(always)]
    pub fn step<R: Room + ?Sized>(&mut self, room: &mut R) -> bool {
        if self.read as u32 != Read::Reading as u32 {
            return true;
        }
        if self.at >= self.length {
            self.read = Read::Cut;
            return true;
        }
        let byte = room.message(self.at);
        self.at += 1;
        if self.left > 0 {
            room.put(self.write, folded(byte));
            self.write += 1;
            self.left -= 1;
            return false;
        }
        if byte == 0 {
            // Type and class follow.
            self.read = if self.at + 4 > self.length { Read::Cut } else { Read::Name };
            return true;
        }
        let label = u32::from(byte);
        let slash = u32::from(self.start != KEY_END);
        if label > LABEL_BYTES || self.start < label + slash + (KEY_END - NAME_CHARACTERS) {
            self.read = Read::Malformed;
            return true;
        }
        self.start -= label + slash;
        if slash != 0 {
            room.put(self.start + label, b'/');
        }
        self.write = self.start;
        self.left = label;
        false
    }

    /// The type that is asked for.
    #[inline(always)]
    pub fn kind<R: Room + ?Sized>(&self, room: &R) -> u32 {
        pair(room, self.at)
    }

    /// Where the records behind the question start.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        self.at + 4
    }
}

/// A byte of a label as it is decided on.
#[inline(always)]
fn folded(byte: u8) -> u8 {
    if byte == 0 || byte == b'/' {
        STRANGE
    } else if byte.wrapping_sub(b'A') < 26 {
        byte + 32
    } else {
        byte
    }
}

/// Two bytes of the message, as a number.
#[inline(always)]
fn pair<R: Room + ?Sized>(room: &R, at: u32) -> u32 {
    u32::from(room.message(at)) << 8 | u32::from(room.message(at + 1))
}

/// Four bytes of the message, as a number.
#[inline(always)]
fn quad<R: Room + ?Sized>(room: &R, at: u32) -> u32 {
    pair(room, at) << 16 | pair(room, at + 2)
}

/// What a step over the records of an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// There is more.
    More = 0,
    /// An address: see [`Records`].
    Address = 1,
    /// All records are read.
    End = 2,
    /// The message ends before its records do, or is malformed.
    Broken = 3,
}

/// How far reading the records of an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Records {
    /// The last address: halves in host order, IPv4 as mapped IPv6.
    pub address: [u64; 2],
    /// Seconds for which it may be kept.
    pub lifetime: u32,
    at: u32,
    length: u32,
    left: u32,
    named: u32,
    reserved: u32,
}

const TYPE_A: u32 = 1;
const TYPE_AAAA: u32 = 28;
const CLASS_INTERNET: u32 = 1;

impl Records {
    /// Before the answer of a message whose question was read. A server that reports an error gives no addresses.
    #[inline(always)]
    pub fn start<R: Room + ?Sized>(room: &R, question: &Question) -> Self {
        let failed = room.message(3) & 15 != 0;
        let left = if failed { 0 } else { pair(room, 6) };
        Self {
            address: [0; 2],
            lifetime: 0,
            at: question.end(),
            length: question.length,
            left,
            named: 0,
            reserved: 0,
        }
    }

    /// Passes over a label of a record's name, or reads the rest of the record.
    #[inline(always)]
    pub fn step<R: Room + ?Sized>(&mut self, room: &R) -> Step {
        if self.left == 0 {
            return Step::End;
        }
        if self.named == 0 {
            if self.at >= self.length {
                return Step::Broken;
            }
            let label = u32::from(room.message(self.at));
            if label >= 0xc0 {
                self.at += 2;
                self.named = 1;
            } else if label > LABEL_BYTES {
                return Step::Broken;
            } else {
                self.at += 1 + label;
                self.named = u32::from(label == 0);
            }
            return Step::More;
        }
        let data = self.at + RECORD_BYTES;
        if data > self.length {
            return Step::Broken;
        }
        let (kind, class) = (pair(room, self.at), pair(room, self.at + 2));
        let lifetime = quad(room, self.at + 4);
        let bytes = pair(room, self.at + 8);
        if data + bytes > self.length {
            return Step::Broken;
        }
        self.at = data + bytes;
        self.left -= 1;
        self.named = 0;
        if class != CLASS_INTERNET {
            return Step::More;
        }
        // A lifetime with the highest bit set counts as none (RFC 2181).
        self.lifetime = if lifetime >> 31 != 0 { 0 } else { lifetime };
        if kind == TYPE_A && bytes == 4 {
            self.address = [0, 0xffff_0000_0000 | u64::from(quad(room, data))];
            return Step::Address;
        }
        if kind == TYPE_AAAA && bytes == 16 {
            let half = |at| u64::from(quad(room, at)) << 32 | u64::from(quad(room, at + 4));
            self.address = [half(data), half(data + 8)];
            return Step::Address;
        }
        Step::More
    }
}

/// Bytes of a message and room for its key, for readers that are not kernel programs.
#[derive(Clone, Copy, Debug)]
pub struct Sheet<'a> {
    message: &'a [u8],
    key: [u8; KEY_BYTES as usize],
}

impl<'a> Sheet<'a> {
    /// A sheet for `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, key: [0; KEY_BYTES as usize] }
    }

    /// Reads the question. Answers the outcome and, if it has a name, the key.
    pub fn question(&mut self, expected: Expected) -> (Question, Option<&[u8]>) {
        let length = u32::try_from(self.message.len()).unwrap_or(u32::MAX);
        let mut question = Question::start(self, length, expected);
        for _ in 0..QUESTION_STEPS {
            if question.step(self) {
                break;
            }
        }
        let key = match question.read {
            Read::Name => self.key.get(question.start as usize..KEY_END as usize),
            Read::Reading | Read::NoQuestion | Read::OtherWay | Read::Cut | Read::Malformed => None,
        };
        (question, key)
    }

    /// Hands every address of the answer behind `question` to `each`. Answers [`Step::End`] if all records were read.
    pub fn addresses(&self, question: &Question, mut each: impl FnMut(&Records)) -> Step {
        let mut records = Records::start(self, question);
        for _ in 0..RECORD_STEPS {
            match records.step(self) {
                Step::More => {}
                Step::Address => each(&records),
                last @ (Step::End | Step::Broken) => return last,
            }
        }
        Step::More
    }
}

impl Room for Sheet<'_> {
    fn message(&self, index: u32) -> u8 {
        self.message.get(index as usize).copied().unwrap_or(0)
    }

    fn put(&mut self, index: u32, byte: u8) {
        if let Some(place) = self.key.get_mut(index as usize) {
            *place = byte;
        }
    }
}
