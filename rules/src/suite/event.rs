//! A written event to the facts of the acts it is.
//!
//! What a test leaves out has the value that is ordinary: an unprivileged user (1000) on the host, a regular file with
//! mode 644 (programs 755) that belongs to root, TCP. Programs that are not named match nothing.

use std::{collections::BTreeMap, net::IpAddr};

use interdict_abi::ids::{Act, Calling, Fact, Family, SetFact, object_flags, process_flags};

use crate::{
    diag::{Code, Diagnostic, closest},
    field::{
        self, Class, FIELDS, Field, PERMISSION_BITS, Resolved, Type, Unresolved, Words,
        number_word, syscall_name, syscall_names, syscall_numbers,
    },
    parse::{
        cases::{Given, WrittenEvent},
        policy::Spanned,
        source::Span,
    },
    run::{Event, Strings, Value},
    told::{Known, image_names, label_lines},
};

/// One thing that happens: the events that the kernel decides about it, in their order.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The act as written.
    pub act: Act,
    /// For `exec` two: before the start, and when arguments are final.
    pub events: Vec<Event>,
    /// What is known of fields of class U; one that is not in here is absent.
    pub told: BTreeMap<String, Known>,
}

impl Occurrence {
    /// What is known of a field of class U.
    pub fn known(&self, field: &str) -> Known {
        self.told.get(field).cloned().unwrap_or(match field {
            "container.id" => Known::Text(vec!["host".to_owned()]),
            "file.access" => match self.act.name().strip_prefix("file.") {
                Some(access) => Known::Text(vec![access.to_owned()]),
                None => Known::Absent,
            },
            _other => Known::Absent,
        })
    }
}

/// Why an event cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EventError {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
}

impl EventError {
    /// For an operator.
    pub fn diagnostic(&self) -> Diagnostic {
        Diagnostic::error(Code::WrongEvent, self.span, self.message.clone())
            .maybe_help(self.help.clone())
    }
}

/// Reads a written event.
pub fn occurrence(written: &WrittenEvent) -> Result<Occurrence, EventError> {
    let known = || Act::ALL.iter().copied().filter(|act| act.is_named());
    let Some(act) = known().find(|act| act.name() == written.act.value) else {
        return Err(EventError {
            span: written.act.span,
            message: format!("there is no act `{}`", written.act.value),
            help: closest(&written.act.value, known().map(Act::name))
                .map(|meant| format!("did you mean `{meant}`?")),
        });
    };
    let mut told = BTreeMap::new();
    for given in &written.values {
        tell(&mut told, act, given)?;
    }
    let mut events = Vec::new();
    for act in std::iter::once(act).chain(act.later()) {
        let mut event = ordinary(act);
        for given in &written.values {
            give(&mut event, act, given)?;
        }
        finish(&mut event, act, written)?;
        let other = other_end(&event, act);
        events.push(event);
        events.extend(other);
    }
    Ok(Occurrence { act, events, told })
}

/// Notes a value of a field of class U.
fn tell(told: &mut BTreeMap<String, Known>, act: Act, given: &Given) -> Result<(), EventError> {
    let of_user_space = |field: &Field| {
        field.kind == Type::Container
            || field.class == Class::Place && field.belongs_to(act)
            || std::iter::once(act)
                .chain(act.later())
                .any(|act| field.resolve(act) == Err(Unresolved::UserSpace))
    };
    if given.name == "unknown" {
        for word in &given.values {
            let field = find(&word.value, word.span)?;
            if of_user_space(field) {
                told.insert(field.name.to_owned(), Known::Unknown);
            }
        }
        return Ok(());
    }
    let name = full_name(act, given);
    let field = find(&name, given.span)?;
    if !of_user_space(field) {
        return Ok(());
    }
    let known = match field.kind {
        Type::Number(_) => Known::Number(number(field, one(given)?)?),
        Type::Flag => Known::Number(truth(one(given)?)?.into()),
        Type::Image => Known::Text(image_names(&one(given)?.value)),
        Type::Path
        | Type::Name
        | Type::Text
        | Type::Domain
        | Type::Port
        | Type::Word(_)
        | Type::Address
        | Type::Container => {
            Known::Text(given.values.iter().map(|value| value.value.clone()).collect())
        }
    };
    told.insert(field.name.to_owned(), known);
    Ok(())
}

