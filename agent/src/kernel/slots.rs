//! Puts a policy image into the idle slot and makes it live by one atomic write.
//!
//! ```text
//! grace period -> write idle slot -> read back -> stage (new processes are labelled for it too) -> label what runs
//!              -> flip -> grace period -> sweep labels of the old generation
//! ```
//! The first grace period makes sure that no program still reads the idle slot since it was live; the second that no
//! program still writes labels of the old generation.

use std::{io, mem::offset_of, path::Path};

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use interdict_abi::{
    ids::{Act, Fact, Family, Generation, Mode, OUT_AND_CONNECT},
    image::{HEADER_BYTES, header},
    maps::{Control, Gate, Gates, Rate, RuleKey, names},
};
use interdict_engine::{Memory as _, facts};
use interdict_rules::live::{Feeds, Patch, Step};
use thiserror::Error;
use zerocopy::IntoBytes as _;

use super::{
    labels::{LabelError, Labels},
    loader::{LoadError, Loaded},
};
use crate::sys::{barrier, mapped::MappedArray};

/// What can go wrong while swapping policies. The old policy stays in force in every case.
#[derive(Debug, Error)]
pub enum SwapError {
    /// A map is gone.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map refused to be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// A slot could not be mapped, written or read.
    #[error("image slot: {0}")]
    Slot(#[source] io::Error),
    /// What was read back is not what was written.
    #[error(
        "the image slot holds something else than was written: its memory was changed by somebody else"
    )]
    ReadBack,
    /// The kernel offers no grace period.
    #[error("membarrier: {0} (machines with nohz_full processors are not supported)")]
    Grace(#[source] io::Error),
    /// Processes could not be labelled.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// The image is larger than a slot.
    #[error("the image has {have} bytes, a slot {slot}")]
    TooLarge {
        /// Bytes of the image.
        have: usize,
        /// Bytes of a slot.
        slot: usize,
    },
}

/// How acts may pass under `image` without being judged.
fn gates(generation: Generation, image: &[u8]) -> Gates {
    let packet = |act| gate(generation, image, Family::Packet, act);
    let flow = |act: Act| gate(generation, image, Family::Net, act.value());
    Gates {
        interface: packet(Act::PacketIn.value()),
        out: packet(Act::PacketOut.value()),
        asking: packet(OUT_AND_CONNECT),
        accept: packet(Act::PacketAccept.value()),
        connect: flow(Act::NetConnect),
        send: flow(Act::NetSend),
    }
}

/// Gates that claim nothing of whole blocks of addresses: what a patch lists may be in any.
fn unbounded(gates: Gates) -> Gates {
    let gate = |gate: Gate| Gate { near_v4: 0, spread_v4: 0, scattered_v4: 0, ..gate };
    Gates {
        interface: gate(gates.interface),
        out: gate(gates.out),
        asking: gate(gates.asking),
        accept: gate(gates.accept),
        connect: gate(gates.connect),
        send: gate(gates.send),
    }
}

/// The same for one act; nothing where there is no such short cut.
fn gate(generation: Generation, image: &[u8], family: Family, act: u32) -> Gate {
    let Some((remote, local)) = facts::gate(image, family, act) else {
        return Gate::default();
    };
    let word = |asked: bool, offset: u32, prefix| match (asked, offset) {
        (false, _) => Gate::word(generation.0, 0, 0),
        (true, 0) => Gate::word(generation.0, 0, Gate::SEARCH),
        (true, offset) => Gate::word(generation.0, offset, prefix),
    };
    let blocks = facts::blocks_v4(image, family, Fact::RemoteIp);
    let bits = |bits: u32| u64::from(generation.0) << 32 | u64::from(bits);
    Gate {
        remote_v4: word(remote.asked, remote.v4, 0),
        remote_v6: word(remote.asked, remote.v6, remote.prefix),
        local_v4: word(local.asked, local.v4, 0),
        local_v6: word(local.asked, local.v6, local.prefix),
        near_v4: bits(blocks.near),
        spread_v4: bits(blocks.spread),
        scattered_v4: bits(blocks.scattered),
    }
}

/// The two image slots of a loaded instance.
pub struct Slots {
    control: Array<MapData, Control>,
    words: MappedArray,
    memory: MappedArray,
    slot_bytes: usize,
    labels: Labels,
    rate_map: HashMap<MapData, RuleKey, Rate>,
    rates: Vec<(u32, Rate)>,
    /// Generations up to this one are taken by other instances: a number must not come back, or records would be read
    /// with another policy's words.
    taken: Generation,
}

