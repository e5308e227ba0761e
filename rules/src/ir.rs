//! Rules in normal form: what `check` hands to `lower`.
//!
//! A rule is a disjunction of clauses, a clause a conjunction of literals, a literal one test on one fact, possibly
//! negated. Exceptions are clauses that excuse their own rule. Nothing in here knows YAML or the image.

use interdict_abi::ids::{Action, Fact, Family, Mode};
use serde::{Deserialize, Serialize};

use crate::told::ToldTest;

/// All rules of a policy set, in the order of their sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The rules; a rule's index here is its number in the image and in the metadata.
    pub rules: Vec<Rule>,
}

/// One rule in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id, for messages.
    pub id: String,
    /// What it does when it matches.
    pub action: Action,
    /// Positive errno given to a refused act.
    pub errno: u8,
    /// Enforced or only told; rules that are off are not in the program.
    pub mode: Mode,
    /// What holds when a fact this rule tests could not be learned.
    pub on_fault: OnFault,
    /// It matches when any of these holds ...
    pub clauses: Vec<Clause>,
    /// ... and none of these does.
    pub exceptions: Vec<Clause>,
    /// What must hold beside that for it to be told: nothing the kernel decides.
    pub narrowed: Vec<ToldTest>,
}

impl Rule {
    /// Whether it asks for what a container's runtime tells.
    pub fn asks_of_container(&self) -> bool {
        self.tests().any(|test| match test {
            Test::Text { fact, .. }
            | Test::Number { fact, .. }
            | Test::Flags { fact, .. }
            | Test::Address { fact, .. } => Fact::PLACES.contains(fact),
            Test::Ancestor { .. } | Test::Argument { .. } | Test::Capabilities { .. } => false,
        })
    }

    /// Whether it asks for arguments.
    pub fn asks_of_arguments(&self) -> bool {
        self.tests().any(|test| matches!(test, Test::Argument { .. }))
    }

    /// Whether it asks for what the table of processes has: programs, ancestors, arguments.
    pub fn asks_of_programs(&self) -> bool {
        self.tests().any(|test| match test {
            Test::Text { fact, .. } => {
                matches!(fact, Fact::Exe | Fact::ParentExe | Fact::TargetExe)
            }
            Test::Ancestor { .. } | Test::Argument { .. } => true,
            Test::Number { .. }
            | Test::Flags { .. }
            | Test::Address { .. }
            | Test::Capabilities { .. } => false,
        })
    }

    fn tests(&self) -> impl Iterator<Item = &Test> {
        let clauses = self.clauses.iter().chain(&self.exceptions);
        clauses.flat_map(|clause| &clause.literals).map(|literal| &literal.test)
    }
}

/// What a literal is worth when its fact could not be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// As if it held: the act is treated as one the rule is about.
    Block,
    /// As if it did not.
    Pass,
}

/// A conjunction of literals over acts of one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clause {
    /// The family whose numbering it lives in.
    pub family: Family,
    /// Mask of acts it is about (`Act::bit`), all of `family`.
    pub acts: u32,
    /// All must hold. Empty: every such act.
    pub literals: Vec<Literal>,
    /// For an exception: its index among the rule's exceptions as written. For a match: 0.
    pub origin: u16,
}

/// One test, possibly negated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Literal {
    /// Holds when the test does not.
    pub negated: bool,
    /// The test.
    pub test: Test,
}

/// A test on one fact: it holds when the value is any of those listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// A string fact (`Path`, `Name`, `SecondPath`, `Comm`, `Cwd`, `DnsName`) or a program (`Exe`, `ParentExe`, `TargetExe`,
    /// matched by path through the one executable automaton).
    Text {
        /// The fact.
        fact: Fact,
        /// Any of these matches.
        patterns: Vec<Pattern>,
    },
    /// A number in any of these inclusive ranges.
    Number {
        /// The fact.
        fact: Fact,
        /// Inclusive ranges.
        ranges: Vec<(u32, u32)>,
    },
    /// `ObjectFlags` or `ProcessFlags`: any of the bits in the mask is set.
    Flags {
        /// The fact.
        fact: Fact,
        /// The bits.
        mask: u32,
    },
    /// An address in any of these inclusive ranges, host order. Mapped IPv6 has been folded into IPv4.
    Address {
        /// `RemoteIp` or `LocalIp`.
        fact: Fact,
        /// IPv4.
        v4: Vec<(u32, u32)>,
        /// IPv6.
        v6: Vec<(u128, u128)>,
        /// The list with a feed that these are the values of: see `parse::feed::Addresses`.
        from: Vec<String>,
    },
    /// Some ancestor of the acting process runs a program that matches one of these.
    Ancestor {
        /// Any of these matches.
        patterns: Vec<Pattern>,
    },
    /// Some argument of the new program (argv[0] included) matches one of these.
    Argument {
        /// Any of these matches.
        patterns: Vec<Pattern>,
    },
    /// The acting process has one of these effective capabilities.
    Capabilities {
        /// By number, as bits.
        mask: u64,
    },
}

/// One way to match a string; always over bytes, always the whole string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// Exactly these bytes.
    Exact(Vec<u8>),
    /// Starts with these bytes.
    Prefix(Vec<u8>),
    /// Ends with these bytes.
    Suffix(Vec<u8>),
    /// Holds these bytes somewhere.
    Contains(Vec<u8>),
    /// A path glob: `*` within a component, `**` across components, `?`, `[..]`, `{a,b}`, `\` escapes.
    /// A trailing `/**` matches everything below the directory and the directory itself; a leading `**/` or an inner
    /// `/**/` also matches zero components.
    Glob(String),
    /// A regular expression in `regex-syntax` notation, bytes, not anchored unless it says so.
    Regex(String),
}
