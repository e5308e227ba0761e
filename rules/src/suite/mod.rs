//! Tests of policies: inline ones beside their rules, and case files over a whole policy set.
//!
//! They run on the compiled image in the engine the kernel runs: no root, no kernel, no agent. An inline test asks what
//! its own rule says, whatever the other rules and the modes are; a case of a case file asks what the whole set does.

mod coverage;
mod event;
mod report;

use interdict_abi::ids::{Action, Mode};

pub use coverage::{Coverage, ExceptionCoverage, RuleCoverage};
pub(crate) use event::address_value;
pub use event::{EventError, Occurrence, occurrence};
pub use report::{human, json, junit, tap};

use crate::{
    diag::{Code, Diagnostic, Diagnostics, closest},
    image::PolicyImage,
    meta::RuleMeta,
    parse::{Parsed, cases::Case, source::Sources},
    run::{self, Excused},
    told::Condition,
};

/// What came of all tests.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One by one, in the order of their places.
    pub results: Vec<CaseResult>,
    /// Clauses that were hit.
    pub coverage: Coverage,
}

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The rule it stands in, or the name of the case file.
    pub of: String,
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: u32,
    /// What happened.
    pub status: Status,
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// As expected.
    Passed,
    /// Not as expected: what was, in sentences.
    Failed(Vec<String>),
    /// Not run, because its rule is off.
    Skipped,
}

impl Outcome {
    /// How many failed.
    pub fn failed(&self) -> usize {
        self.results.iter().filter(|result| matches!(result.status, Status::Failed(_))).count()
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|result| result.status == Status::Passed).count()
    }
}

/// What an event comes to under an image, over all families it is decided in.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What is done.
    pub verdict: Action,
    /// What would be done if everything were enforced.
    pub would: Action,
    /// Matching rules.
    pub matched: Vec<u32>,
    /// Rules that match, or would if nothing refused the act before they are asked.
    pub matching_alone: Vec<u32>,
    /// Excused rules.
    pub excused: Vec<Excused>,
    /// Clauses that hold, by family and number.
    pub clauses: Vec<(interdict_abi::ids::Family, u32)>,
    /// Positive errno of a refused act.
    pub errno: u8,
}

/// Decides an occurrence: before the act, and where it goes on and the kernel looks again, after. Then leaves out what
/// is not told because of what is known in user space.
pub fn decide(image: &PolicyImage, occurrence: &Occurrence, mode: Mode) -> Verdict {
    let mut all = Verdict {
        verdict: Action::Pass,
        would: Action::Pass,
        matched: Vec::new(),
        matching_alone: Vec::new(),
        excused: Vec::new(),
        clauses: Vec::new(),
        errno: 0,
    };
    for event in &occurrence.events {
        let mut decision = run::decide(image, event, mode);
        narrow(image, occurrence, &mut decision);
        // What has been refused does not go on: the later event never happens.
        if all.verdict < Action::Block {
            all.matched.extend(&decision.matched);
            all.would = all.would.max(decision.would);
            if decision.verdict > all.verdict {
                all.verdict = decision.verdict;
                all.errno = decision.errno;
            }
        }
        all.matching_alone.extend(decision.matched);
        all.excused.extend(decision.excused);
        all.clauses.extend(decision.clauses.iter().map(|number| (event.family, *number)));
    }
    all
}

/// Leaves out rules that are not told on, and all but one part of those that are told on several conditions.
fn narrow(image: &PolicyImage, occurrence: &Occurrence, decision: &mut run::Decision) {
    let rules = &image.metadata().rules;
    let before = decision.matched.len();
    let mut seen: Vec<&str> = Vec::new();
    decision.matched.retain(|number| {
        let Some(rule) = rules.get(*number as usize) else { return true };
        let told = Condition::new(&rule.narrowed).holds(&mut |field| occurrence.known(field));
        let first = told && !seen.contains(&rule.id.as_str());
        if first {
            seen.push(&rule.id);
        }
        first
    });
    if decision.matched.len() == before {
        return;
    }
    // Only what alerts can be narrowed: stronger verdicts stand.
    let left = |in_force: bool| {
        let mut kept = decision.matched.iter().filter_map(|number| rules.get(*number as usize));
        kept.any(|rule| !in_force || rule.mode == RuleMeta::mode_name(Mode::Enforce))
    };
    if decision.would == Action::Alert && !left(false) {
        decision.would = Action::Pass;
    }
    if decision.verdict == Action::Alert && !left(true) {
        decision.verdict = Action::Pass;
    }
}

