//! The program that is run to see whether it runs has no C library, so that nothing of it depends on where it runs.

fn main() {
    println!("cargo::rustc-link-arg-bin=beacon=-nostartfiles");
    println!("cargo::rustc-link-arg-bin=beacon=-nostdlib");
    println!("cargo::rerun-if-changed=build.rs");
}
