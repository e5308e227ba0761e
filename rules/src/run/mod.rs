//! Runs a compiled image on a laptop, with the engine the kernel runs.
//!
//! In: a [`PolicyImage`] and an [`Event`], the facts of one act. Out: a [`Decision`]. Facts are gathered exactly as a
//! hook gathers them: programs become labels through the one executable automaton, ancestors and arguments become
//! sets, what could not be learned is a fault. Adds no logic of its own to what the engine decides.

mod event;

use interdict_abi::{
    ids::{Action, Fact, Mode, SetFact},
    image::{CLAUSE_BYTES, clause, clause_flags, family, header},
    limits::SET_WORDS,
};
use interdict_engine::{
    Memory as _, args, dfa,
    facts::{self, Narrowing, Progress, SetFacts},
};

pub use interdict_engine::tables::Address;

pub use self::event::{Event, Strings, Value};
use crate::image::PolicyImage;

/// What the engine decides about an event, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub verdict: Action,
    /// What would be done if every matching rule were enforced.
    pub would: Action,
    /// Positive errno for a refused act; 0 if no rule in force refuses.
    pub errno: u8,
    /// The rules the kernel tells, strongest first: at most `RULES_TOLD`.
    pub told: Vec<u32>,
    /// All rules that match, in the order of their clauses: strongest first.
    pub matched: Vec<u32>,
    /// Rules that would have matched, with the exceptions that excuse them.
    pub excused: Vec<Excused>,
    /// All clauses that hold, by number in the family.
    pub clauses: Vec<u32>,
    /// The kernel's loop ran out of steps.
    pub exhausted: bool,
}

/// A rule that an exception excuses from an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excused {
    /// The rule.
    pub rule: u32,
    /// The exception, by index among those of the rule.
    pub exception: u16,
}

impl Decision {
    fn pass() -> Self {
        Self {
            verdict: Action::Pass,
            would: Action::Pass,
            errno: 0,
            told: Vec::new(),
            matched: Vec::new(),
            excused: Vec::new(),
            clauses: Vec::new(),
            exhausted: false,
        }
    }
}

/// Decides about `event` as the kernel would under `image`, with `mode` as the agent-wide mode.
pub fn decide(image: &PolicyImage, event: &Event, mode: Mode) -> Decision {
    let bytes = image.kernel();
    let mut progress = Progress::EMPTY;
    let Some(mut narrowing) = Narrowing::start(bytes, event.family, &mut progress) else {
        return Decision::pass();
    };
    narrowing.number(Fact::Act, event.act);
    for fact in Fact::ALL.iter().filter(|fact| **fact != Fact::Act) {
        if narrowing.needs(*fact) {
            feed(&mut narrowing, bytes, *fact, event.value(*fact));
        }
    }
    let sets = set_facts(bytes, event);
    let held: Vec<u32> =
        (0..narrowing.clauses()).filter(|number| narrowing.holds(*number, &sets)).collect();
    let decided = narrowing.decide(&sets, mode);
    let clauses = Clauses { image, event };
    let told = decided.clauses.iter().take(decided.told);
    let (matched, excused) = clauses.explain(&held);
    Decision {
        verdict: decided.verdict,
        would: decided.would,
        errno: decided.errno,
        told: told.map(|number| clauses.rule(u32::from(*number))).collect(),
        matched,
        excused,
        clauses: held,
        exhausted: decided.exhausted,
    }
}

fn feed(narrowing: &mut Narrowing<'_, [u8]>, image: &[u8], fact: Fact, value: &Value) {
    let is_program = matches!(fact, Fact::Exe | Fact::ParentExe | Fact::TargetExe);
    match value {
        Value::Number(value) => narrowing.number(fact, *value),
        Value::Address(address) => narrowing.address(fact, *address),
        Value::Text(path) if is_program => {
            match dfa::walk(image, image.word(header::EXE_AUTOMATON), &path[..]) {
                Some(label) => narrowing.label(fact, label),
                None => narrowing.unknown(fact),
            }
        }
        Value::Text(text) => match fact {
            Fact::Comm => narrowing.comm(fact, &text[..]),
            Fact::Name => narrowing.short_string(fact, &text[..]),
            _ => narrowing.string(fact, &text[..]),
        },
        Value::Absent => narrowing.absent(fact),
        Value::Unknown => narrowing.unknown(fact),
    };
}

