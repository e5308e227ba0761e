//! Keeps secrets that were given as arguments out of alerts.
//!
//! Four shapes are known: `--password=VALUE` and `PASSWORD=VALUE` (the name holds a telling word), `--password VALUE`
//! (the next argument), `scheme://user:VALUE@host`, and `Authorization: Bearer VALUE`. The value is replaced by
//! [`REDACTED`] and the field's name goes into the alert's `redacted` list. It happens when a process is first seen,
//! so that the agent itself doesn't keep them.

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

const TELLING_WORDS: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "access-key",
    "access_key",
    "private_key",
];

/// Which words tell that a value is secret.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    more_words: Vec<String>,
}

impl Redaction {
    /// The built-in words and these.
    pub fn with_words(words: &[String]) -> Self {
        Self { more_words: words.iter().map(|word| word.to_ascii_lowercase()).collect() }
    }

    /// Redacts arguments in place; returns the indices that changed.
    pub fn apply(&self, args: &mut [String]) -> Vec<u16> {
        let mut changed = Vec::new();
        let mut next_is_secret = false;
        for (index, arg) in args.iter_mut().enumerate() {
            let hidden = if next_is_secret && !arg.starts_with('-') {
                Some(REDACTED.to_owned())
            } else {
                self.hide(arg)
            };
            next_is_secret = hidden.is_none() && self.names_a_secret_that_follows(arg);
            if let Some(hidden) = hidden {
                *arg = hidden;
                changed.push(u16::try_from(index).unwrap_or(u16::MAX));
            }
        }
        changed
    }

    fn hide(&self, arg: &str) -> Option<String> {
        if let Some((name, value)) = arg.split_once('=')
            && !value.is_empty()
            && self.is_telling(name)
        {
            return Some(format!("{name}={REDACTED}"));
        }
        if let Some((scheme, rest)) = arg.split_once("://") {
            let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(authority_end);
            if let Some((user_info, host)) = authority.rsplit_once('@')
                && let Some((user, secret)) = user_info.split_once(':')
                && !secret.is_empty()
            {
                return Some(format!("{scheme}://{user}:{REDACTED}@{host}{path}"));
            }
        }
        let (name, value) = arg.split_once(':')?;
        (name.trim().eq_ignore_ascii_case("authorization") && !value.trim().is_empty())
            .then(|| format!("{name}: {REDACTED}"))
    }

    fn names_a_secret_that_follows(&self, arg: &str) -> bool {
        arg.starts_with("--") && !arg.contains('=') && self.is_telling(arg)
    }

    fn is_telling(&self, name: &str) -> bool {
        // Names are short; a long "name" is data with an equals sign in it.
        name.len() <= 128
            && (TELLING_WORDS.iter().any(|word| contains_ignoring_case(name, word))
                || self.more_words.iter().any(|word| contains_ignoring_case(name, word)))
    }
}

fn contains_ignoring_case(text: &str, word: &str) -> bool {
    !word.is_empty()
        && text
            .as_bytes()
            .windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(args: &[&str]) -> (Vec<String>, Vec<u16>) {
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let changed = Redaction::default().apply(&mut args);
        (args, changed)
    }

    #[test]
    fn secrets_in_all_four_shapes_are_hidden() {
        let (args, changed) = redacted(&[
            "curl",
            "--password=hunter2",
            "PGPASSWORD=x",
            "--api-key",
            "k1",
            "https://bob:pw@host/p?q",
            "Authorization: Bearer abc",
            "plain",
        ]);
        assert_eq!(
            args,
            [
                "curl",
                "--password=[redacted]",
                "PGPASSWORD=[redacted]",
                "--api-key",
                "[redacted]",
                "https://bob:[redacted]@host/p?q",
                "Authorization: [redacted]",
                "plain"
            ]
        );
        assert_eq!(changed, [1, 2, 4, 5, 6]);
    }

    #[test]
    fn an_option_after_a_secret_option_is_not_taken_for_its_value() {
        let (args, _) = redacted(&["x", "--token", "--verbose", "value"]);
        assert_eq!(args, ["x", "--token", "--verbose", "value"]);
    }

    #[test]
    fn words_can_be_added() {
        let mut args = vec!["--pin=1234".to_owned()];
        assert_eq!(Redaction::with_words(&["PIN".to_owned()]).apply(&mut args), [0]);
        assert_eq!(args, ["--pin=[redacted]"]);
    }

    #[test]
    fn text_around_a_sign_that_is_not_ascii_does_not_break() {
        let (args, changed) = redacted(&["пароль=секрет", "://:@", "://a:b@", "="]);
        assert_eq!(args[2], "://a:[redacted]@");
        assert_eq!(changed, [2]);
    }
}
