//! Kernels, as Debian builds them: downloaded and unpacked, not installed.

mod debian;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use outrigger_testkit::figures::say;

use crate::store::{Store, output};

/// Kernels that can be asked for by name, from the oldest to the newest: all that the platform is promised on.
pub(crate) const NAMED: &[Named] = &[
    Named { name: "6.1", suite: None, at_least: (6, 1) },
    Named { name: "6.12", suite: Some("bookworm-backports"), at_least: (6, 12) },
    // The newest that there is. 6.18 is the first that wakes a task by task work (`bpf_task_work_schedule_signal`).
    Named { name: "7", suite: Some("sid"), at_least: (6, 18) },
];

/// Modules that the guest loads, with what they need: its disk, and file systems that tests mount. Those
/// that a kernel has built in are left out.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "fuse", "overlay"];
/// Modules that are unpacked by one command: its arguments are bounded.
const AT_ONCE: usize = 256;

/// A kernel that can be asked for by name.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: &'static str,
    /// The suite of Debian that has it; without one, what the machine itself gets its packages from.
    suite: Option<&'static str>,
    /// A suite moves on: what it gives is that new, or it is not what was asked for.
    at_least: (u32, u32),
}

/// Why a kernel is not to be had: apt gets nothing from where it should.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unfetched;

impl fmt::Display for Unfetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("apt cannot fetch it")
    }
}

/// A kernel, unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What it was asked for by: `6.1`; of packages its release.
    pub(crate) name: String,
    /// Its release, as `uname -r` says it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// The modules to load, in this order.
    pub(crate) modules: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel `wanted`: a name, or the paths of packages joined by commas.
    pub(crate) fn get(store: &Store, wanted: &str) -> Result<Self> {
        if let Some(named) = NAMED.iter().find(|named| named.name == wanted) {
            let folder = store.get(&format!("kernel-{wanted}"), |workshop| {
                say(format_args!("fetching the kernel {wanted}, once"));
                let folder = unpack(workshop, &debian::download(workshop, named.suite)?)?;
                Self::unpacked(&folder)?.ensure_at_least(named)?;
                Ok(folder)
            })?;
            return Ok(Self { name: wanted.to_owned(), ..Self::unpacked(&folder)? });
        }
        let packages: Vec<PathBuf> = wanted.split(',').map(PathBuf::from).collect();
        let known: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
        let last = packages.last().filter(|last| last.is_file());
        let last = last
            .and_then(|last| last.file_stem())
            .with_context(|| format!("it is neither a package nor one of: {}", known.join(", ")))?;
        let name = format!("kernel-{}", last.to_string_lossy());
        Self::unpacked(&store.get(&name, |workshop| unpack(workshop, &packages))?)
    }

    /// The processor that QEMU emulates for it: everything it can, but for `cmpxchg16b`. QEMU 7.2 gives wrong flags
    /// back from that, and a kernel that has its memory by it goes down now and then, 6.12 mostly. Newer
    /// ones need it: without, BPF programs get no memory (`kmalloc_nolock`).
    pub(crate) fn processor(&self) -> &'static str {
        match version(&self.release) {
            Some(version) if version >= (6, 18) => "max",
            _ => "max,-cx16",
        }
    }

    /// How many of them. While one rewrites the code of 6.12 (to attach a program to a tracepoint), another emulated one
    /// can run into the breakpoint that stands there meanwhile and find it gone when it looks: an oops, `int3`.
    pub(crate) fn processors(&self) -> &'static str {
        match version(&self.release) {
            Some((6, 12)) => "1",
            _ => "2",
        }
    }

    fn unpacked(folder: &Path) -> Result<Self> {
        let (image, release) = image(folder).context("the packages hold no kernel (vmlinuz)")?;
        let mut modules = Vec::new();
        for module in MODULES {
            add_module(folder, module, &mut modules)?;
        }
        Ok(Self { name: release.clone(), release, image, modules })
    }

    fn ensure_at_least(&self, named: &Named) -> Result<()> {
        let (major, minor) = named.at_least;
        ensure!(
            version(&self.release).is_some_and(|version| version >= named.at_least),
            "Debian has {} there, and at least {major}.{minor} is wanted",
            self.release
        );
        Ok(())
    }
}

/// The kernel's file and its release. Debian puts it as `vmlinuz-RELEASE` into /boot; since 7.0 as
/// `vmlinuz` beside its modules.
fn image(folder: &Path) -> Option<(PathBuf, String)> {
    let path = find(folder, &|name| name == "vmlinuz" || name.starts_with("vmlinuz-"))?;
    let name = path.file_name()?.to_str()?;
    let release = match name.strip_prefix("vmlinuz-") {
        Some(release) => release.to_owned(),
        None => path.parent()?.file_name()?.to_str()?.to_owned(),
    };
    Some((path, release))
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|byte: char| !byte.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn unpack(workshop: &Path, packages: &[PathBuf]) -> Result<PathBuf> {
    let folder = workshop.join("kernel");
    for package in packages {
        output(Command::new("dpkg").arg("-x").arg(package).arg(&folder))?;
    }
    // Newer kernels come with compressed modules, which the guest's small tools cannot all read.
    for (ending, tool) in [(".ko.xz", "xz"), (".ko.zst", "zstd")] {
        let mut packed = Vec::new();
        all(&folder, &|name| name.ends_with(ending), &mut packed);
        for modules in packed.chunks(AT_ONCE) {
            output(Command::new(tool).args(["-d", "-q", "-f"]).args(modules))?;
        }
        for module in packed {
            // xz has done that itself.
            let _ = fs::remove_file(module);
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

/// Every file below `folder` whose name is `wanted`.
fn all(folder: &Path, wanted: &dyn Fn(&str) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all(&path, wanted, found);
        } else if wanted(&entry.file_name().to_string_lossy()) {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.12.95+deb12-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("7.2.13+deb14-cloud-amd64"), Some((7, 2)));
        assert_eq!(version("7.2+deb14"), Some((7, 2)));
        assert_eq!(version("cloud"), None);
    }

    #[test]
    fn a_kernel_lies_in_boot_or_beside_its_modules() {
        let folder = tempfile::tempdir().expect("a folder");
        let modules = folder.path().join("usr/lib/modules/7.2.13-cloud");
        fs::create_dir_all(&modules).expect("made");
        fs::write(modules.join("vmlinuz"), b"").expect("written");

        let (path, release) = image(folder.path()).expect("it is there");

        assert_eq!((path, release.as_str()), (modules.join("vmlinuz"), "7.2.13-cloud"));
    }
}
