//! The facts of one act, owned.

use std::collections::BTreeMap;

use interdict_abi::ids::{Act, Fact, Family};
use interdict_engine::tables::Address;

/// The value of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, a set of flags, a workload label.
    Number(u32),
    /// A string; of programs the path.
    Text(Vec<u8>),
    /// An address.
    Address(Address),
    /// The act has no such thing: no test on it is true.
    Absent,
    /// It has one, which could not be learned: `on_fault` decides.
    Unknown,
}

/// The strings of a fact with many values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strings {
    /// These.
    Known(Vec<Vec<u8>>),
    /// They could not be learned.
    Unknown,
}

/// One act and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its family.
    pub family: Family,
    /// The value of `Fact::Act`: an index into `ACT_COMBINATIONS`.
    pub act: u32,
    /// Facts by name; one that is not in here is absent.
    pub facts: BTreeMap<Fact, Value>,
    /// Programs of the ancestors.
    pub ancestors: Strings,
    /// Arguments.
    pub args: Strings,
    /// Effective capabilities, by number as bits; `None` if they could not be learned.
    pub capabilities: Option<u64>,
}

impl Event {
    /// An act of which nothing is known yet.
    pub fn new(act: Act) -> Self {
        Self {
            family: act.family(),
            act: act.value(),
            facts: BTreeMap::new(),
            ancestors: Strings::Known(Vec::new()),
            args: Strings::Known(Vec::new()),
            capabilities: Some(0),
        }
    }

    /// The same with one more fact. A zero byte ends a text, as it does in the kernel.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: Value) -> Self {
        let value = match value {
            Value::Text(mut text) => {
                if let Some(end) = text.iter().position(|byte| *byte == 0) {
                    text.truncate(end);
                }
                Value::Text(text)
            }
            Value::Number(_) | Value::Address(_) | Value::Absent | Value::Unknown => value,
        };
        self.facts.insert(fact, value);
        self
    }

    /// The value of a fact.
    pub fn value(&self, fact: Fact) -> &Value {
        self.facts.get(&fact).unwrap_or(&Value::Absent)
    }
}
