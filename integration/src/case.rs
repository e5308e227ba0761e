//! A case: rules, steps, and what each step must come to with the agent. Without the agent every step must pass.

use xtask::act::{Outcome, Step};

/// One promise and how it is put to the test.
#[derive(Debug, Clone)]
pub struct Case {
    /// Name, also of its test.
    pub name: &'static str,
    /// Its rules, as items of a policy's `rules` list.
    pub rules: &'static str,
    /// In order.
    pub steps: Vec<Expected>,
    /// What is dropped is sent again by the kernel, and may be told again.
    pub repeats: bool,
}

/// A step and what it must come to.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Its name is unique among all cases.
    pub step: Step,
    /// What the kernel must answer while the agent enforces.
    pub outcome: Outcome,
    /// What must be told, by rule; one alert may name several.
    pub told: Vec<Told>,
}

/// An alert that must arrive.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// The rule that matched.
    pub rule: &'static str,
    /// What was done: `pass`, `alert`, `block` or `kill`.
    pub verdict: &'static str,
    /// What would have been done if the rule were enforced.
    pub would: &'static str,
}

impl Told {
    /// A rule in force.
    pub fn enforced(rule: &'static str, verdict: &'static str) -> Self {
        Self { rule, verdict, would: verdict }
    }

    /// A rule that only tells what it would have done.
    pub fn audited(rule: &'static str, would: &'static str) -> Self {
        Self { rule, verdict: "pass", would }
    }
}

impl Case {
    /// A case without steps yet.
    pub fn new(name: &'static str, rules: &'static str) -> Self {
        Self { name, rules, steps: Vec::new(), repeats: false }
    }

    /// A step that must come to this, and be told.
    #[must_use]
    pub fn told(mut self, step: Step, outcome: Outcome, told: Told) -> Self {
        self.steps.push(Expected { step: self.named(step), outcome, told: vec![told] });
        self
    }

    /// Another rule that must be named in what is told of the last step.
    #[must_use]
    pub fn also(mut self, told: Told) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.told.push(told);
        }
        self
    }

    /// The permitted twin: it must pass, and nothing may be told about it.
    #[must_use]
    pub fn twin(mut self, step: Step) -> Self {
        let outcome = Outcome::Passed;
        self.steps.push(Expected { step: self.named(step), outcome, told: Vec::new() });
        self
    }

    /// Alerts may come more than once.
    #[must_use]
    pub fn repeating(mut self) -> Self {
        self.repeats = true;
        self
    }

    fn named(&self, mut step: Step) -> Step {
        step.name = format!("{}/{}", self.name, self.steps.len());
        step
    }

    /// How many alerts the rule of this name must give in this case.
    pub fn alerts_of(&self, rule: &str) -> usize {
        self.steps
            .iter()
            .filter(|expected| expected.told.iter().any(|told| told.rule == rule))
            .count()
    }
}
