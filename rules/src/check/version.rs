//! `requires`: what a policy needs of this compiler.

use crate::{
    diag::{Code, Diagnostic, Diagnostics},
    parse::policy::Policy,
};

/// The version of this compiler, which `requires.engine` is compared with.
const ENGINE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Says if this version is not what a policy requires.
pub(super) fn requires(policy: &Policy, diagnostics: &mut Diagnostics) {
    let Some(engine) = &policy.engine else { return };
    match satisfied(&engine.value) {
        Some(true) => {}
        Some(false) => diagnostics.add(
            Diagnostic::error(
                Code::Unmet,
                engine.span,
                format!("the policy requires engine {}, this is {ENGINE_VERSION}", engine.value),
            )
            .label("not met")
            .help("upgrade interdict, or use an older version of the policy"),
        ),
        None => diagnostics.add(
            Diagnostic::error(
                Code::Unmet,
                engine.span,
                format!("`{}` is not a version requirement", engine.value),
            )
            .label("expected comparisons such as `>=0.1` or `>=0.1, <2`"),
        ),
    }
}

/// Whether this version meets a requirement. `None`: it cannot be read.
fn satisfied(requirement: &str) -> Option<bool> {
    let own = version(ENGINE_VERSION)?;
    let mut all = true;
    for part in requirement.split(',') {
        let part = part.trim();
        let (comparison, text) = [">=", "<=", ">", "<", "="]
            .iter()
            .find_map(|sign| part.strip_prefix(sign).map(|rest| (*sign, rest)))?;
        let wanted = version(text.trim())?;
        all &= match comparison {
            ">=" => own >= wanted,
            "<=" => own <= wanted,
            ">" => own > wanted,
            "<" => own < wanted,
            _ => own == wanted,
        };
    }
    Some(all)
}

fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    let mut parts = text.split('.');
    for (index, number) in numbers.iter_mut().enumerate() {
        match parts.next() {
            Some(part) => *number = part.parse().ok()?,
            None if index > 0 => {}
            None => return None,
        }
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn requirements_are_compared_by_number() {
        assert_eq!(satisfied(">=0.1"), Some(true));
        assert_eq!(satisfied(">=0.0.9, <9999"), Some(true));
        assert_eq!(satisfied(">=9999.0"), Some(false));
        assert_eq!(satisfied("latest"), None);
        assert_eq!(satisfied(">="), None);
    }
}
