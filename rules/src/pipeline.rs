//! All stages in a row: what callers outside this crate use.

mod unfit;

use crate::{
    analyse,
    check::{self, Environment},
    diag::{Diagnostic, Diagnostics, Level},
    image::PolicyImage,
    ir,
    live::Feeds,
    lower, normalise,
    parse::{
        self, Parsed,
        source::{Files, Sources},
    },
    roots, suite,
};

/// What a compilation depends on besides its sources.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Reads the feeds that policies name.
    pub files: &'a dyn Files,
    /// Today, `YYYY-MM-DD`: exceptions that ended before it no longer excuse.
    pub today: &'a str,
    /// What the image may take.
    pub budget: lower::Budget,
}

/// What came of a compilation.
#[derive(Debug)]
pub struct Outcome {
    /// The image, unless there is an error among the diagnostics.
    pub image: Option<PolicyImage>,
    /// The feeds of addresses in it that can be changed by difference.
    pub live: Option<Feeds>,
    /// What the image is made of.
    pub stats: Option<lower::Stats>,
    /// Everything there is to tell, in the order of its places.
    pub diagnostics: Vec<Diagnostic>,
    /// The rules in normal form.
    pub program: ir::Program,
    /// What was written: the tests are in here.
    pub parsed: Parsed,
}

impl Outcome {
    /// Whether there is an error.
    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.level == Level::Error)
    }
}

/// Compiles sources to an image, or to diagnostics, or to both when there are only warnings.
///
/// ```
/// use interdict_rules::{Options, compile, lower::Budget, parse::source::{NoFiles, Sources}};
///
/// let mut sources = Sources::new();
/// sources.add("shadow.yaml", r#"
/// apiVersion: interdict.dev/v1
/// kind: Policy
/// metadata: { name: credentials }
/// spec:
///   rules:
///     - id: SHADOW
///       title: Somebody reads the password hashes
///       on: file.read
///       when: file.path == "/etc/shadow" and process.uid != 0
///       action: block
/// "#);
/// let options = Options { files: &NoFiles, today: "2026-01-01", budget: Budget::default() };
/// let outcome = compile(&sources, &options);
/// assert!(outcome.image.is_some(), "{:?}", outcome.diagnostics);
/// ```
pub fn compile(sources: &Sources, options: &Options<'_>) -> Outcome {
    let mut diagnostics = Diagnostics::new();
    let parsed = parse::parse(sources, &mut diagnostics);
    let environment = Environment { files: options.files, today: options.today };
    let (program, mut metadata, feeds) = {
        let mut checked = check::check(&parsed, sources, environment, &mut diagnostics);
        let feeds = std::mem::take(&mut checked.feeds);
        let (program, metadata) = normalise::normalise(checked, sources, &mut diagnostics);
        (program, metadata, feeds)
    };
    metadata.roots = roots::of(&program);
    suite::check(&parsed, &mut diagnostics);
    let mut image = None;
    let mut stats = None;
    let mut live = None;
    if !diagnostics.failed() {
        match lower::lower_live(&program, metadata.clone(), options.budget) {
            Ok((made, counted, columns)) => {
                analyse::analyse(&parsed, &program, &made, &mut diagnostics);
                live = Feeds::of(made.kernel(), columns, feeds);
                image = Some(made);
                stats = Some(counted);
            }
            Err(error) => unfit::tell(&error, &parsed, &metadata, &mut diagnostics),
        }
    }
    if diagnostics.failed() {
        image = None;
        live = None;
    }
    Outcome { image, live, stats, diagnostics: diagnostics.into_sorted(), program, parsed }
}
