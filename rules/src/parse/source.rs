//! The texts a policy is made of, and places in them.
//!
//! A [`Span`] is a byte range of one source; lines and columns are worked out only when something is shown. Reading
//! happens through [`Files`], so that the compiler itself never touches a file system.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Largest policy file that is read, bytes. Feeds have a bound of their own.
pub const POLICY_BYTES_MAX: u64 = 32 << 20;

/// Largest feed that is read, bytes: a million lines take some 20 MB.
pub const FEED_BYTES_MAX: u64 = 128 << 20;

/// Number of a source within its [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A byte range of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The source.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The smallest range that holds both, which must be of one source.
    pub fn to(self, other: Self) -> Self {
        Self { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A line and column, both 1-based, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

/// One policy file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name shown to users: the path as given.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Where its lines start.
    lines: Vec<u32>,
}

impl Source {
    /// Line and column of a byte offset.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0) as usize;
        let before = self.text.as_bytes().get(start..offset as usize).unwrap_or(b"");
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(String::from_utf8_lossy(before).chars().count() + 1)
                .unwrap_or(u32::MAX),
        }
    }
}

/// All policy files of one compilation, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// Why policy files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file or directory cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{path}: not UTF-8 (byte {offset})")]
    NotText {
        /// The file.
        path: PathBuf,
        /// First byte that is not UTF-8.
        offset: usize,
    },
    /// The file is larger than any policy.
    #[error("{path}: {length} bytes, a policy file may have {POLICY_BYTES_MAX}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// Nothing to compile.
    #[error("{path}: no policy files (*.yaml, *.yml) in this directory")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

impl Sources {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file and answers its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).expect("fewer than 2^32 files"));
        let text = text.into();
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .map(|start| u32::try_from(start).unwrap_or(u32::MAX))
            .collect();
        self.files.push(Source { name: name.into(), text, lines });
        id
    }

    /// The file with this number.
    pub fn file(&self, id: FileId) -> &Source {
        &self.files[id.0 as usize]
    }

    /// All files with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &Source)> {
        (0u32..).map(FileId).zip(&self.files)
    }

    /// Whether there is nothing to compile.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Line and column of a span's first byte.
    pub fn position(&self, span: Span) -> Position {
        self.file(span.file).position(span.start)
    }

    /// The text a span covers.
    pub fn text(&self, span: Span) -> &str {
        self.file(span.file).text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Reads a policy file, or every policy file (`*.yaml`, `*.yml`, not `*.cases.yaml`) below a directory, sorted by
    /// name so that the same directory gives the same image.
    pub fn load(&mut self, path: &Path) -> Result<Vec<PathBuf>, SourceError> {
        self.load_chosen(path, Chosen::Policies)
    }

    /// Reads the case files (`*.cases.yaml`) below a directory, or the one named.
    pub fn load_cases(&mut self, path: &Path) -> Result<Vec<PathBuf>, SourceError> {
        self.load_chosen(path, Chosen::Cases)
    }

    fn load_chosen(&mut self, path: &Path, chosen: Chosen) -> Result<Vec<PathBuf>, SourceError> {
        let mut found = Vec::new();
        let data = std::fs::metadata(path)
            .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
        if data.is_dir() {
            collect(path, chosen, &mut found)?;
            if found.is_empty() && chosen == Chosen::Policies {
                return Err(SourceError::Empty { path: path.to_owned() });
            }
        } else if chosen == Chosen::Policies || is_cases(path) {
            found.push(path.to_owned());
        }
        for path in &found {
            let length = std::fs::metadata(path)
                .map_err(|source| SourceError::Read { path: path.clone(), source })?
                .len();
            if length > POLICY_BYTES_MAX {
                return Err(SourceError::TooLarge { path: path.clone(), length });
            }
            let bytes = std::fs::read(path)
                .map_err(|source| SourceError::Read { path: path.clone(), source })?;
            let text = String::from_utf8(bytes).map_err(|error| SourceError::NotText {
                path: path.clone(),
                offset: error.utf8_error().valid_up_to(),
            })?;
            self.add(path.display().to_string(), text);
        }
        Ok(found)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Policies,
    Cases,
}

fn is_cases(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".cases.yaml") || name.ends_with(".cases.yml")
}

fn collect(path: &Path, chosen: Chosen, found: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let read = |source| SourceError::Read { path: path.to_owned(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(read)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(read)?;
    entries.sort();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if entry.is_dir() {
            collect(&entry, chosen, found)?;
            continue;
        }
        let yaml = entry.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && is_cases(&entry) == (chosen == Chosen::Cases) {
            found.push(entry);
        }
    }
    Ok(())
}

/// Reads the feeds that policies name.
pub trait Files {
    /// The bytes of `path`, which has been made relative to the policy file's directory.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// Feeds from the file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let length = std::fs::metadata(path)?.len();
        if length > FEED_BYTES_MAX {
            return Err(io::Error::other(format!(
                "{length} bytes, a feed may have {FEED_BYTES_MAX}"
            )));
        }
        std::fs::read(path)
    }
}

/// No feeds: every look-up is refused. For tests and for compiling text that did not come from a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, "no feeds can be read here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_in_the_order_of_its_names_without_cases_and_hidden_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.cases.yaml", ".d.yaml", "e.txt", "sub/f.yaml"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let names = |found: Vec<PathBuf>| -> Vec<String> {
            let below = |path: &PathBuf| path.strip_prefix(folder.path()).unwrap().to_owned();
            found.iter().map(|path| below(path).display().to_string()).collect()
        };
        let mut sources = Sources::new();
        assert_eq!(names(sources.load(folder.path()).unwrap()), ["a.yml", "b.yaml", "sub/f.yaml"]);
        assert_eq!(names(sources.load_cases(folder.path()).unwrap()), ["c.cases.yaml"]);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut sources = Sources::new();
        assert!(matches!(sources.load(folder.path()), Err(SourceError::Empty { .. })));
        let missing = folder.path().join("x.yaml");
        assert!(matches!(sources.load(&missing), Err(SourceError::Read { .. })));
        std::fs::write(&missing, b"a: \xff").unwrap();
        assert!(matches!(sources.load(&missing), Err(SourceError::NotText { offset: 3, .. })));
        let large = std::fs::File::create(&missing).unwrap();
        large.set_len(POLICY_BYTES_MAX + 1).unwrap();
        assert!(matches!(sources.load(&missing), Err(SourceError::TooLarge { .. })));
        large.set_len(FEED_BYTES_MAX + 1).unwrap();
        assert!(Disk.read(&missing).unwrap_err().to_string().contains("a feed may have"));
    }

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let mut sources = Sources::new();
        let file = sources.add("x", "a\nñb\n");
        let at = |start| sources.position(Span { file, start, end: start });
        assert_eq!(at(0), Position { line: 1, column: 1 });
        assert_eq!(at(2), Position { line: 2, column: 1 });
        assert_eq!(at(4), Position { line: 2, column: 2 });
        assert_eq!(at(6), Position { line: 3, column: 1 });
    }
}
