//! Standard output, one JSON line per alert.

use std::io::Write;

use super::{Delivery, DeliveryError, Sink};
use crate::spool::Entry;

pub(super) struct Stdout;

impl Sink for Stdout {
    fn deliver<'a>(&'a mut self, batch: &'a [Entry]) -> Delivery<'a> {
        let mut bytes =
            Vec::with_capacity(batch.iter().map(|entry| entry.payload().len() + 1).sum());
        for entry in batch {
            bytes.extend_from_slice(entry.payload());
            bytes.push(b'\n');
        }
        let count = batch.len();
        Box::pin(async move {
            // A pipe that nobody empties blocks: on a thread of its own, it holds up no other sink.
            let write = tokio::task::spawn_blocking(move || {
                let mut out = std::io::stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())
            });
            match write.await {
                Ok(Ok(())) => Ok(count),
                Ok(Err(error)) => Err(DeliveryError::retry(error)),
                Err(gone) => Err(DeliveryError::retry(gone)),
            }
        })
    }
}
