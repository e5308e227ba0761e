//! A Merkle tree over one batch of chain hashes, so that one signature proves each alert of the batch by itself.
//!
//! As RFC 6962: a leaf is `SHA-256(0x00 || chain hash)`, a node `SHA-256(0x01 || left || right)`; a node without a
//! neighbour moves up as it is.

pub use super::hash::Hash;
use super::hash::sha256;

fn leaf(hash: &Hash) -> Hash {
    sha256(&[&[0], hash])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of a batch, and for each alert the neighbours on its way up.
pub fn tree(hashes: &[Hash]) -> (Hash, Vec<Vec<Hash>>) {
    // As many neighbours as the tree is high.
    let height = hashes.len().next_power_of_two().trailing_zeros() as usize;
    let mut paths: Vec<Vec<Hash>> = hashes.iter().map(|_hash| Vec::with_capacity(height)).collect();
    let mut level: Vec<Hash> = hashes.iter().map(leaf).collect();
    let mut height = 0;
    while level.len() > 1 {
        for (index, path) in paths.iter_mut().enumerate() {
            if let Some(neighbour) = level.get((index >> height) ^ 1) {
                path.push(*neighbour);
            }
        }
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(left, right),
                [alone] => *alone,
                _impossible => [0; 32],
            })
            .collect();
        height += 1;
    }
    (level.first().copied().unwrap_or([0; 32]), paths)
}

/// The root that a path leads to. `None`: the path doesn't fit the place.
pub fn root(hash: &Hash, index: u32, size: u32, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let mut at = leaf(hash);
    let mut neighbours = path.iter();
    let (mut index, mut last) = (index, size - 1);
    while last > 0 {
        if index & 1 == 1 {
            at = node(neighbours.next()?, &at);
        } else if index < last {
            at = node(&at, neighbours.next()?);
        }
        index >>= 1;
        last >>= 1;
    }
    neighbours.next().is_none().then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_every_size_leads_to_the_root_and_no_other_place_does() {
        for size in 1..=70u32 {
            let hashes: Vec<Hash> = (0..size).map(|n| sha256(&[&n.to_le_bytes()])).collect();
            let (expected, paths) = tree(&hashes);
            for (index, path) in (0..size).zip(&paths) {
                let hash = &hashes[index as usize];
                assert_eq!(root(hash, index, size, path), Some(expected));
                assert_ne!(root(&[7; 32], index, size, path), Some(expected));
                assert_eq!(root(hash, size, size, path), None);
                if size > 1 {
                    assert_ne!(root(hash, index ^ 1, size, path), Some(expected));
                    assert_ne!(root(hash, index, size, &path[1..]), Some(expected));
                }
            }
        }
    }
}