impl Slots {
    /// Maps the slots of `loaded`.
    ///
    /// # Errors
    /// A map is gone or cannot be mapped.
    pub fn open(loaded: &Loaded) -> Result<Self, SwapError> {
        let refused = |map| move |source| SwapError::Map { map, source };
        let control =
            Array::try_from(loaded.map(names::CONTROL)?).map_err(refused(names::CONTROL))?;
        let words = super::loader::open_map(&loaded.directory().join("maps").join(names::CONTROL))?;
        let words = MappedArray::new(words.fd(), size_of::<Control>()).map_err(SwapError::Slot)?;
        let image = super::loader::open_map(&loaded.directory().join("maps").join(names::IMAGE))?;
        let memory =
            MappedArray::new(image.fd(), 2 * loaded.slot_bytes()).map_err(SwapError::Slot)?;
        Ok(Self {
            control,
            words,
            memory,
            slot_bytes: loaded.slot_bytes(),
            labels: Labels::open(loaded)?,
            rate_map: HashMap::try_from(loaded.map(names::RATES)?)
                .map_err(refused(names::RATES))?,
            rates: Vec::new(),
            taken: Generation(0),
        })
    }

    /// Numbers the next policies after those of another instance, and takes over what it knows of processes. The programs
    /// that keep processes up to date must be attached.
    ///
    /// # Errors
    /// Its map cannot be read.
    pub fn number_after(&mut self, instance: &Path) -> Result<(), SwapError> {
        let refused = |source| SwapError::Map { map: names::CONTROL, source };
        let map = super::loader::open_map(&instance.join("maps").join(names::CONTROL))?;
        let map = Map::from_map_data(map).map_err(refused)?;
        let control: Array<MapData, Control> = Array::try_from(map).map_err(refused)?;
        let active = control.get(&0, 0).map_err(refused)?.active;
        self.taken = self.taken.max(Generation(active as u32));
        self.labels.take_over(instance);
        Ok(())
    }

