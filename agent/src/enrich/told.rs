//! The fields of class U, for the tests that narrow what is told.
//!
//! In: a decision and its context. Out: what is known of one field. What cannot be learned is [`Known::Unknown`], and
//! then the alert is told; only what certainly is not there is [`Known::Absent`].

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use interdict_abi::ids::Family;
use interdict_rules::told::{Known, image_names};

use super::{Context, container::Container, digest::Digests, metadata::Metadata, process::Source};
use crate::events::Decision;

pub(super) fn known(
    digests: &mut Digests,
    field: &str,
    decision: &Decision<'_>,
    context: &Context,
    host: &str,
) -> Known {
    match field {
        "host.name" => one(host.to_owned()),
        // A user without a line in `/etc/passwd` may have a name in a directory.
        "user.name" => or_unknown(context.user.as_deref().map(str::to_owned)),
        "process.args" => arguments(context),
        "process.start_age" => start_age(decision, context),
        "file.access" => access(decision),
        "file.sha256" | "exec.sha256" => digest(digests, decision),
        // A field of a newer compiler: nothing is narrowed by it.
        _newer => Known::Unknown,
    }
}

fn one(value: String) -> Known {
    Known::Text(vec![value])
}

fn or_unknown(value: Option<String>) -> Known {
    value.map_or(Known::Unknown, one)
}

/// Arguments that are hidden, cut off or shown in escaped form are not what was passed.
fn arguments(context: &Context) -> Known {
    let known = &context.process;
    let args = &known.program.args;
    let whole = args.redacted.is_empty() && args.escaped.is_empty() && !args.truncated;
    if whole && known.source != Source::None {
        Known::Text(args.shown.clone())
    } else {
        Known::Unknown
    }
}

fn start_age(decision: &Decision<'_>, context: &Context) -> Known {
    let start_ns = match decision.actor.start_ns {
        0 => context.process.start_ns,
        start_ns => start_ns,
    };
    match start_ns {
        0 => Known::Unknown,
        start_ns => {
            let age = decision.time_ns.saturating_sub(start_ns) / 1_000_000_000;
            Known::Number(u32::try_from(age).unwrap_or(u32::MAX))
        }
    }
}

/// What is done to a file, act by act.
fn access(decision: &Decision<'_>) -> Known {
    if decision.acts.unknown() != 0 {
        return Known::Unknown;
    }
    let names = decision.acts.iter().filter_map(|act| act.name().strip_prefix("file."));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() { Known::Absent } else { Known::Text(names) }
}

fn digest(digests: &mut Digests, decision: &Decision<'_>) -> Known {
    let object = &decision.object;
    match decision.acts.family() {
        Family::Exec | Family::Started | Family::File | Family::System => {}
        Family::Net | Family::Packet | Family::Syscall | Family::Dns => return Known::Absent,
    }
    let path = Path::new(OsStr::from_bytes(object.path));
    or_unknown(digests.find(decision.actor.pid, path, object.inode))
}

/// Whether a field is about where the process runs: its names may come after the decision.
pub fn of_place(field: &str) -> bool {
    field.starts_with("container.") || field.starts_with("k8s.")
}

