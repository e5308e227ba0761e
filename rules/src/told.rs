//! Tests on what is known in user space only (class U): they narrow what is told, never what is decided.
//!
//! In: the tests of a rule as `normalise` leaves them, and what is known of a field. Out: whether the rule is told. What
//! cannot be learned narrows nothing: the rule is told. Used by the agent and by `interdict test`.

use std::collections::HashSet;

use regex_automata::{
    Anchored, Input,
    meta::{Config, Regex},
};
use regex_syntax::hir::{Hir, Look};
use serde::{Deserialize, Serialize};

use crate::{dfa::pattern, ir::Pattern};

/// Bytes that the automaton of one test may take; a larger one runs slower, not wrong.
const LAZY_BYTES: usize = 1 << 20;

/// One test on a field of class U.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ToldTest {
    /// The field.
    pub field: String,
    /// Holds when no value of the field is wanted.
    pub negated: bool,
    /// What some value of it must be.
    pub wanted: Wanted,
}

/// What a value must be: any of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Wanted {
    /// Text that matches one of the patterns.
    Text(Vec<Pattern>),
    /// A number in one of the ranges.
    Number(Vec<(u32, u32)>),
}

/// What is known of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// There is no such thing: the process runs in no container, the container in no pod.
    Absent,
    /// It could not be learned.
    Unknown,
    /// Its values, mostly one.
    Text(Vec<String>),
    /// A number; 1 for yes, 0 for no.
    Number(u32),
}

/// The tests of one rule, ready to be made.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    tests: Vec<Prepared>,
}

#[derive(Clone, Debug)]
struct Prepared {
    field: String,
    negated: bool,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Text {
        exact: HashSet<Vec<u8>>,
        others: Option<Regex>,
    },
    Number(Vec<(u32, u32)>),
    /// The patterns cannot be read, which `check` would have said: it narrows nothing.
    Broken,
}

impl Condition {
    /// Prepares tests. All must hold.
    pub fn new(tests: &[ToldTest]) -> Self {
        let prepare = |test: &ToldTest| Prepared {
            field: test.field.clone(),
            negated: test.negated,
            matcher: matcher(&test.wanted),
        };
        Self { tests: tests.iter().map(prepare).collect() }
    }

    /// Whether there is nothing to be met.
    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// The fields that are tested.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|test| test.field.as_str())
    }

    /// Whether all tests hold, or may.
    pub fn holds(&self, look: &mut dyn FnMut(&str) -> Known) -> bool {
        self.tests.iter().all(|test| {
            let found = match (&test.matcher, look(&test.field)) {
                (Matcher::Broken, _) | (_, Known::Unknown) => return true,
                (_, Known::Absent) => false,
                (Matcher::Text { exact, others }, Known::Text(values)) => {
                    values.iter().any(|value| text_matches(exact, others.as_ref(), value))
                }
                (Matcher::Number(ranges), Known::Number(number)) => {
                    ranges.iter().any(|(first, last)| (*first..=*last).contains(&number))
                }
                // A field has one type, which `check` has made sure of.
                (Matcher::Text { .. }, Known::Number(_)) | (Matcher::Number(_), Known::Text(_)) => {
                    return true;
                }
            };
            found != test.negated
        })
    }
}

/// What a container's image is called: in full, and without the registry and folder that are meant when none is said.
pub fn image_names(reference: &str) -> Vec<String> {
    let mut names = vec![reference.to_owned()];
    if let Some(short) = reference.strip_prefix("docker.io/") {
        names.push(short.to_owned());
    }
    if let Some(short) = names.last().and_then(|name| name.strip_prefix("library/")) {
        names.push(short.to_owned());
    }
    names
}

/// Labels of a pod as the kernel programs read them: each between newlines. Labels with newlines are no labels: left out.
pub fn label_lines<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut lines = vec![b'\n'];
    for label in labels.filter(|label| !label.contains('\n')) {
        lines.extend_from_slice(label.as_bytes());
        lines.push(b'\n');
    }
    lines
}

fn text_matches(exact: &HashSet<Vec<u8>>, others: Option<&Regex>, value: &str) -> bool {
    exact.contains(value.as_bytes())
        || others.is_some_and(|regex| regex.is_match(Input::new(value).anchored(Anchored::Yes)))
}

