//! Where things are in this repository and what tasks may write: nothing outside `target/` but `ebpf/prebuilt/`.

use std::env;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies one below the top")
        .to_path_buf()
}

/// `target/`, where everything that can be made again is kept. Tools and kernels stay here even when
/// `CARGO_TARGET_DIR` sends what cargo builds elsewhere, so that they are fetched once.
pub fn target() -> PathBuf {
    root().join("target")
}

/// Where cargo puts what it builds.
pub fn cargo_target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(target, |directory| {
        let directory = PathBuf::from(directory);
        if directory.is_absolute() { directory } else { root().join(directory) }
    })
}

/// The root for tools installed by cargo; programs are in its `bin`.
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// Guests: kernels, their files, what they gave back.
pub fn vm() -> PathBuf {
    target().join("vm")
}