    /// What the kernel programs are told now.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn control(&self) -> Result<Control, SwapError> {
        self.control.get(&0, 0).map_err(|source| SwapError::Map { map: names::CONTROL, source })
    }

    /// Tells the kernel programs, word by word, each in one piece. The generation in force comes before the end of its
    /// staging: in between, new processes are labelled for it twice, never not at all.
    fn tell(&mut self, control: Control) -> Result<(), SwapError> {
        let words = [
            (offset_of!(Control, agent), control.agent),
            (offset_of!(Control, seeder), control.seeder),
            (offset_of!(Control, mode), control.mode),
            (offset_of!(Control, inside), control.inside),
            (offset_of!(Control, rates), control.rates),
            (offset_of!(Control, repeats_gone), control.repeats_gone),
            (offset_of!(Control, active), control.active),
            (offset_of!(Control, staged), control.staged),
        ];
        // Each names the generation it is about: before that is in force it says nothing.
        let gates = control.gates.as_bytes().chunks_exact(8).zip((0..).step_by(8));
        let gates = gates.filter_map(|(word, at)| {
            Some((offset_of!(Control, gates) + at, u64::from_ne_bytes(*word.first_chunk()?)))
        });
        for (offset, word) in gates.chain(words) {
            self.words.store(offset, word).map_err(SwapError::Slot)?;
        }
        Ok(())
    }

    /// The generation in force.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn active(&self) -> Result<Generation, SwapError> {
        Ok(Generation(self.control()?.active as u32))
    }

    /// The generation that the next swap makes.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn next(&self) -> Result<Generation, SwapError> {
        let active = self.active()?;
        let next = Generation(active.max(self.taken).0.wrapping_add(1).max(1));
        // The idle slot is the one that is not in force.
        let same_slot = active.0 != 0 && next.slot() == active.slot();
        Ok(if same_slot { Generation(next.0.wrapping_add(1)) } else { next })
    }

    /// The bytes in the slot of the generation in force, if there is one.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn active_image(&self) -> Result<Option<Vec<u8>>, SwapError> {
        let active = self.active()?;
        if active.0 == 0 {
            return Ok(None);
        }
        let start = active.slot() as usize * self.slot_bytes;
        self.memory.read(start, self.slot_bytes).map(Some).map_err(SwapError::Slot)
    }

    /// What the image of a generation has at `header::KEPT_ARGS`; 0 if there is none.
    fn kept_args(&self, generation: u64) -> Result<u32, SwapError> {
        if generation == 0 {
            return Ok(0);
        }
        let start = Generation(generation as u32).slot() as usize * self.slot_bytes;
        let bytes = self.memory.read(start, HEADER_BYTES as usize).map_err(SwapError::Slot)?;
        Ok(bytes[..].word(header::KEPT_ARGS))
    }

    /// Makes `image` the policy in force, under `mode`. Answers its generation.
    ///
    /// # Errors
    /// See [`SwapError`]; the old policy stays in force.
    pub fn swap(&mut self, image: &[u8], mode: Mode) -> Result<Generation, SwapError> {
        if image.len() > self.slot_bytes {
            return Err(SwapError::TooLarge { have: image.len(), slot: self.slot_bytes });
        }
        let before = self.control()?;
        let next = self.next()?;
        barrier::grace_period().map_err(SwapError::Grace)?;
        let start = next.slot() as usize * self.slot_bytes;
        self.memory.write(start, image).map_err(SwapError::Slot)?;
        if self.memory.read(start, image.len()).map_err(SwapError::Slot)? != image {
            return Err(SwapError::ReadBack);
        }
        self.labels.sweep(&[Generation(before.active as u32)])?;
        self.stage_rates(next)?;
        let agent = u64::from(std::process::id());
        self.tell(Control { staged: u64::from(next.0), agent, ..before })?;
        let before_args = (Generation(before.active as u32), self.kept_args(before.active)?);
        // Whoever forked or executed before this knew nothing of the new generation: let them finish.
        let labelled = barrier::grace_period()
            .map_err(SwapError::Grace)
            .and_then(|()| self.labels.seed(next, image, before_args).map_err(SwapError::Labels));
        if let Err(error) = labelled {
            self.tell(Control { staged: 0, agent, ..before })?;
            return Err(error);
        }
        self.tell(Control {
            active: u64::from(next.0),
            staged: 0,
            mode: mode as u64,
            agent,
            gates: gates(next, image),
            rates: u64::from(!self.rates.is_empty()),
            ..before
        })?;
        barrier::grace_period().map_err(SwapError::Grace)?;
        self.labels.sweep(&[next])?;
        self.sweep_rates(next);
        Ok(next)
    }

    /// Makes a patch in the image in force, write by write: see `interdict_rules::live`.
    ///
    /// # Errors
    /// It does not fit the slot, or a map cannot be read.
    pub fn patch(&mut self, patch: &Patch) -> Result<(), SwapError> {
        let before = self.control()?;
        self.tell(Control { gates: unbounded(before.gates), ..before })?;
        let start = self.active()?.slot() as usize * self.slot_bytes;
        let fits = |at: u32, bytes: usize| at as usize + bytes <= self.slot_bytes;
        let memory = &mut self.memory;
        for step in patch.steps() {
            let made = match step {
                Step::Fill(at, bytes) if fits(at, bytes.len()) => {
                    memory.write(start + at as usize, bytes)
                }
                // In one piece, and after all that was filled.
                Step::Store(at, word) if fits(at, 8) => memory.store(start + at as usize, word),
                Step::Set(at, bits) if fits(at, 1) => {
                    memory.change_bits(start + at as usize, 0, bits)
                }
                Step::Clear(at, bits) if fits(at, 1) => {
                    memory.change_bits(start + at as usize, bits, 0)
                }
                Step::Fill(..) | Step::Store(..) | Step::Set(..) | Step::Clear(..) => {
                    Err(io::ErrorKind::InvalidInput.into())
                }
            };
            made.map_err(SwapError::Slot)?;
        }
        Ok(())
    }

    /// Writes length and checksum of the image in force, after patches. No program reads them.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn seal(&mut self, word: u64) -> Result<(), SwapError> {
        let start = self.active()?.slot() as usize * self.slot_bytes;
        self.memory.store(start + header::LENGTH as usize, word).map_err(SwapError::Slot)
    }

    /// Waits until no program reads any more what a patch has replaced.
    ///
    /// # Errors
    /// The kernel offers no grace period.
    pub fn settle(&self) -> Result<(), SwapError> {
        barrier::grace_period().map_err(SwapError::Grace)
    }

    /// Keeps how many decisions were counted in rows of repeats that are removed.
    ///
    /// # Errors
    /// The map cannot be read or written.
    pub fn repeats_gone(&mut self, more: u64) -> Result<(), SwapError> {
        let control = self.control()?;
        self.tell(Control { repeats_gone: control.repeats_gone + more, ..control })
    }

    /// Rates of the rules of the next policy, by rule.
    pub fn rates(&mut self, rates: Vec<(u32, Rate)>) {
        self.rates = rates;
    }

    fn stage_rates(&mut self, generation: Generation) -> Result<(), SwapError> {
        for (rule, rate) in &self.rates {
            let key = RuleKey { generation: generation.0, rule: *rule };
            self.rate_map
                .insert(key, rate, 0)
                .map_err(|source| SwapError::Map { map: names::RATES, source })?;
        }
        Ok(())
    }

    /// Takes rates of other generations away. What stays behind costs room and says nothing.
    fn sweep_rates(&mut self, keep: Generation) {
        let keys: Vec<RuleKey> = self.rate_map.keys().filter_map(Result::ok).collect();
        for key in keys.iter().filter(|key| key.generation != keep.0) {
            let _gone = self.rate_map.remove(key);
        }
    }

    /// Changes whether packets inside packets are judged too.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn look_inside(&mut self, inside: bool) -> Result<(), SwapError> {
        let control = self.control()?;
        self.tell(Control { inside: u64::from(inside), ..control })
    }

    /// Names the thread whose questions teach the kernel programs names; 0 for none.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_seeder(&mut self, thread: u64) -> Result<(), SwapError> {
        let control = self.control()?;
        self.tell(Control { seeder: thread, ..control })
    }

    /// Changes the agent-wide mode of the policy in force.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn set_mode(&mut self, mode: Mode) -> Result<(), SwapError> {
        let control = self.control()?;
        let agent = u64::from(std::process::id());
        self.tell(Control { mode: mode as u64, agent, ..control })
    }
}