/// What is known of such a field. `container`: the one it runs in, if it was found to run in one.
pub fn place(field: &str, on_host: bool, container: Option<&Container>) -> Known {
    let Some(container) = container else {
        return match (on_host, field) {
            (true, "container.id") => one("host".to_owned()),
            (true, _) => Known::Absent,
            (false, _) => Known::Unknown,
        };
    };
    let names = container.metadata.as_ref();
    let name = |part: fn(&Metadata) -> &String| match names.map(part) {
        Some(name) if !name.is_empty() => one(name.clone()),
        Some(_) | None => Known::Unknown,
    };
    // The kubelet puts the containers of pods into cgroups that name the pod.
    let in_pod = !container.pod_uid.is_empty() || names.is_some_and(|names| !names.pod.is_empty());
    match field {
        "container.id" => one(container.id.clone()),
        "container.name" => name(|names| &names.name),
        "container.image" => match name(|names| &names.image) {
            Known::Text(all) => {
                Known::Text(all.iter().flat_map(|name| image_names(name)).collect())
            }
            other => other,
        },
        "container.privileged" => names
            .and_then(|names| names.privileged)
            .map_or(Known::Unknown, |privileged| Known::Number(privileged.into())),
        _ if !in_pod => Known::Absent,
        "k8s.namespace" => name(|names| &names.namespace),
        "k8s.pod" => name(|names| &names.pod),
        "k8s.serviceaccount" => name(|names| &names.service_account),
        "k8s.labels" => {
            names.and_then(|names| names.labels.clone()).map_or(Known::Unknown, Known::Text)
        }
        // A field of a newer compiler: nothing is narrowed by it.
        _newer => Known::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use interdict_abi::{
        event::{Head, VERSION, kind},
        ids::Act,
    };
    use zerocopy::IntoBytes;

    use super::*;
    use crate::events::{KernelEvent, decode};

    #[test]
    fn what_is_done_to_a_file_is_told_act_by_act() {
        let of = |family: Family, acts: u32| {
            let mut head = Head::ZERO;
            (head.version, head.kind) = (VERSION, kind::DECISION);
            (head.family, head.acts) = (family as u8, acts);
            let Ok(KernelEvent::Decision(decision)) = decode(head.as_bytes()) else {
                panic!("a decision")
            };
            access(&decision)
        };
        let both = Act::FileRead.bit() | Act::FileWrite.bit();
        let names = vec!["read".to_owned(), "write".to_owned()];
        assert_eq!(of(Family::File, both), Known::Text(names));
        assert_eq!(of(Family::Exec, Act::Exec.bit()), Known::Absent);
        assert_eq!(of(Family::Exec, 1 << 15), Known::Unknown);
    }

    fn container(pod_uid: &str, metadata: Option<Metadata>) -> Container {
        Container {
            id: "c1".to_owned(),
            runtime: "containerd",
            pod_uid: pod_uid.to_owned(),
            cgroup: "/x".to_owned(),
            metadata,
        }
    }

    #[test]
    fn what_is_not_there_differs_from_what_is_not_known() {
        assert_eq!(place("container.image", true, None), Known::Absent);
        assert_eq!(place("container.id", true, None), one("host".to_owned()));
        assert_eq!(place("container.image", false, None), Known::Unknown);
        let unnamed = container("", None);
        assert_eq!(place("container.id", false, Some(&unnamed)), one("c1".to_owned()));
        assert_eq!(place("container.image", false, Some(&unnamed)), Known::Unknown);
        assert_eq!(place("k8s.pod", false, Some(&unnamed)), Known::Absent);
        assert_eq!(place("k8s.pod", false, Some(&container("u1", None))), Known::Unknown);
        assert_eq!(place("k8s.serviceaccount", false, Some(&unnamed)), Known::Absent);
        assert_eq!(
            place("k8s.serviceaccount", false, Some(&container("u1", None))),
            Known::Unknown
        );
        assert_eq!(place("container.privileged", true, None), Known::Absent);
        assert_eq!(place("container.privileged", false, Some(&unnamed)), Known::Unknown);
    }

    #[test]
    fn names_are_those_the_runtime_gave() {
        let names = Metadata {
            image: "docker.io/library/nginx:1".to_owned(),
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            labels: Some(vec!["app=web".to_owned()]),
            service_account: "web".to_owned(),
            privileged: Some(false),
            ..Metadata::default()
        };
        let named = container("u1", Some(names));
        let text = |field: &str| match place(field, false, Some(&named)) {
            Known::Text(values) => values,
            other => panic!("{field}: {other:?}"),
        };
        assert_eq!(text("k8s.namespace"), ["shop"]);
        assert_eq!(text("k8s.labels"), ["app=web"]);
        assert_eq!(text("k8s.serviceaccount"), ["web"]);
        assert_eq!(place("container.privileged", false, Some(&named)), Known::Number(0));
        assert!(text("container.image").contains(&"nginx:1".to_owned()));
        assert_eq!(place("container.name", false, Some(&named)), Known::Unknown);
    }
}