/// Checks the tests of all policies and case files, and answers those that can be run.
pub fn check(parsed: &Parsed, diagnostics: &mut Diagnostics) {
    let ids: Vec<&str> = parsed
        .policies
        .iter()
        .flat_map(|policy| &policy.rules)
        .map(|rule| rule.id.value.as_str())
        .collect();
    let inline = parsed
        .policies
        .iter()
        .flat_map(|policy| &policy.rules)
        .flat_map(|rule| rule.tests.iter().map(move |case| (Some(rule), case)));
    let cases = parsed.cases.iter().flat_map(|cases| &cases.cases).map(|case| (None, case));
    for (rule, case) in inline.chain(cases) {
        if let Err(error) = occurrence(&case.event) {
            diagnostics.add(error.diagnostic());
        }
        for id in case.rules.iter().flatten() {
            if !ids.contains(&id.value.as_str()) {
                diagnostics.add(
                    Diagnostic::error(
                        Code::WrongExpectation,
                        id.span,
                        format!("there is no rule `{}`", id.value),
                    )
                    .label("unknown rule")
                    .maybe_help(
                        closest(&id.value, ids.iter().copied())
                            .map(|meant| format!("did you mean `{meant}`?")),
                    ),
                );
            }
        }
        let Some(name) = &case.excepted_by else { continue };
        let known = rule.is_none_or(|rule| {
            rule.except.iter().any(|exception| exception.name.value == name.value)
        });
        if !known {
            diagnostics.add(
                Diagnostic::error(
                    Code::WrongExpectation,
                    name.span,
                    format!("the rule has no exception `{}`", name.value),
                )
                .label("unknown exception"),
            );
        }
    }
}

/// Runs all tests on an image.
pub fn run(parsed: &Parsed, sources: &Sources, image: &PolicyImage) -> Outcome {
    let mut outcome = Outcome { results: Vec::new(), coverage: Coverage::of(image) };
    let metadata = image.metadata();
    for rule in parsed.policies.iter().flat_map(|policy| &policy.rules) {
        // A rule that is told on several conditions has several numbers.
        let numbers: Vec<u32> = (0u32..)
            .zip(&metadata.rules)
            .filter(|(_, meta)| meta.id == rule.id.value)
            .map(|(number, _)| number)
            .collect();
        for case in &rule.tests {
            let status = if numbers.is_empty() {
                Status::Skipped
            } else {
                inline(case, &numbers, rule.action.value.action, image, &mut outcome.coverage)
            };
            outcome.results.push(result(&rule.id.value, case, status, sources));
        }
    }
    for cases in &parsed.cases {
        for case in &cases.cases {
            let status = whole(case, image, &mut outcome.coverage);
            outcome.results.push(result(&cases.name, case, status, sources));
        }
    }
    outcome
}

fn result(of: &str, case: &Case, status: Status, sources: &Sources) -> CaseResult {
    CaseResult {
        of: of.to_owned(),
        name: case.name.clone(),
        file: sources.file(case.span.file).name.clone(),
        line: sources.position(case.span).line,
        status,
    }
}

