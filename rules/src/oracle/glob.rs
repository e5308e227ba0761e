//! Globs by backtracking, straight from the text. Braces are expanded as text; globs that are not well formed match
//! nothing.

/// Whether `glob` matches all of `text`.
pub(super) fn matches(glob: &str, text: &[u8]) -> bool {
    expand(glob.as_bytes()).iter().any(|plain| {
        let mut tokens = tokens(plain);
        while tokens.ends_with(&[Token::Byte(b'/'), Token::Any, Token::Byte(b'/'), Token::Any]) {
            tokens.truncate(tokens.len() - 2);
        }
        here(&tokens, text, true)
    })
}

#[derive(Clone, PartialEq)]
enum Token {
    Byte(u8),
    Question,
    Star,
    Any,
    Set(bool, Vec<(u8, u8)>),
}

/// All globs without braces that a glob stands for.
fn expand(glob: &[u8]) -> Vec<Vec<u8>> {
    let Some((open, _)) = special(glob, 0).find(|(_, byte)| *byte == b'{') else {
        return vec![glob.to_vec()];
    };
    let mut depth = 0;
    let mut start = open + 1;
    let mut choices = Vec::new();
    let mut close = None;
    for (at, byte) in special(glob, open) {
        match byte {
            b'{' => depth += 1,
            b',' if depth == 1 => {
                choices.push(&glob[start..at]);
                start = at + 1;
            }
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&glob[start..at]);
                    close = Some(at);
                    break;
                }
            }
            _ => {}
        }
    }
    let Some(close) = close else { return Vec::new() };
    choices
        .iter()
        .flat_map(|choice| expand(&[&glob[..open], choice, &glob[close + 1..]].concat()))
        .collect()
}

/// The bytes from `from` on that are neither escaped nor inside brackets.
fn special(glob: &[u8], from: usize) -> impl Iterator<Item = (usize, u8)> {
    let mut found = Vec::new();
    let mut at = from;
    while at < glob.len() {
        match glob[at] {
            b'\\' => at += 1,
            b'[' => at = end_of_set(glob, at),
            byte => found.push((at, byte)),
        }
        at += 1;
    }
    found.into_iter()
}

/// The place of the `]` that ends the set that starts at `open`.
fn end_of_set(glob: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    if matches!(glob.get(at), Some(b'!' | b'^')) {
        at += 1;
    }
    let first = at;
    while at < glob.len() && (glob[at] != b']' || at == first) {
        if glob[at] == b'\\' {
            at += 1;
        }
        at += 1;
    }
    at
}

fn tokens(glob: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < glob.len() {
        match glob[at] {
            b'\\' => {
                at += 1;
                tokens.extend(glob.get(at).map(|byte| Token::Byte(*byte)));
            }
            b'?' => tokens.push(Token::Question),
            b'*' => {
                let stars = glob[at..].iter().take_while(|byte| **byte == b'*').count();
                tokens.push(if stars > 1 { Token::Any } else { Token::Star });
                at += stars - 1;
            }
            b'[' => {
                let end = end_of_set(glob, at);
                tokens.push(set(&glob[at + 1..end.min(glob.len())]));
                at = end;
            }
            byte => tokens.push(Token::Byte(byte)),
        }
        at += 1;
    }
    tokens
}

fn set(inside: &[u8]) -> Token {
    let negated = matches!(inside.first(), Some(b'!' | b'^'));
    let mut members = Vec::new();
    let mut rest = if negated { &inside[1..] } else { inside };
    let one = |rest: &mut &[u8]| {
        if rest.first() == Some(&b'\\') {
            *rest = &rest[1..];
        }
        let byte = rest[0];
        *rest = &rest[1..];
        byte
    };
    while !rest.is_empty() {
        let low = one(&mut rest);
        let mut high = low;
        if rest.len() > 1 && rest[0] == b'-' {
            rest = &rest[1..];
            high = one(&mut rest);
        }
        members.push((low, high));
    }
    Token::Set(negated, members)
}

/// Whether `tokens` match all of `text`; `fresh` at the beginning of a component of the glob.
fn here(tokens: &[Token], text: &[u8], fresh: bool) -> bool {
    let slash = Token::Byte(b'/');
    let Some((token, rest)) = tokens.split_first() else { return text.is_empty() };
    if *token == slash && *rest == [Token::Any] {
        return text.is_empty() || text[0] == b'/';
    }
    match token {
        Token::Any if fresh && rest.first() == Some(&slash) => {
            let after = &rest[1..];
            here(after, text, true)
                || (0..text.len()).any(|at| text[at] == b'/' && here(after, &text[at + 1..], true))
        }
        Token::Any => (0..=text.len()).any(|at| here(rest, &text[at..], false)),
        Token::Star => {
            let within = text.iter().take_while(|byte| **byte != b'/').count();
            (0..=within).any(|at| here(rest, &text[at..], false))
        }
        Token::Byte(byte) => text.first() == Some(byte) && here(rest, &text[1..], *byte == b'/'),
        Token::Question => {
            text.first().is_some_and(|byte| *byte != b'/') && here(rest, &text[1..], false)
        }
        Token::Set(negated, members) => {
            text.first().is_some_and(|byte| {
                let listed = members.iter().any(|(low, high)| low <= byte && byte <= high);
                *byte != b'/' && listed != *negated
            }) && here(rest, &text[1..], false)
        }
    }
}
