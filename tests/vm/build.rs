//! Compiles the interpreter of `module/` for the docked engine: the same source that the kernel module has.

use std::env;

fn main() {
    for file in ["channel.c", "channel.h", "engine.c"] {
        println!("cargo:rerun-if-changed=module/{file}");
    }
    cc::Build::new()
        .files(["module/channel.c", "module/engine.c"])
        .warnings_into_errors(true)
        // The engine alone links it, and says so itself.
        .cargo_metadata(false)
        .compile("channel");
    println!("cargo:rustc-link-search=native={}", env::var("OUT_DIR").expect("cargo says where"));
}