/// The name in the language of what a test gives.
fn full_name(act: Act, given: &Given) -> String {
    match (given.of_object, given.name.as_str()) {
        // Of a look-up the name, and where it goes to.
        (true, name) if act.family() == Family::Dns && name != "name" => format!("net.{name}"),
        (true, name) => format!("{}.{name}", object(act)),
        (false, "process.ancestors") => "process.ancestor.exe".to_owned(),
        (false, name) => name.to_owned(),
    }
}

/// A rename or link is judged by either end: the same act with its other end as the path.
fn other_end(event: &Event, act: Act) -> Option<Event> {
    if act != Act::FileRename && act != Act::FileLink {
        return None;
    }
    let Value::Text(path) = event.value(Fact::SecondPath) else { return None };
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    let path = path.clone();
    Some(event.clone().with(Fact::Path, Value::Text(path)).with(Fact::Name, Value::Text(last)))
}

fn ordinary(act: Act) -> Event {
    let number = |value: u32| Value::Number(value);
    let mut event = Event::new(act);
    if act.family().has_process() {
        for fact in [Fact::Uid, Fact::Euid, Fact::Gid] {
            event = event.with(fact, number(1000));
        }
        event = event
            .with(Fact::ProcessFlags, number(0))
            .with(Fact::LoginUid, number(1000))
            .with(Fact::Pid, number(4_242))
            .with(Fact::StartAge, number(60))
            .with(Fact::Cwd, Value::Text(b"/".to_vec()))
            .with(Fact::ContainerId, Value::Text(b"host".to_vec()));
    }
    match object(act) {
        "exec" if act == Act::ExecArgs => event,
        "exec" => event
            .with(Fact::ObjectFlags, number(0))
            .with(Fact::ObjectMode, number(0o100_755))
            .with(Fact::ObjectOwner, number(0)),
        "file" => event
            .with(Fact::ObjectFlags, number(0))
            .with(Fact::ObjectMode, number(0o100_644))
            .with(Fact::ObjectOwner, number(0))
            .with(Fact::FsMagic, number(0xef53)),
        "net" if act == Act::NetClose => event
            .with(Fact::Protocol, number(6))
            .with(Fact::BytesIn, number(0))
            .with(Fact::BytesOut, number(0))
            .with(Fact::Duration, number(0)),
        "net" => event.with(Fact::Protocol, number(6)),
        "dns" => event.with(Fact::Protocol, number(17)).with(Fact::RemotePort, number(53)),
        "ptrace" | "signal" => event.with(Fact::TargetUid, number(1000)),
        "syscall" => {
            let arguments = [
                Fact::Argument0,
                Fact::Argument1,
                Fact::Argument2,
                Fact::Argument3,
                Fact::Argument4,
                Fact::Argument5,
            ];
            let event = arguments
                .into_iter()
                .fold(event, |event, argument| event.with(argument, number(0)));
            event.with(Fact::Result, number(0)).with(Fact::Error, number(0))
        }
        _ => event,
    }
}

/// The first part of the names of the fields of an act's object.
fn object(act: Act) -> &'static str {
    match act.family() {
        Family::Exec | Family::Started => "exec",
        Family::File => "file",
        Family::Net | Family::Packet => "net",
        Family::Dns => "dns",
        Family::Syscall => "syscall",
        Family::System => match act {
            Act::Ptrace => "ptrace",
            Act::Signal => "signal",
            Act::ModuleLoad | Act::Kexec => "file",
            Act::NsCreate => "ns",
            Act::CapUse => "cap",
            Act::Setuid => "setuid",
            Act::Setgid => "setgid",
            Act::PerfOpen => "perf",
            _ => act.name(),
        },
    }
}

