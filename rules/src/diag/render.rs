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

/// All diagnostics as text, with a summary line at the end.
pub fn terminal(diagnostics: &[Diagnostic], sources: &Sources, colour: Colour) -> String {
    let renderer = match colour {
        Colour::Ansi => Renderer::styled(),
        Colour::Plain => Renderer::plain(),
    };
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&[group(diagnostic, sources)]));
        text.push_str("\n\n");
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
        let mut snippet = snippet(span.file, sources).annotation(
            kind.span(range(span, sources)).label((!label.is_empty()).then_some(label)),
        );
        for (other, label) in &diagnostic.related {
            if other.file == span.file {
                snippet = snippet.annotation(
                    AnnotationKind::Context
                        .span(range(*other, sources))
                        .label((!label.is_empty()).then_some(label.as_str())),
                );
            }
        }
        group = group.element(snippet);
        for (other, label) in &diagnostic.related {
            if other.file != span.file {
                group = group.element(snippet_with(*other, label, sources));
            }
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

fn snippet<'a>(
    file: FileId,
    sources: &'a Sources,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let source = sources.file(file);
    Snippet::source(source.text.as_str()).path(source.name.as_str())
}

fn snippet_with<'a>(
    span: Span,
    label: &'a str,
    sources: &'a Sources,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    snippet(span.file, sources).annotation(
        AnnotationKind::Context
            .span(range(span, sources))
            .label((!label.is_empty()).then_some(label)),
    )
}

/// A span as the renderer wants it: on character boundaries, and no further than the end of its first line when it
/// covers a whole block.
fn range(span: Span, sources: &Sources) -> std::ops::Range<usize> {
    clamp(&sources.file(span.file).text, span.start as usize, span.end as usize)
}

fn clamp(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let mut start = start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    if text[start..end].bytes().filter(|byte| *byte == b'\n').count() > 3 {
        end = start + text[start..end].find('\n').unwrap_or(end - start);
    }
    let trimmed = text[start..end].trim_end().len();
    start..start + trimmed
}
