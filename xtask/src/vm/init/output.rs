//! Where what runs in the guest writes to: one pipe, emptied into the second serial port byte for byte, or, where there
//! is no machine of its own, into our standard output.
//!
//! A pipe and not the port itself, so that programs do not take their output for a terminal.

use std::fs::{File, OpenOptions};
use std::io::{PipeWriter, Read as _, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

const PORT: &str = "/dev/ttyS1";
/// How long a process left behind may stay silent before its output is no longer waited for.
const SILENCE: Duration = Duration::from_millis(200);

/// The writing end of the pipe, and the thread that empties it.
#[derive(Debug)]
pub(super) struct Output {
    pipe: PipeWriter,
    emptied: Receiver<()>,
}

impl Output {
    /// Into the port, which is made to pass bytes as they are.
    pub(super) fn to_port() -> Result<Self> {
        let port: File = OpenOptions::new().read(true).write(true).open(PORT).context(PORT)?;
        let mut settings = tcgetattr(&port)?;
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings)?;
        let drained = port.try_clone()?;
        Self::into(port, move || {
            let _ = tcdrain(&drained);
        })
    }

    /// Into our own standard output.
    pub(super) fn to_standard_output() -> Result<Self> {
        Self::into(std::io::stdout(), || {})
    }

    fn into(
        mut sink: impl Write + Send + 'static,
        written: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (mut reader, pipe) = std::io::pipe()?;
        let (tell, emptied) = channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                let bytes = buffer.get(..length).unwrap_or_default();
                if sink.write_all(bytes).and_then(|()| sink.flush()).is_err() {
                    break;
                }
                written();
                let _ = tell.send(());
            }
        });
        Ok(Self { pipe, emptied })
    }

    /// A standard output or error for a program.
    pub(super) fn writer(&self) -> Result<Stdio> {
        Ok(Stdio::from(self.pipe.try_clone()?))
    }

    /// Lets go of the pipe and waits until all that was written has left the port. A process that was left behind and
    /// keeps the pipe open is waited for only as long as it is not silent.
    pub(super) fn finish(self) {
        drop(self.pipe);
        loop {
            match self.emptied.recv_timeout(SILENCE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
