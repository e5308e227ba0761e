//! SHA-256 as the chain and the trees use it, by the library that signs: it has fast code for processors without
//! instructions for it.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of `parts`, one behind the other.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    for (byte, from) in hash.iter_mut().zip(context.finish().as_ref()) {
        *byte = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn another_library_gives_the_same_hash_of_the_parts_together() {
        for len in [0, 1, 55, 56, 63, 64, 65, 1_000] {
            let bytes = vec![0xa5; len];
            let (left, right) = bytes.split_at(len / 3);
            let expected: Hash = Sha256::digest(&bytes).into();
            assert_eq!(sha256(&[left, right]), expected, "{len}");
        }
    }
}
