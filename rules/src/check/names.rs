//! The one namespace: lists, macros and rule ids of all files.

use std::{cell::Cell, collections::HashMap, rc::Rc};

use sha2::{Digest, Sha256};

use super::{Environment, beside, membership::join, value, version::requires};
use crate::{
    diag::{Code, Diagnostic, Diagnostics, Excerpt, closest},
    field::Type,
    ir::Pattern,
    live::Source,
    meta::ListMeta,
    parse::{
        Parsed,
        expression::Expression,
        feed::{self, Addresses, FeedError},
        policy::{FeedSource, List, ListKind, Policy, Spanned},
        source::{Sources, Span},
    },
};

/// Everything that expressions can name.
pub(super) struct Names<'p> {
    pub(super) lists: HashMap<&'p str, NamedList<'p>>,
    pub(super) macros: HashMap<&'p str, NamedMacro<'p>>,
    metadata: Vec<ListMeta>,
    feeds: Vec<Source>,
}

/// A list with its values read.
pub(super) struct NamedList<'p> {
    pub(super) list: &'p List,
    pub(super) values: Values,
    pub(super) used: Cell<bool>,
}

/// A macro.
pub(super) struct NamedMacro<'p> {
    pub(super) expression: Option<&'p Expression>,
    pub(super) span: Span,
    pub(super) used: Cell<bool>,
}

/// The values of a list.
#[derive(Clone)]
pub(super) enum Values {
    Patterns(Rc<Vec<Pattern>>),
    Ranges(Rc<Vec<(u32, u32)>>),
    Addresses(Rc<Addresses>),
    /// Some could not be read; said already.
    Broken,
}

impl<'p> Names<'p> {
    /// Says what no rule uses, and answers the lists for the metadata, and feeds of addresses.
    pub(super) fn finish(self, diagnostics: &mut Diagnostics) -> (Vec<ListMeta>, Vec<Source>) {
        let lists = self
            .lists
            .values()
            .filter(|named| !named.used.get())
            .map(|named| ("list", &named.list.name.value, named.list.name.span));
        let macros = self
            .macros
            .iter()
            .filter(|(_, named)| !named.used.get())
            .map(|(name, named)| ("macro", *name, named.span));
        let mut unused: Vec<(&str, String, Span)> = lists
            .map(|(what, name, span)| (what, name.clone(), span))
            .chain(macros.map(|(what, name, span)| (what, name.to_owned(), span)))
            .collect();
        unused.sort_by_key(|(.., span)| *span);
        // Where something else is wrong, rules may not have been read as far as their lists.
        if !diagnostics.failed() {
            for (what, name, span) in unused {
                diagnostics.add(
                    Diagnostic::warning(
                        Code::Unused,
                        span,
                        format!("the {what} `{name}` is used by no rule"),
                    )
                    .label("never used"),
                );
            }
        }
        (self.metadata, self.feeds)
    }

    /// The closest list.
    pub(super) fn closest_list(&self, word: &str) -> Option<&'p str> {
        let mut names: Vec<&'p str> = self.lists.keys().copied().collect();
        names.sort_unstable();
        closest(word, names)
    }

    /// The closest macro.
    pub(super) fn closest_macro(&self, word: &str) -> Option<&'p str> {
        let mut names: Vec<&'p str> = self.macros.keys().copied().collect();
        names.sort_unstable();
        closest(word, names)
    }
}

/// Complains when a name was seen before.
pub(super) fn once<'p>(
    seen: &mut HashMap<&'p str, Span>,
    what: &str,
    name: &'p Spanned<String>,
    diagnostics: &mut Diagnostics,
) -> bool {
    if name.value.is_empty() {
        // Missing, which has been said.
        return true;
    }
    match seen.insert(&name.value, name.span) {
        None => true,
        Some(first) => {
            diagnostics.add(
                Diagnostic::error(
                    Code::DuplicateName,
                    name.span,
                    format!("the {what} `{}` is used twice", name.value),
                )
                .label("and again here")
                .related(first, "used here first")
                .help("rename one of the two"),
            );
            false
        }
    }
}

/// Reads all lists and macros.
pub(super) fn collect<'p>(
    parsed: &'p Parsed,
    sources: &Sources,
    environment: Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> Names<'p> {
    let mut names = Names {
        lists: HashMap::new(),
        macros: HashMap::new(),
        metadata: Vec::new(),
        feeds: Vec::new(),
    };
    let mut seen = HashMap::new();
    let mut policies = HashMap::new();
    for policy in &parsed.policies {
        once(&mut policies, "policy name", &policy.name, diagnostics);
        requires(policy, diagnostics);
        for list in &policy.lists {
            if !once(&mut seen, "name", &list.name, diagnostics) {
                continue;
            }
            let (values, meta, feed) = read(list, policy, sources, environment, diagnostics);
            names.feeds.extend(feed);
            names.metadata.push(meta);
            names
                .lists
                .insert(&list.name.value, NamedList { list, values, used: Cell::new(false) });
        }
        for written in &policy.macros {
            if crate::field::find(&written.name.value).is_some() {
                diagnostics.add(
                    Diagnostic::error(
                        Code::DuplicateName,
                        written.name.span,
                        format!("`{}` is a field", written.name.value),
                    )
                    .label("a macro cannot have the name of a field"),
                );
            }
            if once(&mut seen, "name", &written.name, diagnostics) {
                names.macros.insert(
                    &written.name.value,
                    NamedMacro {
                        expression: written.expression.as_ref(),
                        span: written.name.span,
                        used: Cell::new(false),
                    },
                );
            }
        }
    }
    names
}

