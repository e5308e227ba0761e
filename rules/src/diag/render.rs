//! Diagnostics for people, drawn by the renderer rustc uses.

use annotate_snippets::{AnnotationKind, Group, Level as Title, Origin, Renderer, Snippet};

use super::{Diagnostic, Level};
use crate::parse::source::{FileId, Sources, Span};

/// Whether the terminal shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours.
    Ansi,
    /// Plain text.
    Plain,
}

/// Most diagnostics shown to people: more are a wall.
const SHOWN: usize = 200;

/// All diagnostics as text, the first two hundred of them in full.
pub fn terminal(diagnostics: &[Diagnostic], sources: &Sources, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Ansi => Renderer::styled(),
        Colour::Plain => Renderer::plain(),
    };
    let mut text = String::new();
    for diagnostic in diagnostics.iter().take(SHOWN) {
        text.push_str(&renderer.render(&[group(diagnostic, sources)]));
        text.push_str("\n\n");
    }
    if diagnostics.len() > SHOWN {
        text.push_str(&format!(
            "{} more are not shown; `--format json` has all of them\n\n",
            diagnostics.len() - SHOWN
        ));
    }
    text
}

fn group<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Group<'a> {
    let title = match diagnostic.level {
        Level::Error => Title::ERROR,
        Level::Warning => Title::WARNING,
    };
    let mut group = title
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code.to_string())
        .elements(std::iter::empty::<Snippet<'_, annotate_snippets::Annotation<'_>>>());
    if let Some(excerpt) = &diagnostic.excerpt {
        let label =
            if diagnostic.label.is_empty() { None } else { Some(diagnostic.label.as_str()) };
        group = group.element(
            Snippet::source(excerpt.text.as_str())
                .path(excerpt.file.as_str())
                .line_start(excerpt.line as usize)
                .annotation(
                    AnnotationKind::Primary
                        .span(clamp(&excerpt.text, excerpt.range.0, excerpt.range.1))
                        .label(label),
                ),
        );
    }
    if let Some(span) = diagnostic.span {
        let label =
            if diagnostic.excerpt.is_some() { "named here" } else { diagnostic.label.as_str() };
        let kind = if diagnostic.excerpt.is_some() {
            AnnotationKind::Context
        } else {
            AnnotationKind::Primary
        };
        let near =
            |other: &Span| other.file == span.file && lines_between(span, *other, sources) < NEAR;
        let around = diagnostic
            .related
            .iter()
            .filter(|(other, _)| near(other))
            .fold(span, |all, (other, _)| all.to(*other));
        let window = Window::around(around, sources);
        let mut snippet = window
            .snippet(span.file, sources)
            .annotation(kind.span(window.range(span)).label((!label.is_empty()).then_some(label)));
        for (other, label) in diagnostic.related.iter().filter(|(other, _)| near(other)) {
            snippet = snippet.annotation(
                AnnotationKind::Context
                    .span(window.range(*other))
                    .label((!label.is_empty()).then_some(label.as_str())),
            );
        }
        group = group.element(snippet);
        for (other, label) in diagnostic.related.iter().filter(|(other, _)| !near(other)) {
            let window = Window::around(*other, sources);
            group = group.element(
                window.snippet(other.file, sources).annotation(
                    AnnotationKind::Context
                        .span(window.range(*other))
                        .label((!label.is_empty()).then_some(label.as_str())),
                ),
            );
        }
    } else if diagnostic.excerpt.is_none() {
        group = group.element(Origin::path("policy"));
    }
    for note in &diagnostic.notes {
        group = group.element(Title::NOTE.message(note.as_str()));
    }
    for help in &diagnostic.help {
        group = group.element(Title::HELP.message(help.as_str()));
    }
    group
}

/// Places this many lines apart are shown apart.
const NEAR: u32 = 200;

fn lines_between(one: Span, other: Span, sources: &Sources) -> u32 {
    sources.position(one).line.abs_diff(sources.position(other).line)
}

/// The lines that are shown: the renderer looks at every byte it is given, and files are large.
struct Window<'a> {
    text: &'a str,
    start: usize,
    line: u32,
}

impl<'a> Window<'a> {
    /// The whole lines a span covers.
    fn around(span: Span, sources: &'a Sources) -> Self {
        let text = &sources.file(span.file).text;
        let whole = clamp(text, span.start as usize, span.end as usize);
        let start = text[..whole.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[whole.end..].find('\n').map_or(text.len(), |at| whole.end + at + 1);
        Self { text: &text[start..end], start, line: sources.position(span).line }
    }

    fn snippet(
        &self,
        file: FileId,
        sources: &'a Sources,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.text)
            .line_start(self.line as usize)
            .path(sources.file(file).name.as_str())
    }

    /// A span of the file within the window.
    fn range(&self, span: Span) -> std::ops::Range<usize> {
        let from = |offset: u32| (offset as usize).saturating_sub(self.start);
        let whole = clamp(self.text, from(span.start), from(span.end));
        // What covers a whole block is underlined in its first line only.
        let covered = &self.text[whole.clone()];
        let end = match covered.find('\n') {
            Some(first) if covered.matches('\n').count() > 3 => whole.start + first,
            Some(_) | None => whole.end,
        };
        whole.start..whole.start + self.text[whole.start..end].trim_end().len()
    }
}

/// A byte range on character boundaries.
fn clamp(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let mut start = start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