fn matcher(wanted: &Wanted) -> Matcher {
    let patterns = match wanted {
        Wanted::Number(ranges) => return Matcher::Number(ranges.clone()),
        Wanted::Text(patterns) => patterns,
    };
    let mut exact = HashSet::new();
    let mut others = Vec::new();
    for pattern in patterns {
        match pattern {
            Pattern::Exact(bytes) => drop(exact.insert(bytes.clone())),
            Pattern::Prefix(_)
            | Pattern::Suffix(_)
            | Pattern::Contains(_)
            | Pattern::Glob(_)
            | Pattern::Regex(_) => match pattern::expression(pattern) {
                Ok(expression) => others.push(Hir::concat(vec![
                    Hir::look(Look::Start),
                    expression,
                    Hir::look(Look::End),
                ])),
                Err(_) => return Matcher::Broken,
            },
        }
    }
    if others.is_empty() {
        return Matcher::Text { exact, others: None };
    }
    let config = Config::new().utf8_empty(false).hybrid_cache_capacity(LAZY_BYTES);
    match Regex::builder().configure(config).build_many_from_hir(&others) {
        Ok(regex) => Matcher::Text { exact, others: Some(regex) },
        Err(_) => Matcher::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(field: &str, negated: bool, patterns: Vec<Pattern>) -> ToldTest {
        ToldTest { field: field.to_owned(), negated, wanted: Wanted::Text(patterns) }
    }

    fn told(tests: &[ToldTest], known: Known) -> bool {
        Condition::new(tests).holds(&mut |_| known.clone())
    }

    fn text(values: &[&str]) -> Known {
        Known::Text(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn every_kind_of_pattern_is_compared_with_the_whole_value() {
        let cases = [
            (Pattern::Exact(b"web".to_vec()), "web", "web1"),
            (Pattern::Prefix(b"we".to_vec()), "web", "awe"),
            (Pattern::Suffix(b"eb".to_vec()), "web", "ebb"),
            (Pattern::Contains(b"e".to_vec()), "web", "wb"),
            (Pattern::Glob("nginx:*".to_owned()), "nginx:1", "my/nginx:1"),
            (Pattern::Regex("^w.b$".to_owned()), "web", "wbb1"),
        ];
        for (pattern, yes, no) in cases {
            let positive = test("container.name", false, vec![pattern.clone()]);
            let negative = test("container.name", true, vec![pattern.clone()]);
            assert!(told(std::slice::from_ref(&positive), text(&[yes])), "{pattern:?}");
            assert!(!told(&[positive], text(&[no])), "{pattern:?}");
            assert!(!told(std::slice::from_ref(&negative), text(&[yes])), "{pattern:?}");
            assert!(told(&[negative], text(&[no])), "{pattern:?}");
        }
    }

    #[test]
    fn what_is_not_known_narrows_nothing_and_what_is_not_there_does() {
        let web = vec![Pattern::Exact(b"web".to_vec())];
        for negated in [false, true] {
            assert!(told(&[test("k8s.pod", negated, web.clone())], Known::Unknown));
            assert_eq!(told(&[test("k8s.pod", negated, web.clone())], Known::Absent), negated);
        }
    }

    #[test]
    fn one_value_of_many_is_enough_and_not_asks_that_there_is_none() {
        let app = vec![Pattern::Exact(b"app=web".to_vec())];
        let labels = text(&["tier=front", "app=web"]);
        assert!(told(&[test("k8s.labels", false, app.clone())], labels.clone()));
        assert!(!told(&[test("k8s.labels", true, app)], labels));
    }

    #[test]
    fn an_image_is_known_by_its_short_names_too() {
        let full = "docker.io/library/nginx:1.27";
        assert_eq!(image_names(full), [full, "library/nginx:1.27", "nginx:1.27"]);
        assert_eq!(image_names("ghcr.io/library/x:1"), ["ghcr.io/library/x:1"]);
    }

    #[test]
    fn numbers_lie_in_ranges() {
        let wanted = Wanted::Number(vec![(0, 5), (60, 60)]);
        let test = ToldTest { field: "process.start_age".to_owned(), negated: false, wanted };
        for (age, expected) in [(0, true), (5, true), (6, false), (60, true), (61, false)] {
            assert_eq!(told(std::slice::from_ref(&test), Known::Number(age)), expected, "{age}");
        }
    }
}