fn read(
    list: &List,
    policy: &Policy,
    sources: &Sources,
    environment: Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> (Values, ListMeta, Option<Source>) {
    let mut meta = ListMeta {
        name: list.name.value.clone(),
        file: String::new(),
        entries: list.items.len() as u64,
        digest: String::new(),
        stale_after_seconds: 0,
    };
    let before = diagnostics.count();
    let kind = match list.kind.value {
        ListKind::Path => Type::Path,
        ListKind::Name => Type::Name,
        ListKind::Text => Type::Text,
        ListKind::Domain => Type::Domain,
        ListKind::Cidr => Type::Address,
        ListKind::Port => Type::Port,
        ListKind::Number => Type::Number(u32::MAX),
    };
    let mut values = value::values(kind, None, list.items.iter(), diagnostics);
    if diagnostics.count() > before {
        values = Values::Broken;
    }
    if let Some(source) = &list.feed {
        let name = &sources.file(policy.file).name;
        let read = read_feed(source, name, list.kind.value, environment, &mut meta, diagnostics);
        let items = values.clone();
        values = read.map_or(Values::Broken, |read| join([values, read]));
        if let (Values::Addresses(items), Values::Addresses(all)) = (items, &mut values) {
            Rc::make_mut(all).from = vec![list.name.value.clone()];
            let feed = Source {
                list: list.name.value.clone(),
                file: beside(name, &source.file.value),
                max: source.max,
                items: (*items).clone(),
                own_entries: list.items.len() as u64,
                values: (**all).clone(),
            };
            return (values, meta, Some(feed));
        }
    }
    (values, meta, None)
}

fn read_feed(
    source: &FeedSource,
    policy_file: &str,
    kind: ListKind,
    environment: Environment<'_>,
    meta: &mut ListMeta,
    diagnostics: &mut Diagnostics,
) -> Option<Values> {
    let path = beside(policy_file, &source.file.value);
    let shown = path.display().to_string();
    let bytes = match environment.files.read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            diagnostics.add(
                Diagnostic::error(
                    Code::FeedUnreadable,
                    source.file.span,
                    format!("the feed `{shown}` cannot be read: {error}"),
                )
                .label("named here")
                .help("the file is looked for beside the policy file"),
            );
            return None;
        }
    };
    let read = match kind {
        ListKind::Cidr => feed::read(&bytes, source.max)
            .map(|(addresses, entries)| (Values::Addresses(Rc::new(addresses)), entries)),
        ListKind::Path | ListKind::Name | ListKind::Text | ListKind::Domain => {
            feed::patterns(&bytes, kind, source.max)
                .map(|(patterns, entries)| (Values::Patterns(Rc::new(patterns)), entries))
        }
        ListKind::Port | ListKind::Number => {
            diagnostics.add(
                Diagnostic::error(
                    Code::FeedUnreadable,
                    source.file.span,
                    format!("a feed of type `{}` is not possible", kind.name()),
                )
                .label("feeds hold addresses, domains, paths, names or texts")
                .help("write the numbers into the policy"),
            );
            return None;
        }
    };
    match read {
        Ok((values, entries)) => {
            meta.file = shown;
            meta.entries += u64::from(entries);
            meta.digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            meta.stale_after_seconds = source.stale_after_seconds;
            if entries == 0 {
                diagnostics.add(
                    Diagnostic::warning(
                        Code::Pointless,
                        source.file.span,
                        format!("the feed `{}` is empty", meta.file),
                    )
                    .label("nothing in it"),
                );
            }
            Some(values)
        }
        Err(FeedError::Line { line, text, reason }) => {
            let range = (0, text.len());
            diagnostics.add(
                Diagnostic::error(
                    Code::FeedLine,
                    source.file.span,
                    format!("line {line} of the feed cannot be read"),
                )
                .label(reason)
                .excerpt(Excerpt { file: shown, line, column: 1, text, range })
                .help("correct the line, or turn it into a comment with `#`"),
            );
            None
        }
        Err(FeedError::TooLong { max }) => {
            diagnostics.add(
                Diagnostic::error(
                    Code::FeedTooLong,
                    source.file.span,
                    format!("the feed `{shown}` has more than {max} entries"),
                )
                .help("raise `max` if that is right"),
            );
            None
        }
    }
}
