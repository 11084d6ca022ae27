//! Finds the loader and the shared libraries that a program needs, without running any of it.
//!
//! The root of a confined process has no `/etc/ld.so.cache`, so the loader there looks in its
//! standard folders alone; so does this. A library elsewhere (`RUNPATH`, `$ORIGIN`) is not
//! supported and refused here, rather than by a loader that cannot say so. So is a program or library
//! that needs memory which can be written and executed: an executable stack, a segment of that kind,
//! code that the loader has to change.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{
    DF_TEXTREL, DT_FLAGS, DT_NEEDED, DT_TEXTREL, FileHeader64, PF_W, PF_X, PT_GNU_STACK, PT_LOAD,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef, StringTable};

use crate::confinement::Bind;
use crate::error::StartError;

/// Where the loader looks, in its order (ld.so(8), on Debian and on distributions with `lib64`).
const FOLDERS: &[&str] = &[
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// More libraries than any engine has; a bound on what a broken file can cause.
const MOST_LIBRARIES: usize = 256;

/// The loader and the libraries that `program` needs, each as a bind to the path where the loader
/// will look for it. Empty for a static program.
///
/// # Errors
///
/// [`StartError::Program`] if it is not an ELF file of this machine, a library is missing, or one of the
/// files needs memory that can be written and executed.
pub fn needed_libraries(program: &Path) -> Result<Vec<Bind>, StartError> {
    let refuse = |reason: String| StartError::Program { program: program.to_owned(), reason };
    let mut found = BTreeMap::new();
    let mut to_read = VecDeque::from([program.to_owned()]);
    while let Some(file) = to_read.pop_front() {
        let needs = read_needs(&file).map_err(|reason| {
            refuse(format!("{} cannot be read as an ELF file: {reason}", file.display()))
        })?;
        if let Some(reason) = needs.writable_code {
            return Err(refuse(format!("{} {reason}", file.display())));
        }
        if let Some(loader) = needs.loader {
            found.entry(loader.clone()).or_insert_with(|| Bind::code(&loader, &loader));
        }
        for name in needs.libraries {
            let path = locate(&name)
                .ok_or_else(|| refuse(format!("{} is in none of {FOLDERS:?}", name.display())))?;
            if found.insert(path.clone(), Bind::code(&path, &path)).is_none() {
                to_read.push_back(path);
            }
        }
        if found.len() > MOST_LIBRARIES {
            return Err(refuse(format!("it needs more than {MOST_LIBRARIES} libraries")));
        }
    }
    Ok(found.into_values().collect())
}

/// A name with a slash is a path; any other is looked for in the standard folders.
fn locate(name: &Path) -> Option<PathBuf> {
    if name.is_absolute() {
        return Some(name.to_owned());
    }
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

const NO_NAME: &str = "a needed library has no name in the string table";

#[derive(Debug, Default)]
struct Needs {
    loader: Option<PathBuf>,
    libraries: Vec<PathBuf>,
    /// Why it needs memory that can be written and executed, if it does.
    writable_code: Option<&'static str>,
}

fn read_needs(path: &Path) -> Result<Needs, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    // Reads only the parts that are asked for.
    let cache = ReadCache::new(file);
    parse_needs(&cache).map_err(|error| error.to_string())
}

fn parse_needs<'data>(data: impl ReadRef<'data>) -> Result<Needs, Box<dyn std::error::Error>> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let mut needs = Needs { writable_code: writable_code(endian, segments), ..Needs::default() };
    for segment in segments {
        if let Some(loader) = segment.interpreter(endian, data)? {
            needs.loader = Some(as_path(loader));
        }
        let Some(entries) = segment.dynamic(endian, data)? else { continue };
        let changes_code = entries.iter().any(|entry| {
            let (tag, value) = (entry.d_tag(endian), entry.d_val(endian));
            tag == u64::from(DT_TEXTREL)
                || (tag == u64::from(DT_FLAGS) && value & u64::from(DF_TEXTREL) != 0)
        });
        if changes_code {
            needs.writable_code = Some(
                "has relocations in its code, which would have to be written: build it as \
                 position-independent code (-fPIC)",
            );
        }
        let strings = dynamic_strings(endian, data, segments, entries)?;
        for entry in entries.iter().filter(|entry| entry.d_tag(endian) == u64::from(DT_NEEDED)) {
            let name = u32::try_from(entry.d_val(endian)).ok().and_then(|at| strings.get(at).ok());
            let name = name.ok_or(NO_NAME)?;
            needs.libraries.push(as_path(name));
        }
    }
    Ok(needs)
}