fn give(event: &mut Event, act: Act, given: &Given) -> Result<(), EventError> {
    if given.name == "unknown" {
        for word in &given.values {
            let field = find(&word.value, word.span)?;
            match resolved(field, act) {
                Some(Resolved::Set(SetFact::Ancestors)) => event.ancestors = Strings::Unknown,
                Some(Resolved::Set(SetFact::Args)) => event.args = Strings::Unknown,
                Some(
                    Resolved::Fact(fact)
                    | Resolved::Directory(fact)
                    | Resolved::LastOf(fact)
                    | Resolved::Flags(fact, _),
                ) => {
                    event.facts.insert(fact, Value::Unknown);
                }
                Some(Resolved::TypeBits | Resolved::PermissionBits) => {
                    event.facts.insert(Fact::ObjectMode, Value::Unknown);
                }
                Some(Resolved::Container) => {
                    event.facts.insert(Fact::ProcessFlags, Value::Unknown);
                    event.facts.insert(Fact::ContainerId, Value::Unknown);
                }
                Some(Resolved::FlagNumbers(fact)) => {
                    event.facts.insert(fact, Value::Unknown);
                }
                Some(Resolved::Calling) => {
                    event.facts.insert(Fact::Number, Value::Unknown);
                }
                Some(Resolved::Capabilities | Resolved::Set(SetFact::Caps)) => {
                    event.capabilities = None;
                }
                None => {}
            }
        }
        return Ok(());
    }
    let field = find(&full_name(act, given), given.span)?;
    if !field.belongs_to(act) {
        return Err(EventError {
            span: given.span,
            message: format!("`{}` is not known for `{}`", field.name, act.name()),
            help: None,
        });
    }
    let Some(resolved) = resolved(field, act) else {
        if field.resolve(act) == Err(Unresolved::UserSpace) {
            return Ok(());
        }
        // A start is decided twice, and either time not all of it is known.
        let before = act.later().is_some_and(|later| field.resolve(later).is_ok());
        if !act.is_named() || before {
            return Ok(());
        }
        return Err(EventError {
            span: given.span,
            message: format!(
                "this version does not know `{}` in the kernel for `{}`",
                field.name,
                act.name()
            ),
            help: None,
        });
    };
    match resolved {
        Resolved::Set(set) => {
            let strings = given.values.iter().map(|value| value.value.clone().into_bytes());
            let strings = Strings::Known(strings.collect());
            match set {
                SetFact::Ancestors => event.ancestors = strings,
                SetFact::Args => {
                    let count = u32::try_from(given.values.len()).unwrap_or(u32::MAX);
                    event.facts.insert(Fact::ArgCount, Value::Number(count));
                    event.args = strings;
                }
                SetFact::Caps => {}
            }
        }
        Resolved::FlagNumbers(fact) => {
            for value in &given.values {
                set_bits(event, fact, 1 << number(field, value)?, true);
            }
        }
        Resolved::Capabilities => {
            let mut held = 0;
            for value in &given.values {
                held |= 1 << number(field, value)?;
            }
            event.capabilities = Some(held);
        }
        Resolved::Calling => {
            let given = one(given)?;
            called(event, number(field, given)?, given)?;
        }
        Resolved::Fact(Fact::Number) if field.kind == Type::Word(Words::Syscall) => {
            let given = one(given)?;
            let numbers = syscall_numbers(&given.value).ok_or_else(|| EventError {
                span: given.span,
                message: format!("there is no system call `{}`", given.value),
                help: closest(&given.value, syscall_names())
                    .map(|meant| format!("did you mean `{meant}`?")),
            })?;
            event.facts.insert(Fact::Number, Value::Number(numbers[0]));
        }
        Resolved::Fact(Fact::PodLabels) => {
            let labels = given.values.iter().map(|label| label.value.as_str());
            event.facts.insert(Fact::PodLabels, Value::Text(label_lines(labels)));
        }
        Resolved::Fact(Fact::Privileged) => {
            let text = if truth(one(given)?)? { "yes" } else { "no" };
            event.facts.insert(Fact::Privileged, Value::Text(text.into()));
        }
        Resolved::Fact(fact) => {
            let value = value(field, one(given)?)?;
            event.facts.insert(fact, value);
        }
        // Follows from the path.
        Resolved::LastOf(_) => {}
        Resolved::Directory(_) => {
            return Err(EventError {
                span: given.span,
                message: "the directory is part of the path".to_owned(),
                help: Some("give `path`".to_owned()),
            });
        }
        Resolved::TypeBits => set_mode(event, 0o170_000, number(field, one(given)?)?),
        Resolved::PermissionBits => set_mode(event, 0o7777, number(field, one(given)?)?),
        Resolved::Flags(fact, bits) => {
            let on = truth(one(given)?)?;
            set_bits(event, fact, bits, on);
        }
        Resolved::Container => {
            let id = &one(given)?.value;
            let inside = id != "host";
            event.facts.insert(Fact::ContainerId, Value::Text(id.clone().into_bytes()));
            set_bits(event, Fact::ProcessFlags, process_flags::CONTAINER, inside);
        }
    }
    Ok(())
}

