//! Compiles the BPF programs of `bpf/` with clang.
//!
//! The result depends on the sources and on clang's version alone: paths of this machine are mapped to
//! fixed names in what clang notes for debuggers. The events' numbers (`catalogue.h`) come from the one
//! table of them, in `crates/api`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The table of the events.
const CATALOGUE: &str = "../api/src/catalogue.rs";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo:warning=the BPF programs of bpf/ were not built: {why}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed={CATALOGUE}");
    println!("cargo:rerun-if-env-changed=CLANG");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let folder = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("bpf");
    write(&out.join("catalogue.h"), &catalogue()?)?;
    compile(&folder, "process.bpf.c", &out.join("process.bpf.o"))?;
    compile(&folder, "tests/agree.bpf.c", &out.join("agree.bpf.o"))?;

    let mut families: Vec<String> = fs::read_dir(folder.join("lsm"))
        .map_err(|error| format!("{}: {error}", path(&folder.join("lsm"))))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".bpf.c")?.to_owned()))
        .collect();
    families.sort();
    let mut table = String::from("&[\n");
    for family in &families {
        let object = out.join(format!("lsm-{family}.bpf.o"));
        compile(&folder, &format!("lsm/{family}.bpf.c"), &object)?;
        let _ =
            writeln!(table, "    ({family:?}, &Aligned(*include_bytes!({:?}))),", path(&object));
    }
    table.push_str("]\n");
    write(&out.join("lsm.rs"), &table)
}

fn compile(folder: &Path, source: &str, object: &Path) -> Result<(), String> {
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    // The headers of the libbpf that is linked (libbpf-sys says where it put them).
    let headers = variable("DEP_BPF_INCLUDE")?;
    let made = variable("OUT_DIR")?;
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb",
        _ => "bpfel",
    };
    // By the name that libbpf's headers have for it.
    let machine = match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => Some("-D__TARGET_ARCH_x86"),
        "aarch64" => Some("-D__TARGET_ARCH_arm64"),
        _ => None,
    };
    let mut command = Command::new(&clang);
    command
        .args(["-g", "-O2", "-Wall", "-Werror", "-mcpu=v3", "-target", target, "-c", source, "-o"])
        .arg(object)
        .args(machine)
        .args(["-I.", &format!("-I{headers}"), &format!("-I{made}")])
        .arg(format!("-ffile-prefix-map={headers}=libbpf"))
        .arg(format!("-ffile-prefix-map={made}=made"))
        .arg(format!("-ffile-prefix-map={}=bpf", path(folder)))
        .arg("-fdebug-compilation-dir=bpf")
        .current_dir(folder);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(format!("{} of {source}: {status}; its messages are below", path(clang.as_ref())))
        }
        Err(error) => Err(format!(
            "cannot start {} ({error}): install clang 14 or later (Debian: apt-get install clang), or \
             name one in CLANG",
            path(clang.as_ref())
        )),
    }
}

/// The events' places and numbers as C has them, from the lines of the table that name them. A test
/// compares them with the types that Rust makes of the same lines.
fn catalogue() -> Result<String, String> {
    let text = fs::read_to_string(CATALOGUE).map_err(|error| format!("{CATALOGUE}: {error}"))?;
    let events: Vec<(&str, String)> = text.lines().filter_map(event).collect();
    let mut header = String::from("/* Made by build.rs. */\nenum event_place {\n");
    for (_, name) in &events {
        let _ = writeln!(header, "\tEVENT_{name},");
    }
    header.push_str("\tEVENTS,\n};\n\nenum event_number {\n");
    for (number, name) in &events {
        let _ = writeln!(header, "\tNUMBER_{name} = {number},");
    }
    header.push_str("};\n");
    if events.is_empty() { Err(format!("{CATALOGUE} names no event")) } else { Ok(header) }
}

/// Number and name of `ProcessExec = 0x0101, "process.exec", File, Ask;`.
fn event(line: &str) -> Option<(&str, String)> {
    let (_, rest) = line.trim().strip_suffix(';')?.split_once(" = ")?;
    let (number, rest) = rest.split_once(", \"")?;
    let (name, _) = rest.split_once('"')?;
    number.strip_prefix("0x")?;
    Some((number, name.to_uppercase().replace('.', "_")))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", path(file)))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
