//! Paths as they are written, against a list of components.

use interdict_engine::tidy::{Page, Tidying};
use proptest::prelude::*;

struct Sheet(Vec<u8>);

impl Page for Sheet {
    fn get(&self, at: u64) -> u8 {
        self.0.get(at as usize).copied().unwrap_or(0)
    }

    fn put(&mut self, at: u64, byte: u8) {
        self.0[at as usize] = byte;
    }
}

/// The path and its last component, as the kernel programs make them; `None` if they do not come to an end.
fn tidied(path: &str, before: usize, room: usize) -> Option<(String, String)> {
    let mut sheet = Sheet([vec![b'x'; before], path.as_bytes().to_vec()].concat());
    let mut tidying = Tidying::start(before as u64, room as u64);
    let steps = Tidying::steps(room as u32);
    assert!((0..steps).any(|_| tidying.step(&mut sheet)), "{path} takes more than {steps} steps");
    let bytes = tidying.bytes() as usize;
    let text = |from: usize, to: usize| String::from_utf8_lossy(&sheet.0[from..to]).into_owned();
    (bytes != 0)
        .then(|| (text(before, before + bytes), text(tidying.last() as usize, before + bytes)))
}

fn expected(path: &str) -> (String, String) {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    (format!("/{}", components.join("/")), components.pop().unwrap_or_default().to_owned())
}

#[test]
fn a_written_path_loses_its_detours() {
    for (written, path, last) in [
        ("/", "/", ""),
        ("//", "/", ""),
        ("/..", "/", ""),
        ("/a/..", "/", ""),
        ("/etc/shadow", "/etc/shadow", "shadow"),
        ("/etc//./shadow/", "/etc/shadow", "shadow"),
        ("/tmp/../etc/x/../shadow", "/etc/shadow", "shadow"),
        ("/etc/shadow/.", "/etc/shadow", "shadow"),
        ("/etc/shadow/x/..", "/etc/shadow", "shadow"),
        ("/../../etc/.../..x/.y", "/etc/.../..x/.y", ".y"),
    ] {
        assert_eq!(tidied(written, 3, 64), Some((path.to_owned(), last.to_owned())), "{written}");
    }
}

#[test]
fn a_path_that_does_not_end_on_its_page_is_none() {
    let path = "/a".repeat(50);
    assert_eq!(tidied(&path, 0, 100), None);
    assert_eq!(tidied(&path, 0, 101).map(|(path, _)| path), Some(path));
}

proptest! {
    #[test]
    fn paths_are_those_of_their_components(
        components in proptest::collection::vec("\\.{0,3}|[a-c]{1,4}|\\.[a-b]", 0..20),
        before in 0usize..9,
    ) {
        let path = format!("/{}", components.join("/"));
        prop_assert_eq!(tidied(&path, before, before + path.len() + 1), Some(expected(&path)));
    }
}
