//! Tells the product's files which atomics to use. A cfg of our own and set here, so that no dependency is built anew for it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (feature, cfg) in [("CARGO_FEATURE_LOOM", "plimsoll_loom"), ("CARGO_FEATURE_SHUTTLE", "plimsoll_shuttle")] {
        if std::env::var_os(feature).is_some() {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}
