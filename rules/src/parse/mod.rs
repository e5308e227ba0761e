//! Text to [`policy::Policy`]: what was written, with its places, not yet judged.
//!
//! In: [`source::Sources`]. Out: parsed documents, or as many diagnostics as there are mistakes of form. Whether words
//! are fields, whether types agree and whether anything can be enforced is for `check`.

pub mod cases;
mod document;
pub mod expression;
pub mod feed;
pub mod keys;
mod list;
mod overrides;
pub mod policy;
mod rule;
mod scope;
mod shape;
pub mod source;
pub mod text;
mod words;
pub mod yaml;

use crate::diag::Diagnostics;
use source::Sources;

/// Everything that was written in all files.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Policies in the order of their files.
    pub policies: Vec<policy::Policy>,
    /// Changes to them.
    pub overrides: Vec<policy::Overrides>,
    /// Case files.
    pub cases: Vec<cases::Cases>,
}

/// Parses all sources.
pub fn parse(sources: &Sources, diagnostics: &mut Diagnostics) -> Parsed {
    let mut parsed = Parsed::default();
    for (file, source) in sources.iter() {
        for document in yaml::documents(file, &source.text, diagnostics) {
            document::document(&document, &source.text, &mut parsed, diagnostics);
        }
    }
    overrides::apply(&mut parsed, diagnostics);
    parsed
}
