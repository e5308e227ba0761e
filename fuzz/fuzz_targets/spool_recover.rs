//! Bytes that want to be a spool segment: every good record is found, in order of place, and nothing else; recovery and
//! a reader agree on them; and their lines never make the verifier fall over.
#![no_main]

use std::{fs, path::PathBuf};

use interdict_agent::{
    alert::verify,
    spool::{Reader, recover, segment},
};
use libfuzzer_sys::fuzz_target;

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("interdict-fuzz-{}", std::process::id()))
}

fuzz_target!(|bytes: &[u8]| {
    // The checksums would stop nearly every input: they are put right for as many records as the input's own lengths
    // make.
    let mut bytes = bytes.to_vec();
    let mut at = segment::HEADER_BYTES;
    while let Some(head) = bytes.get(at..at + segment::RECORD_BYTES) {
        let len = usize::from(u16::from_le_bytes([head[4], head[5]]) & 0x0fff);
        let end = at + segment::RECORD_BYTES + len;
        if end > bytes.len() || head[4] & 3 == 3 {
            at += 1;
            continue;
        }
        bytes[at..at + 4].copy_from_slice(b"\xa5IDR");
        bytes[at + 4..at + 8].copy_from_slice(&u32::try_from(len).expect("12 bits").to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[at..at + 20]);
        crc.update(&bytes[at + segment::RECORD_BYTES..end]);
        let crc = crc.finalize().to_le_bytes();
        bytes[at + 20..at + 24].copy_from_slice(&crc);
        at = end;
    }
    let found = recover::scan(&bytes, None);
    assert!(found.good_bytes + found.torn_bytes == bytes.len() as u64);

    let folder = folder();
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(segment::path(&folder, 1), &bytes).expect("a segment");
    let recovered = recover::recover(&folder).expect("content never fails");
    if found.last.is_some() {
        assert_eq!(recovered.head, found.last);
    }
    let mut reader = Reader::new(&folder, 1);
    let mut last = 0;
    while reader.next() < u64::MAX {
        let read = reader.read(u64::MAX - 1, 100, 1 << 20).expect("content never fails");
        for entry in &read.entries {
            assert!(entry.seq > last, "{} after {last}", entry.seq);
            last = entry.seq;
            let _proven_or_not = verify::check(&entry.line, &[]);
        }
        if read.entries.is_empty() {
            break;
        }
    }
});