/// Bytes of an image compared in one look: a few milliseconds.
const WINDOW: usize = 8 << 20;

/// Compares what the kernel programs read with what was written.
#[derive(Debug)]
pub struct Watch {
    words: MappedArray,
    memory: MappedArray,
    start: usize,
    image: Vec<u8>,
    at: usize,
    active: u64,
    mode: u64,
}

impl Watch {
    /// Watches the image in force in `loaded`.
    ///
    /// # Errors
    /// A map is gone or cannot be mapped.
    pub fn open(
        loaded: &Loaded,
        generation: Generation,
        mode: Mode,
        image: &[u8],
    ) -> Result<Self, SwapError> {
        let map = |name| super::loader::open_map(&loaded.directory().join("maps").join(name));
        let words = MappedArray::new(map(names::CONTROL)?.fd(), size_of::<Control>());
        let memory = MappedArray::new(map(names::IMAGE)?.fd(), 2 * loaded.slot_bytes());
        Ok(Self {
            words: words.map_err(SwapError::Slot)?,
            memory: memory.map_err(SwapError::Slot)?,
            start: generation.slot() as usize * loaded.slot_bytes(),
            image: image.to_vec(),
            at: 0,
            active: u64::from(generation.0),
            mode: mode as u64,
        })
    }

    /// A patch has been made in the image in force.
    pub fn patched(&mut self, patch: &Patch) {
        patch.steps().for_each(|step| step.apply(&mut self.image));
    }

    /// Makes the image a whole one again after patches; answers the word to [seal](Slots::seal) the other with.
    pub fn sealed(&mut self, length: usize) -> u64 {
        self.image.resize(length, 0);
        Feeds::sealed(&mut self.image)
    }

    /// What is not as it was written; of a large image the next part is looked at.
    pub fn look(&mut self) -> Option<String> {
        let word = |offset| {
            let bytes = self.words.read(offset, 8).ok()?;
            Some(u64::from_ne_bytes(*bytes.first_chunk()?))
        };
        if word(offset_of!(Control, active)) != Some(self.active) {
            return Some("another policy was put in force by somebody else".to_owned());
        }
        if word(offset_of!(Control, mode)) != Some(self.mode) {
            return Some("the mode was changed by somebody else".to_owned());
        }
        let end = (self.at + WINDOW).min(self.image.len());
        let part = self.image.get(self.at..end)?;
        if !matches!(self.memory.holds(self.start + self.at, part), Ok(true)) {
            return Some("the policy in the kernel was changed by somebody else".to_owned());
        }
        self.at = if end >= self.image.len() { 0 } else { end };
        None
    }
}
