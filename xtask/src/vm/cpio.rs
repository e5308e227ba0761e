//! The one archive format used in both directions: the initial file system a kernel unpacks ("newc" cpio), and what a
//! guest writes to its disk when it ends.
//!
//! Names are relative, without a leading slash. Reading refuses names that would leave the folder they are unpacked to.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

const MAGIC: &[u8; 6] = b"070701";
const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;

/// Writes an archive entry by entry.
#[derive(Debug)]
pub struct Archive<W: Write> {
    sink: W,
    directories: BTreeSet<String>,
    inode: u32,
}

impl<W: Write> Archive<W> {
    /// An archive with nothing in it yet.
    pub fn new(sink: W) -> Self {
        Self { sink, directories: BTreeSet::new(), inode: 1 }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other(format!("{name} is too large for the archive"));
        let length = u32::try_from(content.len()).map_err(too_long)?;
        let name_length = u32::try_from(name.len() + 1).map_err(too_long)?;
        let fields = [self.inode, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
        self.inode += 1;
        let mut header = Vec::with_capacity(HEADER_BYTES + name.len() + 4);
        header.extend_from_slice(MAGIC);
        for field in fields {
            write!(header, "{field:08x}")?;
        }
        header.extend_from_slice(name.as_bytes());
        header.push(0);
        header.resize(header.len().next_multiple_of(4), 0);
        self.sink.write_all(&header)?;
        self.sink.write_all(content)?;
        self.sink.write_all(&[0; 3][..content.len().next_multiple_of(4) - content.len()])
    }

    fn parents(&mut self, name: &str) -> io::Result<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent, 0o755),
            None => Ok(()),
        }
    }

    /// Adds a directory and those above it, once.
    pub fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        if name.is_empty() || self.directories.contains(name) {
            return Ok(());
        }
        self.parents(name)?;
        self.directories.insert(name.to_owned());
        self.entry(name, DIRECTORY | mode, &[])
    }

    /// Adds a regular file.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, REGULAR | (mode & 0o7777), content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, LINK | 0o777, target.as_bytes())
    }

    /// Adds a folder of this machine with all that is in it: directories, files and links; nothing else is kept.
    pub fn tree(&mut self, name: &str, from: &Path) -> io::Result<()> {
        self.directory(name, 0o755)?;
        let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let below = format!("{name}/{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.tree(&below, &entry.path())?;
            } else if kind.is_symlink() {
                self.link(&below, &fs::read_link(entry.path())?.to_string_lossy())?;
            } else if kind.is_file() {
                let mode = entry.metadata()?.permissions().mode();
                self.file(&below, mode, &fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// Ends the archive and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, &[])?;
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("archive: {what}"))
}

/// Unpacks an archive into a folder that exists.
pub fn unpack(source: &mut impl Read, to: &Path) -> io::Result<()> {
    loop {
        let mut header = [0; HEADER_BYTES];
        source.read_exact(&mut header)?;
        if header.get(..6) != Some(MAGIC) {
            return Err(broken("not an entry"));
        }
        let field = |index: usize| {
            header
                .get(6 + index * 8..14 + index * 8)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or_else(|| broken("not a number"))
        };
        let (mode, length, name_length) = (field(1)?, field(6)? as usize, field(11)? as usize);
        let mut name = vec![0; (HEADER_BYTES + name_length).next_multiple_of(4) - HEADER_BYTES];
        source.read_exact(&mut name)?;
        name.truncate(name_length.saturating_sub(1));
        let name = String::from_utf8(name).map_err(|_| broken("a name that is not text"))?;
        let mut content = vec![0; length.next_multiple_of(4)];
        source.read_exact(&mut content)?;
        content.truncate(length);
        if name == TRAILER {
            return Ok(());
        }
        let path = inside(to, &name)?;
        // What is there is replaced, never written through: it may be a link, and one that leads out of the folder.
        if mode & KIND != DIRECTORY && path.symlink_metadata().is_ok() {
            fs::remove_file(&path)?;
        }
        match mode & KIND {
            DIRECTORY if path.is_symlink() => return Err(broken("a directory where a link is")),
            DIRECTORY => fs::create_dir_all(&path)?,
            REGULAR => {
                fs::File::create_new(&path)?.write_all(&content)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777))?;
            }
            LINK => symlink(String::from_utf8_lossy(&content).as_ref(), &path)?,
            _ => return Err(broken("an entry that is no directory, file or link")),
        }
    }
}

fn inside(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let mut path = folder.to_path_buf();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => {
                // A link that was unpacked before must not lead out of the folder.
                if path.is_symlink() {
                    return Err(broken("an entry below a link"));
                }
                path.push(part);
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => {
                return Err(broken("a name that leads out of the folder"));
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_tree_is_unpacked_as_it_was() {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir(from.path().join("inner")).unwrap();
        fs::write(from.path().join("inner/five"), b"bytes").unwrap();
        fs::write(from.path().join("empty"), b"").unwrap();
        symlink("inner/five", from.path().join("link")).unwrap();
        let mut archive = Archive::new(Vec::new());
        archive.tree("top", from.path()).unwrap();
        let bytes = archive.finish().unwrap();

        let to = tempfile::tempdir().unwrap();
        unpack(&mut bytes.as_slice(), to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("top/inner/five")).unwrap(), b"bytes");
        assert_eq!(fs::read(to.path().join("top/empty")).unwrap(), b"");
        assert_eq!(fs::read_link(to.path().join("top/link")).unwrap(), Path::new("inner/five"));
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        for name in ["../outside", "/outside", "inner/../../outside"] {
            let mut archive = Archive::new(Vec::new());
            archive.entry(name, REGULAR | 0o644, b"x").unwrap();
            let bytes = archive.finish().unwrap();
            let to = tempfile::tempdir().unwrap();
            assert!(unpack(&mut bytes.as_slice(), to.path()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_link_that_is_there_is_replaced_and_not_followed() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), b"untouched").unwrap();
        let mut archive = Archive::new(Vec::new());
        archive.entry("file", REGULAR | 0o644, b"new").unwrap();
        let bytes = archive.finish().unwrap();
        let to = tempfile::tempdir().unwrap();
        symlink(outside.path(), to.path().join("file")).unwrap();
        unpack(&mut bytes.as_slice(), to.path()).unwrap();
        assert_eq!(fs::read(outside.path()).unwrap(), b"untouched");
        assert_eq!(fs::read(to.path().join("file")).unwrap(), b"new");
    }

    #[test]
    fn a_file_below_a_link_is_refused() {
        let mut archive = Archive::new(Vec::new());
        archive.link("door", "/tmp").unwrap();
        archive.entry("door/file", REGULAR | 0o644, b"x").unwrap();
        let bytes = archive.finish().unwrap();
        let to = tempfile::tempdir().unwrap();
        assert!(unpack(&mut bytes.as_slice(), to.path()).is_err());
    }
}
