//! Every code there is: its number never changes its meaning and is never used again.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal, $story:literal;)+) => {
        /// A stable diagnostic code, shown as `IDT0301`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code { $(#[doc = $title] $name = $number,)+ }

        impl Code {
            /// All codes in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// One line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What it means, why it is refused, and what to do: the text of `interdict explain`.
            pub const fn story(self) -> &'static str {
                match self { $(Self::$name => $story,)+ }
            }
        }
    };
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IDT{:04}", *self as u16)
    }
}

impl Code {
    /// The code a user names: `IDT0301`, `idt301` or `301`.
    pub fn named(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        let number: u16 = upper.strip_prefix("IDT").unwrap_or(&upper).parse().ok()?;
        Self::ALL.iter().copied().find(|code| *code as u16 == number)
    }
}

codes! {
    // Files and YAML.
    YamlSyntax = 2, "this is not YAML",
"The file breaks the syntax of YAML 1.2, so nothing in it could be read. The place shown is where the reader noticed;
the cause is often one line above: a quote that was not closed, a tab used for indentation, a `: ` or ` #` inside text
that should be quoted. Expressions that hold `: `, ` #`, or start with `\"`, `[`, `{`, `*`, `&` or `!` must be quoted or
written as a block (`when: >-` and the expression on the next lines).";
    DuplicateKey = 3, "a key is given twice",
"A mapping holds the same key twice. Readers differ in which one they take, so neither is taken. Remove one; to add
more of the same, most keys take a list.";
    TooComplex = 4, "the document is too deep or too large",
"Policies nest a few levels; a document nested deeper than 64 levels, or one whose aliases unfold to more than four
million nodes, is refused before it can exhaust the machine. Split the file, or move large lists to a feed.";
    YamlFeature = 5, "a feature of YAML that policies do not use",
"Tags such as `!!python/object`, merge keys (`<<`) and keys that are lists or mappings have no meaning in a policy.
Anchors (`&name`) and aliases (`*name`) are fine.";

    // Shape of the document.
    UnknownKey = 101, "unknown key",
"The mapping has a key that means nothing here. It is refused rather than ignored, because an ignored key is a rule
that silently does something else than it says. The help names the closest key, or all keys that are possible.";
    MissingKey = 102, "a key is missing",
"Something cannot be left out here: a policy needs `metadata.name`, a rule needs `id`, `title`, `on` and `action`, an
exception needs `name`, `when`, `owner` and `reason`.";
    WrongShape = 103, "another kind of value is expected",
"A text stands where a list is expected, a mapping where a number is expected, and so on. YAML decides by its own rules
what a plain word is: `yes`, `no` and `1e3` stay text here, and numbers must be written as numbers.";
    WrongWord = 104, "not one of the possible words",
"The value must be one of a few words: modes are `off`, `audit`, `enforce`; severities `info`, `low`, `medium`, `high`,
`critical`; actions `alert`, `block`, `kill`; `on_fault` is `block` or `pass`.";
    WrongKind = 105, "not a document interdict knows",
"Every document starts with `apiVersion: interdict.dev/v1` and `kind: Policy` (or `Override`, or `Cases` for files of
test cases). Another version is refused: the meaning of what follows cannot be guessed.";
    WrongName = 106, "not a usable name",
"Rule ids are letters, digits, `-`, `_` and `.` (up to 64), such as `IDT-FILE-0201`; names of lists, macros, policies
and exceptions are letters, digits, `_` and `-`, and must not be words of the expression language.";
    DuplicateName = 107, "a name is used twice",
"Rule ids, lists and macros share one namespace over all files of a policy set, so that an alert or an override always
means one thing. Rename one of the two; a list used by several policies is defined once.";
    WrongAttack = 108, "not an ATT&CK technique",
"Technique ids look like `T1003` or `T1003.008`.";
    Unmet = 109, "this version is not the one the policy requires",
"`requires` names what the policy needs, such as `engine: \">=0.1\"`. A policy that needs more than this version has is
refused whole: half of a policy is not a policy.";
    WrongDate = 110, "not a date or a duration",
"Dates are `YYYY-MM-DD`, durations a number and a unit: `30s`, `5m`, `48h`, `7d`.";
    WrongTemplate = 111, "the message template is wrong",
"In a message `{field}` is replaced by the value of a field, and `{{` and `}}` stand for braces. The field must be one
that exists for every act of the rule.";

    // Expressions.
    WrongToken = 201, "the expression cannot be read here",
