//! A pattern for one label of a pod, as a pattern for the text of all of them.
//!
//! The kernel programs have the labels of a pod as one text, `key=value` each, between newlines (`told::label_lines`). A
//! pattern that begins with a whole key is written so that it is over when that key has come: a pod has each key once,
//! and so a hundred rules on a hundred values of one key remember one of them, not which of them were seen.

use crate::{dfa::pattern, ir::Pattern};

/// The pattern of texts with a label that `one` matches. `None`: no label does.
pub(super) fn pattern(one: &Pattern) -> Option<Pattern> {
    let framed = |before: &str, text: &[u8], after: &str| {
        let framed = [before.as_bytes(), text, after.as_bytes()].concat();
        (!text.contains(&b'\n')).then_some(Pattern::Contains(framed))
    };
    match one {
        Pattern::Exact(bytes) => {
            let exact = keyed(bytes, |value| format!("{}\\n", escaped(value)));
            exact.or_else(|| framed("\n", bytes, "\n"))
        }
        Pattern::Prefix(bytes) => keyed(bytes, escaped).or_else(|| framed("\n", bytes, "")),
        Pattern::Suffix(bytes) => framed("", bytes, "\n"),
        Pattern::Contains(bytes) => framed("", bytes, ""),
        Pattern::Glob(glob) => {
            let plain = glob.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default();
            let key = plain.find('=').map(|end| &plain[..=end]);
            let line = pattern::line(&glob[key.map_or(0, str::len)..])?;
            Some(match key {
                Some(key) if !key.contains('\n') => after(key.as_bytes(), &format!("{line}\\n")),
                Some(_) | None => Pattern::Regex(format!("(?s-u)\\n{line}\\n")),
            })
        }
        // Refused by `check`.
        Pattern::Regex(_) => None,
    }
}

/// The pattern of a label that begins with a whole key, by what must come behind that.
fn keyed(label: &[u8], rest: impl Fn(&[u8]) -> String) -> Option<Pattern> {
    let end = label.iter().position(|byte| *byte == b'=')?;
    let (key, value) = label.split_at(end + 1);
    (!label.contains(&b'\n')).then(|| after(key, &rest(value)))
}

/// The pattern of texts whose first label with this key, given with its `=`, goes on like that.
fn after(key: &[u8], rest: &str) -> Pattern {
    // A line that does not begin with the key begins with a part of it, and ends or goes on differently.
    let others: Vec<String> = (0..key.len())
        .map(|at| format!("{}(?:[^{}\\n][^\\n]*)?", escaped(&key[..at]), escaped(&key[at..=at])))
        .collect();
    Pattern::Regex(format!("(?s-u)^(?:\\n(?:{}))*\\n{}{rest}", others.join("|"), escaped(key)))
}

/// Bytes as an expression, in a set or outside.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use interdict_abi::ids::{Act, Action, Fact, Family, Mode};

    use super::*;
    use crate::{
        ir::{Clause, Literal, OnFault, Program, Rule, Test},
        lower::{Budget, lower},
        oracle::generate,
        run::{Event, Value, decide},
        told::{Condition, Known, ToldTest, Wanted, label_lines},
    };

    fn image_of(patterns: &[Pattern]) -> crate::image::PolicyImage {
        let rule = |(number, pattern): (usize, &Pattern)| Rule {
            id: format!("R{number}"),
            action: Action::Block,
            errno: 1,
            mode: Mode::Enforce,
            on_fault: OnFault::Block,
            clauses: vec![Clause {
                family: Family::Exec,
                acts: Act::Exec.bit(),
                literals: vec![Literal {
                    negated: false,
                    test: Test::Text {
                        fact: Fact::PodLabels,
                        patterns: super::pattern(pattern).into_iter().collect(),
                    },
                }],
                origin: 0,
            }],
            exceptions: Vec::new(),
            narrowed: Vec::new(),
        };
        let program = Program { rules: patterns.iter().enumerate().map(rule).collect() };
        lower(&program, generate::metadata(&program), Budget::default()).unwrap()
    }

    fn held(image: &crate::image::PolicyImage, labels: &[&str]) -> Vec<u32> {
        let text = label_lines(labels.iter().copied());
        let event = Event::new(Act::Exec).with(Fact::PodLabels, Value::Text(text));
        decide(image, &event, Mode::Enforce).matched
    }

    #[test]
    fn labels_are_found_in_the_text_as_one_by_one() {
        let patterns = [
            Pattern::Exact(b"app=web".to_vec()),
            Pattern::Exact(b"app=".to_vec()),
            Pattern::Exact(b"app".to_vec()),
            Pattern::Exact(b"a=b=c".to_vec()),
            Pattern::Exact(b"a=b\nc=d".to_vec()),
            Pattern::Prefix(b"app=w".to_vec()),
            Pattern::Prefix(b"ap".to_vec()),
            Pattern::Suffix(b"=web".to_vec()),
            Pattern::Contains(b"p=w".to_vec()),
            Pattern::Contains(b"b\nc".to_vec()),
            Pattern::Glob("app=w*".to_owned()),
            Pattern::Glob("app=*/x".to_owned()),
            Pattern::Glob("app=**".to_owned()),
            Pattern::Glob("*=web".to_owned()),
            Pattern::Glob("a{pp,}=[v-x]*".to_owned()),
            Pattern::Glob("app/name=?".to_owned()),
        ];
        let image = image_of(&patterns);
        let pods: [&[&str]; 14] = [
            &[],
            &["app=web"],
            &["app="],
            &["app=web2"],
            &["ap=web", "app=x/x"],
            &["aapp=web"],
            &["appp=web", "tier=app=web"],
            &["a=b=c", "app=v"],
            &["a=b", "c=d"],
            &["tier=front", "app=web", "zone=1"],
            &["b=b", "c=c"],
            &["app/name=y"],
            &["app/name=yy", "a=w"],
            &["=web", "x"],
        ];
        let mut any = vec![false; patterns.len()];
        for labels in pods {
            let known = Known::Text(labels.iter().map(|label| (*label).to_owned()).collect());
            let expected: Vec<u32> = (0u32..)
                .zip(&patterns)
                .filter(|(_, pattern)| {
                    let wanted = Wanted::Text(vec![(*pattern).clone()]);
                    let field = "k8s.labels".to_owned();
                    let test = ToldTest { field, negated: false, wanted };
                    Condition::new(&[test]).holds(&mut |_| known.clone())
                })
                .map(|(number, _)| number)
                .collect();
            for number in &expected {
                any[*number as usize] = true;
            }
            assert_eq!(held(&image, labels), expected, "{labels:?}");
        }
        let never: Vec<_> = any.iter().zip(&patterns).filter(|(any, _)| !**any).collect();
        assert_eq!(never.len(), 3, "only what no label is, and no pod here has: {never:?}");
    }

    #[test]
    fn hundreds_of_values_of_a_few_keys_fit_into_one_automaton() {
        let values = (0..300).map(|number| format!("app=name{}", number * 7_919 % 1_000));
        let tiers = (0..5).map(|number| format!("app.kubernetes.io/tier=t{number}"));
        let all: Vec<String> = values.chain(tiers).collect();
        let patterns: Vec<Pattern> =
            all.iter().map(|label| Pattern::Exact(label.clone().into_bytes())).collect();
        let image = image_of(&patterns);
        for at in [0, 7, 299] {
            assert_eq!(held(&image, &[&all[at], "x=y", &all[302]]), [at as u32, 302]);
            assert_eq!(held(&image, &[&all[303], &all[at]]), [at as u32, 303]);
        }
        assert!(held(&image, &["app=name"]).is_empty());
    }
}
