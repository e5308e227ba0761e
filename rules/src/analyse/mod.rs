//! What is right by itself and still worth a word: rules that lock people out, say the same twice, or change nothing.
//!
//! In: the program, and the image it became. Out: warnings, and an error for rules that would refuse what a host needs
//! to be administered unless they say that they mean to.

mod cost;
mod exceptions;
mod overlap;
mod shadow;
mod vital;
mod witness;

use std::collections::HashMap;

pub use cost::{RuleCost, costs};
pub(crate) use vital::world;
pub use witness::{describe, witnesses};

use crate::{
    diag::Diagnostics,
    image::PolicyImage,
    ir::Program,
    parse::{Parsed, policy::Rule},
};

/// Looks at a program that has become an image.
pub fn analyse(
    parsed: &Parsed,
    program: &Program,
    image: &PolicyImage,
    diagnostics: &mut Diagnostics,
) {
    let written: HashMap<&str, &Rule> = parsed
        .policies
        .iter()
        .flat_map(|policy| &policy.rules)
        .map(|rule| (rule.id.value.as_str(), rule))
        .collect();
    let rules: Option<Vec<&Rule>> =
        program.rules.iter().map(|rule| written.get(rule.id.as_str()).copied()).collect();
    let Some(rules) = rules else { return };
    vital::check(&rules, program, image, diagnostics);
    let mut said = overlap::check(&rules, program, diagnostics);
    shadow::check(&rules, program, image, &mut said, diagnostics);
    exceptions::check(&rules, program, diagnostics);
}
