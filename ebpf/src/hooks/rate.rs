//! Rules that are about packets beyond a rate: what they let be is taken out of the decision again.
//!
//! A peer's packets so far have a time at which they would be over at the rule's rate (the generic cell rate algorithm: a
//! token bucket in one number). A packet that comes when that time is further ahead than the burst is beyond the rate.
//! Two processors that see packets of one peer at once may count one for both: a rate is met within that.

use interdict_abi::{
    ids::{Action, Family, Fault, Mode},
    image::{CLAUSE_BYTES, clause, family},
    limits::RULES_TOLD,
    maps::{RuleKey, ToldKey},
};
use interdict_engine::{Memory, facts};

use crate::{
    emit,
    maps::{RATED, RATES},
    policy::{self, Policy},
    scratch::Area,
};

/// Whether a packet of this peer is within the rate of a rule: 1, then the rule is not about it. 0 for rules without one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interdict_within_rate(generation: u32, rule: u32, upper: u64, lower: u64) -> u64 {
    let Some(rate) = RATES.get_ptr(&RuleKey { generation, rule }) else { return 0 };
    // SAFETY: a live map value that is only replaced as a whole, before its policy is in force.
    let (interval, burst) = unsafe { ((*rate).interval_ns, (*rate).burst_ns) };
    let key = ToldKey { remote: [upper, lower], generation, rule };
    let now = emit::now();
    let Some(over) = RATED.get_ptr_mut(&key) else {
        if RATED.insert(&key, &(now + interval), 0).is_err() {
            emit::count(Fault::PacketTable);
        }
        return 1;
    };
    // SAFETY: a live map value of eight bytes.
    let before = unsafe { over.read_volatile() };
    let start = if before > now { before } else { now };
    if start - now > burst {
        return 0;
    }
    // SAFETY: as above.
    unsafe { over.write_volatile(start + interval) };
    1
}

/// Takes the rules within their rate out of the decision in the area.
#[inline(always)]
pub fn within(policy: &Policy, area: Area, remote: [u64; 2]) {
    if !policy::has_rates() {
        return;
    }
    let records = policy
        .image
        .word(facts::directory(&policy.image, Family::Packet).wrapping_add(family::CLAUSE_RECORDS));
    let enforcing = policy.mode as u8 == Mode::Enforce as u8;
    let (mut verdict, mut would, mut kept) = (0u8, 0u8, 0usize);
    let mut index = 0;
    while index < RULES_TOLD {
        if index >= area.work().decision.told {
            break;
        }
        let number = area.work().decision.clauses[index];
        let record = records.wrapping_add(u32::from(number) * CLAUSE_BYTES);
        let rule = policy.image.word(record + clause::RULE);
        if interdict_within_rate(policy.generation.0, rule, remote[0], remote[1]) == 0 {
            let packed = policy.image.word(record + clause::ACTION);
            let (action, mode) = (packed as u8, (packed >> 8) as u8);
            would = would.max(action);
            let acts = mode == Mode::Enforce as u8 && (enforcing || action == Action::Alert as u8);
            if acts {
                verdict = verdict.max(action);
            }
            area.work().decision.clauses[kept & (RULES_TOLD - 1)] = number;
            kept += 1;
        }
        index += 1;
    }
    let decision = &mut area.work().decision;
    // More rules matched than are named: those are weaker, or as strong, and have not been looked at.
    if decision.more || decision.exhausted {
        return;
    }
    decision.told = kept;
    decision.verdict = named(verdict);
    decision.would = named(would);
}

#[inline(always)]
fn named(action: u8) -> Action {
    match action {
        0 => Action::Pass,
        1 => Action::Alert,
        2 => Action::Block,
        _ => Action::Kill,
    }
}