/// The system call of the event, called in another way.
fn called(event: &mut Event, calling: u32, given: &Spanned<String>) -> Result<(), EventError> {
    let error = |message: String| EventError { span: given.span, message, help: None };
    let Value::Number(now) = *event.value(Fact::Number) else {
        return Err(error("give `name` before `abi`".to_owned()));
    };
    let name = syscall_name(now).unwrap_or_default();
    let numbers = syscall_numbers(name).unwrap_or_default();
    let number = numbers.iter().find(|number| **number >> Calling::SHIFT == calling);
    let number =
        number.ok_or_else(|| error(format!("`{name}` cannot be called as `{}`", given.value)))?;
    event.facts.insert(Fact::Number, Value::Number(*number));
    Ok(())
}

fn resolved(field: &Field, act: Act) -> Option<Resolved> {
    field.resolve(act).ok()
}

fn find(name: &str, span: Span) -> Result<&'static Field, EventError> {
    field::find(name).ok_or_else(|| EventError {
        span,
        message: format!("there is no field `{name}`"),
        help: closest(name, FIELDS.iter().map(|field| field.name))
            .map(|meant| format!("did you mean `{meant}`?")),
    })
}

fn one(given: &Given) -> Result<&Spanned<String>, EventError> {
    match given.values.as_slice() {
        [only] => Ok(only),
        _ => Err(EventError {
            span: given.span,
            message: format!("`{}` has one value", given.name),
            help: None,
        }),
    }
}

fn truth(value: &Spanned<String>) -> Result<bool, EventError> {
    match value.value.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(EventError {
            span: value.span,
            message: format!("`{other}` is neither `true` nor `false`"),
            help: None,
        }),
    }
}

fn number(field: &Field, given: &Spanned<String>) -> Result<u32, EventError> {
    let text = given.value.as_str();
    let word = match field.kind {
        Type::Word(words) => number_word(words, text),
        Type::Path
        | Type::Name
        | Type::Text
        | Type::Image
        | Type::Domain
        | Type::Number(_)
        | Type::Port
        | Type::Address
        | Type::Flag
        | Type::Container => None,
    };
    if field.kind == PERMISSION_BITS
        && text.len() > 1
        && text.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(EventError {
            span: given.span,
            message: format!("`{text}` is decimal, and permission bits are octal"),
            help: Some(format!("write `0o{}`", text.trim_start_matches('0'))),
        });
    }
    let plain = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(octal), _) => u32::from_str_radix(octal, 8).ok(),
        (_, Some(hexadecimal)) => u32::from_str_radix(hexadecimal, 16).ok(),
        (None, None) => text.parse().ok(),
    };
    word.or(plain).ok_or_else(|| EventError {
        span: given.span,
        message: format!("`{text}` is not a value of `{}`", field.name),
        help: None,
    })
}

fn value(field: &Field, given: &Spanned<String>) -> Result<Value, EventError> {
    Ok(match field.kind {
        Type::Path | Type::Name | Type::Text | Type::Image => {
            Value::Text(given.value.clone().into_bytes())
        }
        Type::Domain => Value::Text(field::domain::key(&given.value).into_bytes()),
        Type::Number(_) | Type::Port | Type::Word(_) => Value::Number(number(field, given)?),
        Type::Address => match given.value.parse::<IpAddr>() {
            Ok(address) => Value::Address(address_value(address)),
            Err(_) => {
                return Err(EventError {
                    span: given.span,
                    message: format!("`{}` is not an address", given.value),
                    help: None,
                });
            }
        },
        Type::Flag | Type::Container => Value::Number(u32::from(truth(given)?)),
    })
}

/// An address as the engine takes it: mapped IPv6 is IPv4.
pub(crate) fn address_value(address: IpAddr) -> interdict_engine::tables::Address {
    let address = match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    match address {
        IpAddr::V4(four) => interdict_engine::tables::Address::V4(four.into()),
        IpAddr::V6(six) => {
            let bits = u128::from(six);
            let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
            interdict_engine::tables::Address::V6(half(bits >> 64), half(bits))
        }
    }
}

fn set_mode(event: &mut Event, mask: u32, bits: u32) {
    let Value::Number(mode) = event.value(Fact::ObjectMode) else { return };
    let mode = mode & !mask | bits & mask;
    event.facts.insert(Fact::ObjectMode, Value::Number(mode));
    let flags = [(0o4000, object_flags::SETUID), (0o2000, object_flags::SETGID)];
    for (bit, flag) in flags {
        if mask & bit != 0 {
            set_bits(event, Fact::ObjectFlags, flag, mode & bit != 0);
        }
    }
}

