//! A file of JSON lines, renamed away when it is full.
//!
//! A batch is synced before it counts as taken. A batch that could be written only in part is taken back by cutting
//! the file, so that a retry leaves no half line. A file that somebody moved or removed is begun anew.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Delivery, DeliveryError, Sink, SinkError};
use crate::{config::FileConfig, spool::Entry};

pub(super) struct File {
    config: FileConfig,
    open: Option<fs::File>,
}

impl File {
    pub(super) fn open(sink: &str, config: &FileConfig) -> Result<Self, SinkError> {
        let failed =
            |source| SinkError::File { sink: sink.to_owned(), path: config.path.clone(), source };
        if let Some(folder) = config.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = Self { config: config.clone(), open: None };
        file.ready(0).map_err(failed)?;
        Ok(file)
    }

    /// The open file, after rotation if `more` bytes would fill it.
    fn ready(&mut self, more: u64) -> io::Result<&mut fs::File> {
        let path = &self.config.path;
        let same = |file: &fs::File| {
            let (named, held) = (fs::metadata(path).ok()?, file.metadata().ok()?);
            Some(named.ino() == held.ino() && named.dev() == held.dev())
        };
        if !self.open.as_ref().and_then(same).unwrap_or(false) {
            self.open = None;
        }
        if let Ok(data) = fs::metadata(path)
            && self.config.max_bytes > 0
            && data.len() > 0
            && data.len() + more > self.config.max_bytes
        {
            rotate(path, self.config.keep)?;
            self.open = None;
        }
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                let mut file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .read(true)
                    .mode(0o640)
                    .open(path)?;
                end_torn_line(&mut file)?;
                file
            }
        };
        Ok(self.open.insert(file))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.ready(bytes.len() as u64)?;
        let before = file.metadata()?.len();
        let outcome = file.write_all(bytes).and_then(|()| file.sync_data());
        if outcome.is_err() {
            let _cut = file.set_len(before);
        }
        outcome
    }
}

/// A crash may have left half a line: ended here, it is one bad line and doesn't spoil the next.
fn end_torn_line(file: &mut fs::File) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if len > 0 {
        file.read_exact_at(&mut last, len - 1)?;
    }
    if last != [b'\n'] { file.write_all(b"\n") } else { Ok(()) }
}

fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(path, numbered(1))
}

impl Sink for File {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        let mut bytes =
            Vec::with_capacity(batch.iter().map(|entry| entry.payload().len() + 1).sum());
        for entry in batch {
            bytes.extend_from_slice(entry.payload());
            bytes.push(b'\n');
        }
        let outcome = self.write(&bytes).map(|()| batch.len()).map_err(DeliveryError::retry);
        Box::pin(std::future::ready(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, text: &str) -> Entry {
        Entry { seq, severity: 0, is_notice: false, line: text.as_bytes().to_vec(), rendered: None }
    }

    fn sink(path: &Path, max_bytes: u64) -> File {
        let config = FileConfig { path: path.to_owned(), max_bytes, keep: 2 };
        File::open("file", &config).unwrap()
    }

    #[tokio::test]
    async fn a_full_file_is_renamed_and_the_oldest_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        let mut file = sink(&path, 10);
        for seq in 0..8 {
            assert_eq!(file.deliver(&[entry(seq, &format!("line{seq}"))]).await, Ok(1));
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("a.ndjson"), "line7\n");
        assert_eq!(read("a.ndjson.1"), "line6\n");
        assert_eq!(read("a.ndjson.2"), "line5\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_is_begun_anew_and_a_torn_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        fs::write(&path, "whole\nhal").unwrap();
        let mut file = sink(&path, 0);
        file.deliver(&[entry(1, "one")]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal\none\n");
        fs::rename(&path, folder.path().join("moved")).unwrap();
        file.deliver(&[entry(2, "two")]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
