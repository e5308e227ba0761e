//! From the clauses that are left to one verdict.
//!
//! All matching rules are told; the verdict is the strongest action in force. Clauses are numbered strongest first, the
//! clauses of one rule adjacent and its exceptions before the rest, so one pass in ascending order suffices: an
//! exception that holds excuses the clauses of its rule that follow, and nothing else.

use interdict_abi::{
    ids::{Action, Mode, SetFact},
    image::{CLAUSE_BYTES, clause, clause_flags, family, residual},
    limits::{BLOCK_BITS, BLOCK_WORDS, DECIDE_STEPS, RESIDUALS, RULES_TOLD, SET_WORDS},
};

use crate::{
    Memory,
    facts::{Narrowing, SetFacts},
};

/// What was decided about one act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Decision {
    /// What to do.
    pub verdict: Action,
    /// What would be done if every matching rule were enforced.
    pub would: Action,
    /// Positive errno for a refused act.
    pub errno: u8,
    /// The first clause that matched of each told rule, strongest first.
    pub clauses: [u16; RULES_TOLD],
    /// Filled entries of `clauses`.
    pub told: usize,
    /// More rules matched than `clauses` holds.
    pub more: bool,
    /// The loop ran out of steps. If enforcing clauses were left, the verdict is block.
    pub exhausted: bool,
}

impl Decision {
    /// Nothing matched.
    pub const PASS: Self = Self {
        verdict: Action::Pass,
        would: Action::Pass,
        errno: 0,
        clauses: [0; RULES_TOLD],
        told: 0,
        more: false,
        exhausted: false,
    };

    /// Whether there is anything to tell.
    #[inline(always)]
    pub fn tells(&self) -> bool {
        self.told != 0 || self.exhausted
    }
}

/// How far the walk over the clauses that are left has come.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Walk {
    /// Clauses of the current word that are still to be looked at.
    bits: u64,
    /// The current word: 4 * block + word.
    place: u32,
    /// Words of the current block that are still to be looked at, as bits by their number.
    words: u32,
    /// The rule that an exception has excused.
    excused: u32,
    /// The rule that matched last.
    matched: u32,
}

impl Walk {
    /// Before the first step.
    pub const START: Self =
        Self { bits: 0, place: 0, words: 0, excused: u32::MAX, matched: u32::MAX };
}

/// `EPERM` of Linux.
const EPERM: u8 = 1;

#[inline(always)]
fn action(raw: u8) -> Action {
    match raw {
        0 => Action::Pass,
        1 => Action::Alert,
        2 => Action::Block,
        _ => Action::Kill,
    }
}

/// Whether one residual literal holds.
#[inline(always)]
fn holds(encoded: u16, sets: &SetFacts, flags: u8) -> bool {
    let bit = u32::from(encoded & residual::BIT_MASK).wrapping_sub(1);
    let index = (bit >> 6) as usize & (SET_WORDS - 1);
    let fact = (encoded & !residual::NEGATED) >> residual::FACT_SHIFT;
    let word = if fact == SetFact::Ancestors as u16 {
        sets.ancestors[index]
    } else if fact == SetFact::Caps as u16 {
        sets.caps
    } else {
        sets.args[index]
    };
    let found = (word >> (bit & 63)) & 1 != 0;
    // What was found is certain; what was not found in a set that is not fully known is a fault.
    if !found && (sets.unknown >> fact) & 1 != 0 {
        return flags & clause_flags::FAULT_HOLDS != 0;
    }
    found == (encoded & residual::NEGATED == 0)
}