/// The sets of an event: the union over all ancestors, and over all arguments, of what is true of each.
fn set_facts(image: &[u8], event: &Event) -> SetFacts {
    let mut sets = SetFacts::default();
    let masks = image.word(header::CAP_MASKS);
    match event.capabilities {
        Some(capabilities) if masks != 0 => {
            sets.caps = facts::capabilities(image, masks, capabilities);
        }
        Some(_) => {}
        None => sets.unknown |= 1 << SetFact::Caps as u32,
    }
    let of_strings = [
        (SetFact::Ancestors, &event.ancestors, header::EXE_AUTOMATON, header::ANCESTOR_SETS),
        (SetFact::Args, &event.args, header::ARG_AUTOMATON, header::ARG_SETS),
    ];
    for (fact, strings, automaton, table) in of_strings {
        let (automaton, table) = (image.word(automaton), image.word(table));
        if table == 0 {
            continue;
        }
        let Strings::Known(strings) = strings else {
            sets.unknown |= 1 << fact as u32;
            continue;
        };
        let union = match fact {
            SetFact::Ancestors => &mut sets.ancestors,
            SetFact::Args => &mut sets.args,
            SetFact::Caps => continue,
        };
        match fact {
            SetFact::Ancestors => {
                for text in strings {
                    match dfa::walk(image, automaton, &text[..]) {
                        Some(label) => add(union, image, table, label),
                        None => sets.unknown |= 1 << fact as u32,
                    }
                }
            }
            // As the kernel has them: one after the other, each terminated.
            SetFact::Args => {
                let mut all: Vec<u8> = Vec::new();
                for text in strings {
                    all.extend_from_slice(text);
                    all.push(0);
                }
                *union = args::gather(image, automaton, table, &all[..], all.len() as u32);
            }
            SetFact::Caps => {}
        }
    }
    sets
}

fn add(union: &mut [u64; SET_WORDS], image: &[u8], table: u32, label: u32) {
    let row = table + label * SET_WORDS as u32 * 8;
    for (at, word) in (0u32..).zip(union) {
        *word |= image.long(row + at * 8);
    }
}

/// Clause records of the event's family.
struct Clauses<'a> {
    image: &'a PolicyImage,
    event: &'a Event,
}

impl Clauses<'_> {
    fn record(&self, number: u32) -> u32 {
        let bytes = self.image.kernel();
        let directory = facts::directory(bytes, self.event.family);
        bytes.word(directory + family::CLAUSE_RECORDS) + number * CLAUSE_BYTES
    }

    fn rule(&self, number: u32) -> u32 {
        self.image.kernel().word(self.record(number) + clause::RULE)
    }

    fn is_exception(&self, number: u32) -> bool {
        let record = self.record(number);
        self.image.kernel().byte(record + clause::FLAGS) & clause_flags::EXCEPTION != 0
    }

    /// Rules that match and rules that are excused, from all clauses that hold.
    fn explain(&self, held: &[u32]) -> (Vec<u32>, Vec<Excused>) {
        let described = &self.image.metadata().clauses[self.event.family as usize];
        let mut matched = Vec::new();
        let mut excused = Vec::new();
        for of_rule in held.chunk_by(|one, other| self.rule(*one) == self.rule(*other)) {
            let (exceptions, matches): (Vec<u32>, Vec<u32>) =
                of_rule.iter().partition(|number| self.is_exception(**number));
            let rule = self.rule(of_rule[0]);
            if matches.is_empty() {
                continue;
            }
            if exceptions.is_empty() {
                matched.push(rule);
            }
            excused.extend(exceptions.iter().filter_map(|number| {
                let exception = described.get(*number as usize)?.exception?;
                Some(Excused { rule, exception })
            }));
        }
        excused.dedup();
        (matched, excused)
    }
}