"The expression breaks its syntax: a string that is not closed, a character that means nothing, an operator without
its right side, a bracket without its partner. An expression is tests joined by `and`, `or`, `not` and parentheses; a
test is a field, an operator (`== != < <= > >= in startswith endswith contains glob matches`) and a value, or a field
and `exists`, or a field that is true or false by itself.";
    ForeignToken = 202, "an operator of another language",
"Some operators of other rule languages are spelled differently here: `and` for `&&`, `or` for `||`, `not` for `!`, `==`
for `=`, `in [\"a\", \"b\"]` for `in (a, b)`, `matches` for `=~` and `regex`.";
    TooDeep = 203, "the expression is nested too deeply",
"Parentheses and `not` may nest 64 levels. Name parts of the expression as macros.";

    // Names and types.
    UnknownField = 301, "unknown field or macro",
"No field and no macro has this name. `interdict fields` lists all fields with their types and the acts they are known
for.";
    UnknownAct = 302, "unknown act",
"`on` names acts on objects, such as `exec`, `file.read` or `net.connect`, never system calls or kernel functions.";
    UnknownList = 303, "unknown list",
"`in name` looks for a list of that name in all files of the policy set, and there is none.";
    Cycle = 304, "macros that use each other",
"A macro is replaced by its expression, so it cannot use itself, directly or through others.";
    WrongOperator = 305, "this operator does not fit the field",
"Texts take `== != in startswith endswith contains glob matches exists`; numbers `== != < <= > >= in`; addresses `== !=
in`; words such as protocols `== != in`; yes-or-no fields stand alone, as in `exec.memfd` or `not exec.memfd`.";
    WrongValue = 306, "this value does not fit the field",
"The value has another type than the field, is out of its range, or is not one of its words.";
    WrongPattern = 307, "the pattern cannot be read",
"A glob or regular expression breaks its syntax. In globs `*` matches within one component of a path, `**` across
components, `?` one character, `[a-z]` one of a set, `{a,b}` one of several; `\\` makes the next character ordinary.
Regular expressions are those of the Rust regex crate, without look-around and backreferences, because those cannot be
decided byte by byte; they match anywhere unless they hold `^` and `$`.";
    Unquoted = 308, "text needs quotes",
"A bare word is a field, a list, a macro, a number, an address or a path that starts with `/`. Other text is quoted, so
that a misspelled list is never taken for text that no program is called.";
    FieldOfOtherAct = 309, "the field is not known for this act",
"Each act has its own object: the program that is to run is `exec.path`, the file that is touched is `file.path`, the
peer of a connection is `net.dst.ip`. A rule that names several acts may only test fields that all of them have; make
two rules, or put the common part in a macro.";
    ListType = 310, "the list holds something else",
"A list has a type (`path`, `name`, `text`, `domain`, `cidr`, `port`, `number`), and it must fit the field it is compared with.";
    Pointless = 311, "the test is always true or always false",
"A test that no act can ever meet (or fail) is a mistake: an empty list, a port above 65535, a range whose end is before
its start, a value that is required to be two different things at once.";

    // What can be enforced.
    // 401 was said of acts that no kernel program decided. There are none left.
    FieldNotDecided = 402, "this version does not know this field in the kernel",
"The field is part of the language, but the kernel programs of this version do not gather it for this act, so a rule on
it could never be decided.";
    ActionNotPossible = 403, "the action is not possible here",
"What a rule may do depends on when its facts are final. Arguments of a new program are final only after the kernel has
copied them: then the program can be killed before its first instruction runs, but its start can no longer be refused.
A packet belongs to no process, so nothing can be killed for it. Fields of class U (`user.name`, `host.name`,
`file.sha256`, ...) are known in user space, after the act: they narrow what `action: alert` rules tell, and a rule that
blocks or kills cannot depend on them. What a container's runtime tells (`container.image`, `k8s.namespace`, ...) is handed
to the kernel, so rules that block or kill may test it; until it is there their `on_fault` decides.";
    TooManyClauses = 404, "the rule unfolds into too many clauses",
"`or` inside `and` multiplies: a rule is turned into alternatives that each are a plain conjunction, and there may be 256
of them. Use `in [...]` instead of `or` over one field, or split the rule.";
    TooManySets = 405, "too many tests on ancestors or arguments",
"One alternative of a rule may hold four tests on what has many values: `process.ancestor.exe`, `exec.args`,
`process.args` and `process.caps`. Put alternatives into one `in [...]`, which counts once, or split the rule.";
    ScopeNotPossible = 406, "the scope cannot be enforced",
"A scope says whose acts the rules of a policy are about: the host's, containers', or those of some pods or images. A packet
has no process, so it lies in no scope, and neither does a look-up of a name: put such rules into a policy without one. A scope
that leaves out the host and containers holds nothing, and one that names pods or images has to hold for containers.";
    DoesNotFit = 407, "the policy does not fit into an image",
"Patterns become automata and rules become rows of bits; both have budgets, because the kernel reads them on every act.
The message names the pattern and the count. Patterns with several `**` in the middle multiply with each other; a fixed
prefix keeps them apart.";
    NeverActs = 408, "the mode of the rule has no effect",
"A policy in `audit` only tells, whatever its rules say: the weaker of the policy's and the rule's mode holds.";

    // Feeds.
    FeedUnreadable = 501, "the feed cannot be read",
"The file named by `feed.file` is looked for relative to the policy file.";
    FeedLine = 502, "a line of the feed cannot be read",
"A feed holds one address, CIDR block or range `first-last` per line, with `#` and `;` comments, or the JSON lines of
Spamhaus DROP (`{\"cidr\": ...}`). Lists of paths, names and texts take one per line, compared exactly; lists of domains
one per line or the lines of a hosts file, each with everything below it. A line that cannot be read stops the compilation: a feed that is half read blocks
half of what it should.";
    FeedTooLong = 503, "the feed has more entries than allowed",
