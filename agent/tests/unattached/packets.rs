//! Policies about packets, and the packets.

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt as _, path::Path};

use interdict_agent::{policy::Policy, trust::Trust};

/// Bytes of each frame.
pub(crate) const FRAME_BYTES: usize = 80;

/// A datagram over Ethernet.
pub(crate) fn frame(source: impl Into<IpAddr>, port: u8) -> Vec<u8> {
    let mut frame = vec![0; FRAME_BYTES];
    match source.into() {
        IpAddr::V4(source) => {
            frame[12..14].copy_from_slice(&[8, 0]);
            frame[14] = 0x45;
            frame[17] = 50;
            frame[23] = 17;
            frame[26..30].copy_from_slice(&source.octets());
            frame[30..34].copy_from_slice(&[192, 0, 2, 1]);
            frame[37] = port;
        }
        IpAddr::V6(source) => {
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            frame[14] = 0x60;
            frame[20] = 17;
            frame[22..38].copy_from_slice(&source.octets());
            frame[38] = 0x20;
            frame[57] = port;
        }
    }
    frame
}

/// The policy of these rules. `None`: only root could try it, and this is said.
pub(crate) fn opened(folder: &Path, rules: &str) -> Option<Policy> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not tried: this needs root");
        return None;
    }
    fs::write(folder.join("test.yaml"), rules).unwrap();
    Some(Policy::open(folder, &Trust::Folder).unwrap())
}