impl<M: Memory + ?Sized> Narrowing<'_, M> {
    /// Decides. `mode` is the agent-wide mode, which can only weaken what the rules say.
    #[inline(always)]
    pub fn decide(&mut self, sets: &SetFacts, mode: Mode) -> Decision {
        let mut decision = Decision::PASS;
        self.decide_into(sets, mode, &mut decision);
        decision
    }

    /// [`Self::decide`] into memory of the caller's: the kernel's stack has no room for it.
    #[inline(always)]
    pub fn decide_into(&mut self, sets: &SetFacts, mode: Mode, decision: &mut Decision) {
        let mut walk = Walk::START;
        *decision = Decision::PASS;
        let mut step = 0;
        while step < DECIDE_STEPS {
            if self.step(&mut walk, sets, mode, decision) {
                return;
            }
            step += 1;
        }
        self.exhausted(&walk, mode, decision);
    }

    /// One step of [`Self::decide_into`]: looks at one word of clauses, or at one clause. Answers true when all have been
    /// looked at. The kernel programs drive it with `bpf_loop`, which the verifier checks once rather than step by step.
    #[inline(always)]
    pub fn step(
        &mut self,
        walk: &mut Walk,
        sets: &SetFacts,
        mode: Mode,
        decision: &mut Decision,
    ) -> bool {
        if walk.bits == 0 {
            if walk.words == 0 {
                if self.progress.alive == 0 {
                    return true;
                }
                let block = self.progress.alive.trailing_zeros();
                self.progress.alive &= self.progress.alive - 1;
                walk.words = self.words(block);
                walk.place = block << 2;
                if walk.words == 0 {
                    return false;
                }
            }
            walk.place = walk.place & !3 | walk.words.trailing_zeros() & 3;
            walk.words &= walk.words - 1;
            walk.bits = self.agreed(walk.place >> 2, walk.place & 3);
            return false;
        }
        let number = (walk.place << 6) + walk.bits.trailing_zeros();
        walk.bits &= walk.bits - 1;
        let records = self.image.word(self.progress.directory + family::CLAUSE_RECORDS);
        let record = records.wrapping_add(number * CLAUSE_BYTES);
        let rule = self.image.word(record + clause::RULE);
        if rule == walk.excused || rule == walk.matched {
            return false;
        }
        let packed = self.image.word(record + clause::ACTION).to_le_bytes();
        let residuals = self.image.long(record + clause::RESIDUAL);
        if residuals != 0 && !all_hold(residuals, sets, packed[2]) {
            return false;
        }
        if packed[2] & clause_flags::EXCEPTION != 0 {
            walk.excused = rule;
            return false;
        }
        walk.matched = rule;
        let strength = action(packed[0]);
        if strength > decision.would {
            decision.would = strength;
        }
        if packed[1] == Mode::Enforce as u8
            && (mode as u8 == Mode::Enforce as u8 || strength as u8 == Action::Alert as u8)
            && strength > decision.verdict
        {
            decision.verdict = strength;
            decision.errno = packed[3];
        }
        let at = decision.told;
        if at < RULES_TOLD {
            decision.clauses[at] = number as u16;
            decision.told = at + 1;
        } else {
            decision.more = true;
        }
        false
    }

    /// What follows when the steps ran out. If clauses that enforce were left, the act is refused: it may be one of
    /// theirs.
    #[inline(always)]
    pub fn exhausted(&self, walk: &Walk, mode: Mode, decision: &mut Decision) {
        decision.exhausted = true;
        let enforcing = self.image.word(self.progress.directory + family::ENFORCING);
        if (walk.place << 6) < enforcing
            && (decision.verdict as u8) < Action::Block as u8
            && mode as u8 == Mode::Enforce as u8
        {
            decision.verdict = Action::Block;
            decision.errno = EPERM;
        }
    }

    /// Whether clause `number` holds of the facts given so far. For explanations and coverage: a hook decides.
    pub fn holds(&self, number: u32, sets: &SetFacts) -> bool {
        let word = self.agreed(number / BLOCK_BITS as u32, number / 64 % BLOCK_WORDS as u32);
        if (word >> (number % 64)) & 1 == 0 {
            return false;
        }
        let records = self.image.word(self.progress.directory + family::CLAUSE_RECORDS);
        let record = records.wrapping_add(number * CLAUSE_BYTES);
        let packed = self.image.word(record + clause::ACTION).to_le_bytes();
        all_hold(self.image.long(record + clause::RESIDUAL), sets, packed[2])
    }
}

#[inline(always)]
fn all_hold(residuals: u64, sets: &SetFacts, flags: u8) -> bool {
    let mut left = residuals;
    let mut index = 0;
    while index < RESIDUALS {
        let encoded = left as u16;
        if encoded != 0 && !holds(encoded, sets, flags) {
            return false;
        }
        left >>= 16;
        index += 1;
    }
    true
}
