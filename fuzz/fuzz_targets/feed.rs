//! Any bytes are a feed or are refused; what is read is sorted, joined and agrees with a parser of the standard library.
#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use interdict_rules::parse::feed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((addresses, _)) = feed::read(bytes, 10_000) else { return };
    assert!(addresses.v4.iter().all(|(first, last)| first <= last));
    assert!(addresses.v6.iter().all(|(first, last)| first <= last));
    assert!(addresses.v4.windows(2).all(|pair| pair[0].1 < pair[1].0));
    assert!(addresses.v6.windows(2).all(|pair| pair[0].1 < pair[1].0));
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Ok(address) = line.trim().parse::<Ipv4Addr>() {
            let bits = u32::from(address);
            assert!(addresses.v4.iter().any(|(first, last)| (*first..=*last).contains(&bits)));
        }
        if let Ok(address) = line.trim().parse::<Ipv6Addr>() {
            let bits = u128::from(address);
            let mapped = address.to_ipv4_mapped().map(u32::from);
            assert!(
                addresses.v6.iter().any(|(first, last)| (*first..=*last).contains(&bits))
                    || mapped.is_some_and(|bits| {
                        addresses.v4.iter().any(|(first, last)| (*first..=*last).contains(&bits))
                    })
            );
        }
    }
});
