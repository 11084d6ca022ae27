//! Kernels, as Debian builds them: downloaded and unpacked, not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use outrigger_testkit::figures::say;

use crate::store::{Store, output};

/// Kernels that can be asked for by name: the packages that depend on the newest one.
const NAMED: &[(&str, &str)] = &[("6.1", "linux-image-cloud-amd64")];

/// Modules that the guest loads, with what they need: its disk, and file systems that tests mount. Those
/// that a kernel has built in are left out.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "fuse", "overlay"];

/// A kernel, unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Its release, as `uname -r` says it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// The modules to load, in this order.
    pub(crate) modules: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel `wanted`: a name, or the paths of packages joined by commas.
    pub(crate) fn get(store: &Store, wanted: &str) -> Result<Self> {
        let folder = match NAMED.iter().find(|(name, _)| *name == wanted) {
            Some((name, package)) => store.get(&format!("kernel-{name}"), |workshop| {
                say(format_args!("fetching the kernel {name}, once"));
                unpack(workshop, &download(workshop, package)?)
            })?,
            None => {
                let packages: Vec<PathBuf> = wanted.split(',').map(PathBuf::from).collect();
                let known: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
                let last = packages.last().filter(|last| last.is_file());
                let last = last.and_then(|last| last.file_stem()).with_context(|| {
                    format!("it is neither a package nor one of: {}", known.join(", "))
                })?;
                let name = format!("kernel-{}", last.to_string_lossy());
                store.get(&name, |workshop| unpack(workshop, &packages))?
            }
        };
        Self::unpacked(&folder)
    }

    fn unpacked(folder: &Path) -> Result<Self> {
        let image = find(folder, &|name| name.starts_with("vmlinuz-"))
            .context("the package holds no kernel (vmlinuz)")?;
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        let mut modules = Vec::new();
        for module in MODULES {
            add_module(folder, module, &mut modules)?;
        }
        Ok(Self { release, image, modules })
    }
}

/// Downloads the package that `meta` depends on, with apt's own checks of its signature.
fn download(workshop: &Path, meta: &str) -> Result<Vec<PathBuf>> {
    let depends = output(Command::new("apt-cache").args(["depends", meta]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .with_context(|| format!("apt knows no {meta}; run: apt-get update"))?;
    let mut command = Command::new("apt-get");
    command.current_dir(workshop).args(["-qq", "download", package]);
    output(&mut command)?;
    let package = find(workshop, &|name| name.ends_with(".deb"));
    Ok(vec![package.context("apt-get downloaded nothing")?])
}

fn unpack(workshop: &Path, packages: &[PathBuf]) -> Result<PathBuf> {
    let folder = workshop.join("kernel");
    for package in packages {
        output(Command::new("dpkg").arg("-x").arg(package).arg(&folder))?;
    }
    // Newer kernels come with compressed modules, which the guest's small tools cannot all read.
    for (ending, tool) in [(".ko.xz", "xz"), (".ko.zst", "zstd")] {
        while let Some(module) = find(&folder, &|name| name.ends_with(ending)) {
            output(Command::new(tool).args(["-d", "-q", "-f"]).arg(&module))?;
            let _ = fs::remove_file(&module);
        }
    }
    Kernel::unpacked(&folder)?;
    Ok(folder)
}

/// Adds `module` after what it needs; nothing if the kernel has it built in.
fn add_module(folder: &Path, module: &str, modules: &mut Vec<PathBuf>) -> Result<()> {
    let dashed = |name: &str| name.replace('_', "-");
    let file = format!("{}.ko", dashed(module));
    let Some(path) = find(folder, &|name| dashed(name) == file) else {
        let builtin = find(folder, &|name| name == "modules.builtin");
        let builtin = fs::read_to_string(builtin.context("the package has no modules.builtin")?)?;
        ensure!(dashed(&builtin).contains(&format!("/{file}")), "it has no module {module}");
        return Ok(());
    };
    if modules.contains(&path) {
        return Ok(());
    }
    for needed in needs(&path)? {
        add_module(folder, &needed, modules)?;
    }
    modules.push(path);
    Ok(())
}

/// What a module says in its section `.modinfo` that it needs: `depends=a,b`, ended by a zero byte.
fn needs(module: &Path) -> Result<Vec<String>> {
    const KEY: &[u8] = b"\0depends=";
    let bytes = fs::read(module)?;
    let Some(at) = bytes.windows(KEY.len()).position(|window| window == KEY) else {
        bail!("{} does not say what it needs", module.display());
    };
    let rest = &bytes[at + KEY.len()..];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let list = String::from_utf8_lossy(&rest[..end]);
    Ok(list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// The first file below `folder` whose name is `wanted`.
fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let found = match is_folder {
            true => find(&path, wanted),
            false => wanted(&entry.file_name().to_string_lossy()).then_some(path),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
