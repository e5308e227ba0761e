//! From the clauses that are left to one verdict.
//!
//! All matching rules are told; the verdict is the strongest action in force. Clauses are numbered strongest first, the
//! clauses of one rule adjacent and its exceptions before the rest, so one pass in ascending order suffices: an
//! exception that holds excuses the clauses of its rule that follow, and nothing else.

use interdict_abi::{
    ids::{Action, Mode, SetFact},
    image::{CLAUSE_BYTES, clause, clause_flags, family, residual},
    limits::{DECIDE_STEPS, RESIDUALS, RULES_TOLD, SET_WORDS},
};

use crate::{
    Memory,
    facts::{Narrowing, SetFacts},
};

/// What was decided about one act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub told: u16,
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
        *decision = Decision::PASS;
        if self.alive == 0 {
            return;
        }
        let records = self.image.word(self.directory + family::CLAUSE_RECORDS);
        let mut excused = u32::MAX;
        let mut matched = u32::MAX;
        let mut bits = 0u64;
        // The next word to look at: 4 * block + word. Starts past the last word of a block.
        let mut place = 3u32;
        let mut step = 0;
        while step < DECIDE_STEPS {
            step += 1;
            if bits == 0 {
                if place & 3 == 3 {
                    if self.alive == 0 {
                        return;
                    }
                    place = self.alive.trailing_zeros() << 2;
                    self.alive &= self.alive - 1;
                } else {
                    place += 1;
                }
                bits = self.columns.word(self.image, place >> 2, place & 3);
                continue;
            }
            let number = (place << 6) + bits.trailing_zeros();
            bits &= bits - 1;
            let record = records.wrapping_add(number * CLAUSE_BYTES);
            let rule = self.image.word(record + clause::RULE);
            if rule == excused || rule == matched {
                continue;
            }
            let packed = self.image.word(record + clause::ACTION).to_le_bytes();
            let residuals = self.image.long(record + clause::RESIDUAL);
            if residuals != 0 && !all_hold(residuals, sets, packed[2]) {
                continue;
            }
            if packed[2] & clause_flags::EXCEPTION != 0 {
                excused = rule;
                continue;
            }
            matched = rule;
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
            let at = decision.told as usize;
            if at < RULES_TOLD {
                decision.clauses[at] = number as u16;
                decision.told += 1;
            } else {
                decision.more = true;
            }
        }
        decision.exhausted = true;
        let enforcing = self.image.word(self.directory + family::ENFORCING);
        if (place << 6) < enforcing
            && (decision.verdict as u8) < Action::Block as u8
            && mode as u8 == Mode::Enforce as u8
        {
            decision.verdict = Action::Block;
            decision.errno = EPERM;
        }
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