"`feed.max` (1,000,000 unless stated) bounds the entries, so that a broken or hostile feed cannot fill the image.";

    // Overrides.
    SelectsNothing = 551, "an override changes nothing",
"What an override was meant for is not there: no rule meets its selection, or an item to remove is not in the list.
Perhaps a new version of the vendor's policies renamed it. It is refused, because the rule would run unchanged while
the site believes it has been changed.";
    OverridesDisagree = 552, "two overrides disagree",
"Two overrides set the mode of the same rule differently, and nothing says which is meant. Narrow one selection.";

    // Tests.
    WrongEvent = 601, "the event of the test cannot be read",
"An event names one act with its object, as in `{ file.read: { path: /etc/shadow } }`, and beside it what is known of the
acting process: `process: { exe, name, uid, args: [..], parent: { exe }, ancestors: [..], ... }`, `container: { id, image,
... }`, `k8s: { namespace, pod, labels: [..], ... }`, `user: { name }`, as fields are called; and `unknown: [..]`, the fields
that could not be learned.";
    WrongExpectation = 602, "the expectation of the test makes no sense",
"`expect` is `pass`, `alert`, `block` or `kill`; `rules` names rule ids of this policy set.";

    // Analysis.
    Expired = 701, "the exception has expired",
"An exception holds until the end of the day named by `expires`. Afterwards it no longer excuses anything, and `check`
says so until somebody renews it or removes it.";
    NeverMatches = 702, "the rule can never match",
"Every alternative of the rule contradicts itself, so no act can meet it.";
    Duplicate = 703, "two rules are about the same acts",
"Two rules have the same clauses and exceptions. If they ask for the same, one is superfluous; if they do not, the
strongest action in force holds, and the other one misleads its readers.";
    Shadowed = 704, "the rule changes no verdict",
"Whatever the rule matches, another rule matches as well, and that one is at least as strong. The rule is still told,
but removing it would change no verdict.";
    UselessException = 705, "the exception can never excuse anything",
"The exception asks for something that contradicts what its rule asks for, so the two never hold together.";
    Unused = 706, "a list or macro is used by no rule",
"It is read and checked and then forgotten. Perhaps a rule was meant to use it and names another one.";
    LockOut = 707, "the rule would lock people out",
"The compiler decides some ninety acts that a host needs to be administered: init and services starting, logging in by
SSH and at the console, sudo and su, the package manager, cron, the container runtime, and this agent's own work. A
rule that would refuse one of them in force is refused, because nobody could correct it afterwards. Narrow it, except
what must stay possible, try it in `mode: audit` first, or say `means_to: lock_out` in the rule.";
}

#[cfg(test)]
mod tests {
    use super::Code;

    #[test]
    fn codes_ascend_and_have_a_story() {
        assert!(Code::ALL.is_sorted_by(|left, right| (*left as u16) < (*right as u16)));
        for code in Code::ALL {
            assert!(code.story().len() > code.title().len(), "{code}");
        }
    }

    #[test]
    fn a_code_is_found_however_it_is_written() {
        assert_eq!(Code::named("IDT0301"), Some(Code::UnknownField));
        assert_eq!(Code::named("idt301"), Some(Code::UnknownField));
        assert_eq!(Code::named("301"), Some(Code::UnknownField));
        assert_eq!(Code::named("IDT9999"), None);
    }
}
