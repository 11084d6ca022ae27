//! Compiles the BPF programs of `bpf/` with clang.
//!
//! The result depends on the sources and on clang's version alone: paths of this machine are mapped to
//! fixed names in what clang notes for debuggers.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SOURCE: &str = "process.bpf.c";
const SOURCES: [&str; 3] = [SOURCE, "process.h", "kernel.h"];

fn main() -> ExitCode {
    match compile() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo:warning=the BPF program bpf/{SOURCE} was not built: {why}");
            ExitCode::FAILURE
        }
    }
}

fn compile() -> Result<(), String> {
    for source in SOURCES {
        println!("cargo:rerun-if-changed=bpf/{source}");
    }
    println!("cargo:rerun-if-env-changed=CLANG");
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("bpf");
    let object = PathBuf::from(variable("OUT_DIR")?).join("process.bpf.o");
    // The headers of the libbpf that is linked (libbpf-sys says where it put them).
    let headers = variable("DEP_BPF_INCLUDE")?;
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb",
        _ => "bpfel",
    };

    let mut command = Command::new(&clang);
    command
        .args(["-g", "-O2", "-Wall", "-Werror", "-mcpu=v3", "-target", target, "-c", SOURCE, "-o"])
        .arg(&object)
        .arg(format!("-I{headers}"))
        .arg(format!("-ffile-prefix-map={headers}=libbpf"))
        .arg(format!("-ffile-prefix-map={}=bpf", path(&folder)))
        .arg("-fdebug-compilation-dir=bpf")
        .current_dir(&folder);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}; its messages are below", path(clang.as_ref()))),
        Err(error) => Err(format!(
            "cannot start {} ({error}): install clang 14 or later (Debian: apt-get install clang), or \
             name one in CLANG",
            path(clang.as_ref())
        )),
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
