//! Names of users and groups, from `/etc/passwd` and `/etc/group` alone.
//!
//! No NSS: a lookup must never leave this machine or block. Users that only a directory service knows have no name.

use std::{collections::HashMap, fs, path::PathBuf, sync::Arc, time::SystemTime};

/// Names by id.
#[derive(Debug)]
pub struct Users {
    users: Table,
    groups: Table,
}

#[derive(Debug)]
struct Table {
    path: PathBuf,
    seen: Option<(SystemTime, u64)>,
    names: HashMap<u32, Arc<str>>,
}

impl Users {
    /// Reads both files.
    pub fn from_files(passwd: PathBuf, group: PathBuf) -> Self {
        Self { users: Table::read(passwd), groups: Table::read(group) }
    }

    /// The name of a user.
    pub fn user(&self, id: u32) -> Option<Arc<str>> {
        self.users.names.get(&id).cloned()
    }

    /// The name of a group.
    pub fn group(&self, id: u32) -> Option<Arc<str>> {
        self.groups.names.get(&id).cloned()
    }

    /// Reads again what changed.
    pub fn refresh(&mut self) {
        self.users.refresh();
        self.groups.refresh();
    }
}

impl Table {
    fn read(path: PathBuf) -> Self {
        let mut table = Self { path, seen: None, names: HashMap::new() };
        table.refresh();
        table
    }

    fn refresh(&mut self) {
        let stamp =
            fs::metadata(&self.path).and_then(|data| Ok((data.modified()?, data.len()))).ok();
        // A file that is gone or unreadable for a moment keeps the names last seen.
        if stamp.is_none() || stamp == self.seen {
            return;
        }
        if let Ok(bytes) = fs::read(&self.path) {
            self.seen = stamp;
            self.names = parse(&bytes);
        }
    }
}

/// `name:password:id:...` lines; the first name of an id counts, as for the C library.
fn parse(bytes: &[u8]) -> HashMap<u32, Arc<str>> {
    let mut names = HashMap::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().and_then(|name| std::str::from_utf8(name).ok());
        let id = fields
            .nth(1)
            .and_then(|id| std::str::from_utf8(id).ok())
            .and_then(|id| id.parse::<u32>().ok());
        if let (Some(name), Some(id)) = (name, id)
            && !name.is_empty()
        {
            names.entry(id).or_insert_with(|| Arc::from(name));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_skipped_and_the_first_name_of_an_id_counts() {
        let names = parse(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0\nbad\n\xff:x:3:3\nweb:x:33:33");
        assert_eq!(names.len(), 2);
        assert_eq!(&*names[&0], "root");
        assert_eq!(&*names[&33], "web");
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let passwd = folder.path().join("passwd");
        fs::write(&passwd, "a:x:7:7\n").unwrap();
        let mut users = Users::from_files(passwd.clone(), folder.path().join("none"));
        assert_eq!(users.user(7).as_deref(), Some("a"));
        fs::write(&passwd, "longer:x:7:7\n").unwrap();
        users.refresh();
        assert_eq!(users.user(7).as_deref(), Some("longer"));
        fs::remove_file(&passwd).unwrap();
        users.refresh();
        assert_eq!(users.user(7).as_deref(), Some("longer"));
    }
}
