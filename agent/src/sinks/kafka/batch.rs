//! Records of Kafka, batch format 2 (magic 2), as brokers store them.
//!
//! Alerts become records with the stream as key, the alert as value, and `id` and `seq` as headers. The batch says
//! nothing of a producer: repeats are told by their headers.

use serde_json::Value;

use crate::{alert::build::unix_ns, config::Compression, spool::Entry};

/// The records of a batch, one after another, before compression.
pub(super) struct Records {
    /// The stream they are of.
    pub(super) stream: String,
    /// Their bytes.
    pub(super) bytes: Vec<u8>,
    count: i32,
    first_ms: i64,
    last_ms: i64,
}

impl Records {
    pub(super) fn of(batch: &[Entry]) -> Self {
        let natives: Vec<Value> = batch
            .iter()
            .map(|entry| serde_json::from_slice(&entry.line).unwrap_or_default())
            .collect();
        let text = |native: &Value, name: &str| {
            native.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let times: Vec<i64> = natives
            .iter()
            .map(|native| unix_ns(&text(native, "time")).unwrap_or(0) / 1_000_000)
            .map(|ms| i64::try_from(ms).unwrap_or(0))
            .collect();
        let first_ms = times.iter().copied().min().unwrap_or(0);
        let last_ms = times.iter().copied().max().unwrap_or(0);
        let stream = natives.first().map(|native| text(native, "stream")).unwrap_or_default();
        let mut bytes = Vec::new();
        let mut record = Vec::new();
        for (index, ((entry, native), ms)) in batch.iter().zip(&natives).zip(&times).enumerate() {
            record.clear();
            record.push(0);
            varint(&mut record, ms - first_ms);
            varint(&mut record, i64::try_from(index).unwrap_or(i64::MAX));
            field(&mut record, text(native, "stream").as_bytes());
            field(&mut record, entry.payload());
            varint(&mut record, 2);
            field(&mut record, b"id");
            field(&mut record, text(native, "id").as_bytes());
            field(&mut record, b"seq");
            field(&mut record, entry.seq.to_string().as_bytes());
            field(&mut bytes, &record);
        }
        let count = i32::try_from(batch.len()).unwrap_or(i32::MAX);
        Self { stream, bytes, count, first_ms, last_ms }
    }

    /// The whole batch, of which `packed` are the records, compressed.
    pub(super) fn batch(&self, packed: &[u8], compression: Compression) -> Vec<u8> {
        let attributes: i16 = match compression {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Zstd => 4,
        };
        let mut checked = attributes.to_be_bytes().to_vec();
        checked.extend_from_slice(&(self.count - 1).to_be_bytes());
        checked.extend_from_slice(&self.first_ms.to_be_bytes());
        checked.extend_from_slice(&self.last_ms.to_be_bytes());
        // No producer id, epoch or sequence.
        checked.extend_from_slice(&[0xff; 14]);
        checked.extend_from_slice(&self.count.to_be_bytes());
        checked.extend_from_slice(packed);

        let mut out = 0i64.to_be_bytes().to_vec();
        let len = i32::try_from(checked.len() + 9).unwrap_or(i32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes());
        out.push(2);
        out.extend_from_slice(&crc32c(&checked).to_be_bytes());
        out.extend_from_slice(&checked);
        out
    }
}

/// Bytes behind their length.
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the sign in the lowest bit.
fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or(0x7f);
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// CRC-32C, which is another polynomial than that of the spool.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(u32::MAX, |crc, byte| CRC32C[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let encoded = |value| {
            let mut out = Vec::new();
            varint(&mut out, value);
            out
        };
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(-1), [1]);
        assert_eq!(encoded(63), [126]);
        assert_eq!(encoded(64), [0x80, 1]);
        assert_eq!(encoded(-300), [0xd7, 4]);
        assert_eq!(encoded(i64::MIN).len(), 10);
    }

    #[test]
    fn a_batch_says_how_long_it_is_and_how_many_records_it_has() {
        let line = br#"{"id":"s-1","stream":"s","time":"2026-01-02T03:04:05.000000000Z"}"#;
        let entry =
            |seq| Entry { seq, severity: 0, is_notice: false, line: line.to_vec(), rendered: None };
        let records = Records::of(&[entry(1), entry(2)]);
        assert_eq!(records.stream, "s");
        let batch = records.batch(&records.bytes, Compression::None);
        let number = |at: usize| i32::from_be_bytes(batch[at..at + 4].try_into().unwrap());
        assert_eq!(usize::try_from(number(8)).unwrap() + 12, batch.len());
        assert_eq!((batch[16], number(23), number(57)), (2, 1, 2));
        assert_eq!(number(17).cast_unsigned(), crc32c(&batch[21..]));
    }
}
