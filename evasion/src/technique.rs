//! The list of techniques: what each is called, what it is after, how sure a host must be of withstanding it.

use crate::outcome::Tried;
use crate::scene::Scene;

/// What a technique is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// To have the content of a file.
    FileRead,
    /// To change a file, or what is found under its name.
    FileWrite,
    /// To run a program or code.
    Exec,
    /// To get a packet out.
    Outbound,
    /// To get a packet in.
    Inbound,
    /// To use what was opened, mapped or connected before there were rules.
    LoadTime,
    /// To switch enforcement off.
    Tamper,
    /// To act without being told of, or told of wrongly.
    Observation,
}

impl Class {
    fn word(self) -> &'static str {
        match self {
            Self::FileRead => "file-read",
            Self::FileWrite => "file-write",
            Self::Exec => "exec",
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::LoadTime => "load-time",
            Self::Tamper => "tamper",
            Self::Observation => "observation",
        }
    }
}

/// What may come of it while a policy is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// It must be refused.
    Must,
    /// It should be; where it is not, that is written down.
    Should,
    /// Nobody can refuse it; that it works is written down.
    Document,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Document => "document",
        }
    }
}

/// One way around a rule.
#[derive(Debug, Clone, Copy)]
pub struct Technique {
    /// Unique; subcommand, folder and file name.
    pub name: &'static str,
    /// What it is after.
    pub class: Class,
    /// How sure a host must be.
    pub grade: Grade,
    /// It begins before rules are in force: it calls [`Scene::enforced`].
    pub early: bool,
    /// Rules tell it by who does it and not by what it is done to, so it is done by a program that they name and
    /// its twin by one that they do not.
    pub by_actor: bool,
    /// What it does.
    pub run: fn(&Scene) -> Tried,
}

impl Technique {
    const fn new(name: &'static str, class: Class, grade: Grade, run: fn(&Scene) -> Tried) -> Self {
        Self { name, class, grade, early: false, by_actor: false, run }
    }

    /// One that begins before rules are in force.
    pub const fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// One whose twin is done by another program.
    pub const fn by_actor(mut self) -> Self {
        self.by_actor = true;
        self
    }

    /// Its line in the list.
    pub fn line(&self) -> String {
        format!(
            r#"{{"technique":"{}","class":"{}","grade":"{}","early":{},"by_actor":{}}}"#,
            self.name,
            self.class.word(),
            self.grade.word(),
            self.early,
            self.by_actor
        )
    }
}

/// One that must be refused.
pub const fn must(class: Class, name: &'static str, run: fn(&Scene) -> Tried) -> Technique {
    Technique::new(name, class, Grade::Must, run)
}

/// One that should be refused.
pub const fn should(class: Class, name: &'static str, run: fn(&Scene) -> Tried) -> Technique {
    Technique::new(name, class, Grade::Should, run)
}

/// One that nobody can refuse.
pub const fn document(class: Class, name: &'static str, run: fn(&Scene) -> Tried) -> Technique {
    Technique::new(name, class, Grade::Document, run)
}

/// All of them, in the order they are done: what damages most comes last.
pub fn all() -> Vec<Technique> {
    [
        crate::read::ALL,
        crate::write::ALL,
        crate::exec::ALL,
        crate::net::ALL,
        crate::before::ALL,
        crate::observe::ALL,
        crate::tamper::ALL,
    ]
    .into_iter()
    .flatten()
    .flat_map(|part| part.iter().copied())
    .collect()
}
