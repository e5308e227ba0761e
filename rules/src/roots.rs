//! Where on a host the objects are that a policy's path patterns select.
//!
//! In: the rules in normal form. Out: for each pattern on a path the part of it that can be looked for by walking
//! directories, as steps from the root. The agent walks them when it puts a policy in force and tells the kernel programs
//! which objects are there, so that these stay what they are under every other name. What a walk finds is judged by the
//! compiled automata: a step may find too much, never too little.

use std::collections::BTreeSet;

use interdict_abi::ids::Fact;
use serde::{Deserialize, Serialize};

use crate::ir::{Clause, Pattern, Program, Test};

/// One step of a walk from the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The entry of this name.
    Name(String),
    /// Every entry.
    Any,
    /// Everything below, at any depth. Always the last step.
    Deep,
}

/// The walks of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roots {
    /// Each from the root.
    pub walks: BTreeSet<Vec<Step>>,
    /// Patterns that could select a file anywhere and name no place to look: suffixes, parts, regular expressions.
    pub unanchored: u32,
}

/// The walks of a program.
pub fn of(program: &Program) -> Roots {
    let mut roots = Roots::default();
    for rule in &program.rules {
        for clause in rule.clauses.iter().chain(&rule.exceptions) {
            of_clause(clause, &mut roots);
        }
    }
    roots
}

fn of_clause(clause: &Clause, roots: &mut Roots) {
    for literal in &clause.literals {
        let patterns = match &literal.test {
            Test::Text {
                fact: Fact::Path | Fact::SecondPath | Fact::Exe | Fact::ParentExe | Fact::TargetExe,
                patterns,
            }
            | Test::Ancestor { patterns } => patterns,
            _ => continue,
        };
        for pattern in patterns {
            match walk(pattern) {
                Some(walk) => {
                    roots.walks.insert(walk);
                }
                None => roots.unanchored = roots.unanchored.saturating_add(1),
            }
        }
    }
}

/// The walk of one pattern. `None`: it names no place to look.
fn walk(pattern: &Pattern) -> Option<Vec<Step>> {
    match pattern {
        Pattern::Exact(path) => {
            let path = str::from_utf8(path).ok()?;
            Some(components(path)?.map(|name| Step::Name(name.to_owned())).collect())
        }
        Pattern::Prefix(path) => {
            let path = str::from_utf8(path).ok()?;
            let mut names: Vec<&str> = components(path)?.collect();
            let started = if path.ends_with('/') { None } else { names.pop() };
            let mut steps: Vec<Step> =
                names.into_iter().map(|name| Step::Name(name.to_owned())).collect();
            if started.is_none() && steps.is_empty() {
                return None;
            }
            steps.push(Step::Deep);
            Some(steps)
        }
        Pattern::Glob(glob) => of_glob(glob),
        Pattern::Suffix(_) | Pattern::Contains(_) | Pattern::Regex(_) => None,
    }
}

fn components(path: &str) -> Option<impl Iterator<Item = &str>> {
    Some(path.strip_prefix('/')?.split('/').filter(|name| !name.is_empty()))
}

fn of_glob(glob: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in components(glob)? {
        if part == "**" || part.contains('{') && !part.contains('}') {
            steps.push(Step::Deep);
            break;
        }
        if part.contains("**") {
            steps.push(Step::Deep);
            break;
        }
        let plain = !part.contains(['*', '?', '[', '{', '\\']);
        steps.push(if plain { Step::Name(part.to_owned()) } else { Step::Any });
    }
    // A walk over everything there is would name no place.
    match steps.first() {
        None | Some(Step::Deep | Step::Any) => None,
        Some(Step::Name(_)) => Some(steps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Step {
        Step::Name(text.to_owned())
    }

    #[test]
    fn an_exact_path_is_looked_for_name_by_name() {
        let walk = walk(&Pattern::Exact(b"/etc/shadow".to_vec()));
        assert_eq!(walk, Some(vec![name("etc"), name("shadow")]));
    }

    #[test]
    fn a_glob_is_looked_for_as_far_as_it_names_places() {
        let walk_of = |glob: &str| walk(&Pattern::Glob(glob.to_owned()));
        assert_eq!(
            walk_of("/etc/sudoers.d/**"),
            Some(vec![name("etc"), name("sudoers.d"), Step::Deep])
        );
        assert_eq!(
            walk_of("/home/*/.ssh/id_*"),
            Some(vec![name("home"), Step::Any, name(".ssh"), Step::Any])
        );
        assert_eq!(walk_of("/opt/{a/x,b}/c"), Some(vec![name("opt"), Step::Deep]));
        assert_eq!(walk_of("/**/shadow"), None);
    }

    #[test]
    fn a_prefix_that_ends_inside_a_name_is_looked_for_in_its_directory() {
        let walk_of = |prefix: &str| walk(&Pattern::Prefix(prefix.as_bytes().to_vec()));
        assert_eq!(walk_of("/var/lib/do"), Some(vec![name("var"), name("lib"), Step::Deep]));
        assert_eq!(walk_of("/var/lib/"), Some(vec![name("var"), name("lib"), Step::Deep]));
        assert_eq!(walk_of("/"), None);
    }

    #[test]
    fn what_names_no_place_is_counted() {
        assert_eq!(walk(&Pattern::Suffix(b".pem".to_vec())), None);
        assert_eq!(walk(&Pattern::Regex("shadow".to_owned())), None);
    }
}
