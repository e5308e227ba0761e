//! The program that does nothing does not even have a C library.

fn main() {
    println!("cargo::rustc-link-arg-bin=nothing=-nostartfiles");
    println!("cargo::rustc-link-arg-bin=nothing=-nostdlib");
    println!("cargo::rerun-if-changed=build.rs");
}
