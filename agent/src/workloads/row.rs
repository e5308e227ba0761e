//! What is known of a container, as the kernel programs read it.
//!
//! The same answers that narrow what alerts tell ([`told::place`]), as one row of texts. What is not certain is not
//! claimed: a field that cannot be learned, or has no room, stays unknown, and rules that ask for it decide by
//! `on_fault`.

use interdict_abi::{ids::Fact, limits::WORKLOAD_BYTES, maps::Workload};
use interdict_rules::told::{Known, label_lines};

use crate::enrich::{container::Container, told};

/// The row of what runs in no container.
pub(super) fn of_host() -> Workload {
    row(|field| told::place(field, true, None))
}

/// The row of a container. `believed`: its cgroup was made by root, so that its name says which container it is.
pub(super) fn of_container(container: &Container, believed: bool) -> Workload {
    let named = container.metadata.is_some() || !container.has_names();
    row(|field| match (field, believed, named) {
        ("container.id", _, _) | (_, true, true) => told::place(field, false, Some(container)),
        // Whether it belongs to a pod is not known before its names are.
        (_, false, _) | (_, _, false) => Known::Unknown,
    })
}

/// Whether something of it could not be learned.
pub(super) fn is_incomplete(row: &Workload) -> bool {
    row.fields.contains(&Workload::UNKNOWN)
}

fn row(known: impl Fn(&str) -> Known) -> Workload {
    let mut row = Workload::NOTHING;
    let mut end = 0;
    for (place, fact) in row.fields.iter_mut().zip(Fact::PLACES) {
        let text = match known(fact.name()) {
            Known::Unknown => continue,
            Known::Absent => {
                *place = Workload::ABSENT;
                continue;
            }
            Known::Number(number) => if number == 0 { "no" } else { "yes" }.as_bytes().to_vec(),
            Known::Text(values) if fact == Fact::PodLabels => {
                label_lines(values.iter().map(String::as_str))
            }
            // An image goes by several names, the first of them in full.
            Known::Text(values) => values.into_iter().next().unwrap_or_default().into_bytes(),
        };
        // The last byte stays zero.
        let room = row.text.get_mut(end..WORKLOAD_BYTES - 1);
        let Some(room) = room.and_then(|room| room.get_mut(..=text.len())) else { continue };
        if text.contains(&0) {
            continue;
        }
        room[..text.len()].copy_from_slice(&text);
        *place = Workload::TEXT | end as u32;
        end += text.len() + 1;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::{container::parse, metadata::Metadata};

    const PATH: &str = "/kubepods/pod1a2b3c4d-0000-1111-2222-333344445555/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn container(metadata: Option<Metadata>) -> Container {
        Container { metadata, ..parse(PATH).unwrap() }
    }

    fn shop() -> Metadata {
        Metadata {
            name: "web".to_owned(),
            image: "docker.io/library/nginx:1".to_owned(),
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            privileged: Some(false),
            ..Metadata::default()
        }
    }

    fn text(row: &Workload, fact: Fact) -> Result<String, u32> {
        let field = row.fields[fact as usize - Fact::PLACES[0] as usize];
        if field & Workload::TEXT == 0 {
            return Err(field);
        }
        let rest = &row.text[(field & !Workload::TEXT) as usize..];
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        Ok(String::from_utf8(rest[..end].to_vec()).unwrap())
    }

    #[test]
    fn a_row_says_what_the_files_say_and_no_more() {
        let row = of_container(&container(Some(shop())), true);
        assert_eq!(text(&row, Fact::PodNamespace).unwrap(), "shop");
        assert_eq!(text(&row, Fact::Pod).unwrap(), "web-1");
        assert_eq!(text(&row, Fact::ContainerImage).unwrap(), "docker.io/library/nginx:1");
        assert_eq!(text(&row, Fact::Privileged).unwrap(), "no");
        assert_eq!(text(&row, Fact::PodLabels), Err(Workload::UNKNOWN));
        assert!(is_incomplete(&row));
        let labels = Some(vec!["app=web".to_owned(), "tier=\nfront".to_owned(), "a=b".to_owned()]);
        let row = of_container(&container(Some(Metadata { labels, ..shop() })), true);
        assert_eq!(text(&row, Fact::PodLabels).unwrap(), "\napp=web\na=b\n");
    }

    #[test]
    fn without_names_or_belief_only_the_id_is_claimed() {
        for (metadata, believed) in [(None, true), (Some(shop()), false)] {
            let row = of_container(&container(metadata), believed);
            assert_eq!(text(&row, Fact::ContainerId).unwrap().len(), 64);
            for fact in &Fact::PLACES[1..] {
                assert_eq!(text(&row, *fact), Err(Workload::UNKNOWN), "{}", fact.name());
            }
        }
    }

    #[test]
    fn the_host_is_in_no_pod() {
        let row = of_host();
        assert_eq!(text(&row, Fact::ContainerId).unwrap(), "host");
        assert_eq!(text(&row, Fact::PodNamespace), Err(Workload::ABSENT));
        assert_eq!(text(&row, Fact::Privileged), Err(Workload::ABSENT));
        assert!(!is_incomplete(&row));
    }

    #[test]
    fn what_does_not_fit_is_not_known_and_nothing_else_suffers() {
        let labels = (0..500).map(|number| format!("label-{number}=x")).collect();
        let metadata = Metadata {
            labels: Some(labels),
            service_account: "robot".to_owned(),
            pod: "with\0zero".to_owned(),
            ..shop()
        };
        let row = of_container(&container(Some(metadata)), true);
        assert_eq!(text(&row, Fact::PodLabels), Err(Workload::UNKNOWN));
        assert_eq!(text(&row, Fact::Pod), Err(Workload::UNKNOWN));
        assert_eq!(text(&row, Fact::ServiceAccount).unwrap(), "robot");
        assert_eq!(row.text[WORKLOAD_BYTES - 1], 0);
    }
}
