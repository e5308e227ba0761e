//! Bytes that want to be an image: refused or, if accepted, safe to decide with.
//!
//! The checksum would stop nearly every input, so it is put right first; what is looked for lies behind it.
#![no_main]

use interdict_abi::{ids::Mode, image::header};
use interdict_rules::{
    image::{PolicyImage, verify},
    oracle::generate::{self, Choices},
    run,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _refused_or_not = PolicyImage::decode(bytes);
    let Some((seed, rest)) = bytes.split_first_chunk::<8>() else { return };
    // A real image with some of its words replaced by the input's.
    let program = generate::program(&mut Choices::new(&seed.repeat(64)), 4);
    let budget = interdict_rules::lower::Budget {
        image_bytes: 1 << 20,
        table_bytes: 1 << 18,
        work_bytes: 1 << 20,
        parts: 8,
        together: 60,
    };
    let metadata = generate::metadata(&program);
    let Ok(image) = interdict_rules::lower::lower(&program, metadata, budget) else { return };
    let mut kernel = image.kernel().to_vec();
    for edit in rest.chunks_exact(8) {
        let at = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % (kernel.len() / 4);
        kernel[at * 4..at * 4 + 4].copy_from_slice(&edit[4..]);
    }
    let length = kernel.len() as u32;
    kernel[header::LENGTH as usize..][..4].copy_from_slice(&length.to_le_bytes());
    kernel[header::CHECKSUM as usize..][..4].fill(0);
    let checksum = verify::crc(&kernel);
    kernel[header::CHECKSUM as usize..][..4].copy_from_slice(&checksum.to_le_bytes());
    if let Ok(image) = image.with_kernel(kernel) {
        let mut choices = Choices::new(rest);
        for mode in [Mode::Enforce, Mode::Audit] {
            let _any = run::decide(&image, &generate::event(&mut choices), mode);
        }
    }
});