fn set_bits(event: &mut Event, fact: Fact, bits: u32, on: bool) {
    let before = match event.value(fact) {
        Value::Number(value) => *value,
        Value::Text(_) | Value::Address(_) | Value::Absent => 0,
        Value::Unknown => return,
    };
    let after = if on { before | bits } else { before & !bits };
    event.facts.insert(fact, Value::Number(after));
}

/// Fills in what follows from what was given, and refuses events without an object.
fn finish(event: &mut Event, act: Act, written: &WrittenEvent) -> Result<(), EventError> {
    let text = |event: &Event, fact: Fact| match event.value(fact) {
        Value::Text(text) => Some(text.clone()),
        Value::Number(_) | Value::Address(_) | Value::Absent | Value::Unknown => None,
    };
    let last = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().unwrap_or(path).to_vec();
    let missing = |what: &str, example: &str| EventError {
        span: written.act.span,
        message: format!("the event has no {what}"),
        help: Some(format!("write `{}: {{ {example} }}`", act.name())),
    };
    match object(act) {
        // A module or kernel can come from memory as well.
        "file" if act.family() == Family::System && *event.value(Fact::Path) == Value::Absent => {
            let known = [Fact::ObjectFlags, Fact::ObjectMode, Fact::ObjectOwner, Fact::FsMagic];
            for fact in known {
                event.facts.remove(&fact);
            }
        }
        "syscall" => {
            if *event.value(Fact::Number) == Value::Absent {
                return Err(missing("name", "name: setns"));
            }
            if *event.value(Fact::Error) != Value::Number(0) {
                event.facts.remove(&Fact::Result);
            }
        }
        "exec" | "file" => match (text(event, Fact::Path), event.value(Fact::Path)) {
            (Some(path), _) => {
                if *event.value(Fact::Name) == Value::Absent {
                    event.facts.insert(Fact::Name, Value::Text(last(&path)));
                }
            }
            (None, Value::Unknown) => {
                event.facts.insert(Fact::Name, Value::Unknown);
            }
            (None, _) => return Err(missing("path", "path: /usr/bin/id")),
        },
        "net" => {
            let peer = if matches!(act, Act::PacketIn | Act::PacketAccept) {
                "src: { ip: 192.0.2.1 }"
            } else {
                "dst: { ip: 192.0.2.1 }"
            };
            match event.value(Fact::RemoteIp) {
                Value::Address(address) => {
                    let family = match address {
                        interdict_engine::tables::Address::V4(_) => 2,
                        interdict_engine::tables::Address::V6(..) => 10,
                    };
                    if act.family().has_process()
                        && *event.value(Fact::AddressFamily) == Value::Absent
                    {
                        event.facts.insert(Fact::AddressFamily, Value::Number(family));
                    }
                }
                Value::Absent
                    if *event.value(Fact::AddressFamily) == Value::Absent
                        && field::decided(act).is_some_and(|row| row.knows(Fact::RemoteIp)) =>
                {
                    return Err(missing("address", peer));
                }
                Value::Absent if *event.value(Fact::AddressFamily) == Value::Absent => {
                    let family = match event.value(Fact::LocalIp) {
                        Value::Address(interdict_engine::tables::Address::V6(..)) => 10,
                        _ => 2,
                    };
                    event.facts.insert(Fact::AddressFamily, Value::Number(family));
                }
                Value::Absent | Value::Number(_) | Value::Text(_) | Value::Unknown => {}
            }
            if act.family().has_process() && *event.value(Fact::SocketType) == Value::Absent {
                let kind = match event.value(Fact::Protocol) {
                    Value::Number(17) => 2,
                    _ => 1,
                };
                event.facts.insert(Fact::SocketType, Value::Number(kind));
            }
        }
        _ => {}
    }
    if act.family().has_process() {
        if *event.value(Fact::Comm) == Value::Absent
            && let Some(program) = text(event, Fact::Exe)
        {
            let mut comm = last(&program);
            comm.truncate(15);
            event.facts.insert(Fact::Comm, Value::Text(comm));
        }
        // The parent is an ancestor.
        if let (Some(parent), Strings::Known(ancestors)) =
            (text(event, Fact::ParentExe), &mut event.ancestors)
            && !ancestors.contains(&parent)
        {
            ancestors.push(parent);
        }
    }
    Ok(())
}
