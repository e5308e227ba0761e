//! Compression of what is sent, for receivers whose protocol knows it.
//!
//! Batches are up to a megabyte, which takes gzip some 20 ms: it is done on a thread that may block, so that no other
//! sink waits for it.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::DeliveryError;
use crate::config::Compression;

/// Level of gzip: what the tool itself takes.
const GZIP_LEVEL: u32 = 6;

/// Level of Zstandard: its own default.
const ZSTD_LEVEL: i32 = 3;

/// Compresses bytes off the runtime's threads. With no compression they come back as they are.
pub(super) async fn compressed(
    bytes: Vec<u8>,
    compression: Compression,
) -> Result<Vec<u8>, DeliveryError> {
    if compression == Compression::None {
        return Ok(bytes);
    }
    tokio::task::spawn_blocking(move || compress(&bytes, compression))
        .await
        .map_err(DeliveryError::retry)?
        .map_err(DeliveryError::retry)
}

/// Compresses bytes.
pub(super) fn compress(bytes: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn what_is_compressed_comes_back_whole_and_is_smaller() {
        let text = b"{\"schema\":\"interdict.alert/1\"}".repeat(200);
        let plain = compressed(text.clone(), Compression::None).await.unwrap();
        assert_eq!(plain, text);
        let gzip = compressed(text.clone(), Compression::Gzip).await.unwrap();
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
        let zstd = compressed(text.clone(), Compression::Zstd).await.unwrap();
        assert_eq!(zstd::bulk::decompress(&zstd, 1 << 20).unwrap(), text);
        assert!(gzip.len() < text.len() / 10 && zstd.len() < text.len() / 10);
    }
}