/// What the segments say of memory to write and execute. A file that says nothing of its stack gets an
/// executable one from the C library's loader.
fn writable_code(
    endian: Endianness,
    segments: &[object::elf::ProgramHeader64<Endianness>],
) -> Option<&'static str> {
    let of = |kind: u32| segments.iter().filter(move |segment| segment.p_type(endian) == kind);
    let mut stacks = of(PT_GNU_STACK).map(|segment| segment.p_flags(endian)).peekable();
    if stacks.peek().is_none() || stacks.any(|flags| flags & PF_X != 0) {
        return Some("asks for an executable stack: link it with -z noexecstack");
    }
    let both = PF_W | PF_X;
    of(PT_LOAD).any(|segment| segment.p_flags(endian) & both == both).then_some(
        "has a segment to write and execute: link it without -N (--omagic) and with its code apart",
    )
}

/// The string table that the dynamic entries point to by its address in memory.
fn dynamic_strings<'data, R: ReadRef<'data>, D: Dyn<Endian = Endianness>>(
    endian: Endianness,
    data: R,
    segments: &[impl ProgramHeader<Endian = Endianness, Word = u64>],
    entries: &[D],
) -> object::read::Result<StringTable<'data, R>> {
    let value = |tag: u32| {
        let entry = entries.iter().find(|entry| entry.tag32(endian) == Some(tag))?;
        Some(entry.d_val(endian).into())
    };
    let (Some(address), Some(size)) = (value(object::elf::DT_STRTAB), value(object::elf::DT_STRSZ))
    else {
        return Ok(StringTable::default());
    };
    let offset = segments.iter().find_map(|segment| {
        let into = address.checked_sub(segment.p_vaddr(endian))?;
        let (offset, len) = segment.file_range(endian);
        (into < len && segment.p_type(endian) == PT_LOAD).then_some(offset + into)
    });
    Ok(offset.map_or_else(StringTable::default, |start: u64| {
        StringTable::new(data, start, start.saturating_add(size))
    }))
}

fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_needs_its_loader_and_the_c_library() {
        let own = std::env::current_exe().unwrap();

        let needed = needed_libraries(&own).unwrap();

        let holds = |part: &str| needed.iter().any(|b| b.target.to_str().unwrap().contains(part));
        assert!(holds("ld-linux"), "{needed:?}");
        assert!(holds("libc.so.6"), "{needed:?}");
        assert!(needed.iter().all(|bind| bind.execute));
    }

    #[test]
    fn a_script_is_refused_with_its_name() {
        let refused = needed_libraries(Path::new("/etc/passwd"));

        assert!(matches!(refused, Err(StartError::Program { .. })));
    }

    /// This test's own program with one program header, or one entry of its dynamic section, changed.
    fn changed(kind: u32, change: impl Fn(&mut [u8])) -> Vec<u8> {
        const HEADER_BYTES: usize = 56;
        let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let at = |bytes: &[u8], offset: usize| {
            usize::try_from(u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap()))
                .unwrap()
        };
        let first = at(&program, 32);
        let is_kind = |header: &usize| program[*header..*header + 4] == kind.to_le_bytes()[..];
        let header = (first..).step_by(HEADER_BYTES).find(is_kind).unwrap();
        if kind == object::elf::PT_DYNAMIC {
            let (offset, size) = (at(&program, header + 8), at(&program, header + 32));
            change(&mut program[offset..offset + size]);
        } else {
            change(&mut program[header..header + HEADER_BYTES]);
        }
        program
    }

    fn refused(program: &[u8]) -> &'static str {
        parse_needs(program).unwrap().writable_code.unwrap_or("not refused")
    }

    #[test]
    fn an_ordinary_program_needs_no_memory_to_write_and_execute() {
        assert_eq!(refused(&changed(PT_GNU_STACK, |_| {})), "not refused");
    }

    #[test]
    fn an_executable_stack_is_refused() {
        let asked = changed(PT_GNU_STACK, |header| header[4] |= PF_X.to_le_bytes()[0]);
        let silent = changed(PT_GNU_STACK, |header| header[..4].fill(0));

        assert!(refused(&asked).contains("executable stack"));
        assert!(refused(&silent).contains("executable stack"));
    }

    #[test]
    fn a_segment_to_write_and_execute_is_refused() {
        let both = changed(PT_LOAD, |header| header[4] |= (PF_W | PF_X).to_le_bytes()[0]);

        assert!(refused(&both).contains("a segment to write and execute"));
    }

    #[test]
    fn code_that_the_loader_would_have_to_change_is_refused() {
        // In the place of the entry that debuggers use (DT_DEBUG).
        let relocated = changed(object::elf::PT_DYNAMIC, |entries| {
            let debug = entries.chunks_mut(16).find(|entry| entry[0] == 21).unwrap();
            debug[0] = DT_TEXTREL.to_le_bytes()[0];
        });

        assert!(refused(&relocated).contains("relocations in its code"));
    }
}