fn inline(
    case: &Case,
    rule: &[u32],
    action: Action,
    image: &PolicyImage,
    coverage: &mut Coverage,
) -> Status {
    let occurrence = match occurrence(&case.event) {
        Ok(occurrence) => occurrence,
        Err(error) => return Status::Failed(vec![error.to_string()]),
    };
    let verdict = decide(image, &occurrence, Mode::Enforce);
    coverage.hit(&verdict.clauses);
    let matches = verdict.matching_alone.iter().any(|number| rule.contains(number));
    let found = if matches { action } else { Action::Pass };
    let mut wrong = Vec::new();
    if found != case.expect.value {
        let mut sentence =
            format!("expected {}, the rule says {}", case.expect.value.name(), found.name());
        if let Some(name) = excuse(image, rule, &verdict) {
            sentence.push_str(&format!(" (excused by exception `{name}`)"));
        }
        wrong.push(sentence);
    }
    expected_rest(case, &verdict, Some(rule), image, &mut wrong);
    status(wrong)
}

fn whole(case: &Case, image: &PolicyImage, coverage: &mut Coverage) -> Status {
    let occurrence = match occurrence(&case.event) {
        Ok(occurrence) => occurrence,
        Err(error) => return Status::Failed(vec![error.to_string()]),
    };
    let verdict = decide(image, &occurrence, Mode::Enforce);
    coverage.hit(&verdict.clauses);
    // Rules in audit tell: an act that only they match passes with an alert.
    let found = match verdict.verdict {
        Action::Pass if !verdict.matched.is_empty() => Action::Alert,
        other => other,
    };
    let mut wrong = Vec::new();
    if found != case.expect.value {
        wrong.push(format!(
            "expected {}, got {} ({})",
            case.expect.value.name(),
            found.name(),
            matching(image, &verdict)
        ));
    }
    expected_rest(case, &verdict, None, image, &mut wrong);
    status(wrong)
}

fn status(wrong: Vec<String>) -> Status {
    if wrong.is_empty() { Status::Passed } else { Status::Failed(wrong) }
}

fn expected_rest(
    case: &Case,
    verdict: &Verdict,
    rule: Option<&[u32]>,
    image: &PolicyImage,
    wrong: &mut Vec<String>,
) {
    if let Some(would) = &case.would
        && verdict.would != would.value
    {
        wrong.push(format!(
            "expected that it would {}, it would {}",
            would.value.name(),
            verdict.would.name()
        ));
    }
    if let Some(expected) = &case.rules {
        let mut expected: Vec<&str> = expected.iter().map(|id| id.value.as_str()).collect();
        let mut found: Vec<&str> = ids(image, &verdict.matched).collect();
        expected.sort_unstable();
        found.sort_unstable();
        if expected != found {
            wrong.push(format!(
                "expected the rules {}, {} matched",
                listed(&expected),
                listed(&found)
            ));
        }
    }
    if let Some(name) = &case.excepted_by {
        let excused = verdict.excused.iter().any(|excused| {
            rule.is_none_or(|rule| rule.contains(&excused.rule))
                && exception_name(image, excused) == Some(name.value.as_str())
        });
        if !excused {
            wrong
                .push(format!("expected the exception `{}` to excuse it, it does not", name.value));
        }
    }
}

fn excuse<'i>(image: &'i PolicyImage, rule: &[u32], verdict: &Verdict) -> Option<&'i str> {
    let excused = verdict.excused.iter().find(|excused| rule.contains(&excused.rule))?;
    exception_name(image, excused)
}

/// The name of an exception.
pub fn exception_name<'i>(image: &'i PolicyImage, excused: &Excused) -> Option<&'i str> {
    let rule = image.metadata().rules.get(excused.rule as usize)?;
    rule.exceptions.get(usize::from(excused.exception)).map(|exception| exception.name.as_str())
}

/// The ids of rules by number.
pub fn ids<'i>(image: &'i PolicyImage, rules: &[u32]) -> impl Iterator<Item = &'i str> {
    let metadata = image.metadata();
    rules.iter().filter_map(|rule| metadata.rules.get(*rule as usize)).map(|rule| rule.id.as_str())
}

fn matching(image: &PolicyImage, verdict: &Verdict) -> String {
    let ids: Vec<&str> = ids(image, &verdict.matched).collect();
    if ids.is_empty() {
        "no rule matched".to_owned()
    } else {
        format!("matched: {}", ids.join(", "))
    }
}

fn listed(ids: &[&str]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}
