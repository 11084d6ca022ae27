//! The interpreter of `module/channel.c`, called.

#![expect(unsafe_code, reason = "the interpreter is the kernel module's own C")]

use std::ffi::{CStr, c_char, c_uint, c_ulonglong};
use std::ptr::NonNull;

/// `struct channel_engine`, which only C looks into.
#[repr(C)]
struct Opaque {
    _bytes: [u8; 0],
}

/// `struct channel_facts`.
#[repr(C)]
struct RawFacts {
    event: *const c_char,
    path: *const c_char,
    numbers: [c_ulonglong; 4],
}

#[link(name = "channel", kind = "static")]
unsafe extern "C" {
    fn channel_engine_new() -> *mut Opaque;
    fn channel_engine_free(engine: *mut Opaque);
    fn channel_engine_read(
        engine: *mut Opaque,
        text: *const c_char,
        len: usize,
        line: *mut c_uint,
    ) -> *const c_char;
    fn channel_engine_judge(engine: *mut Opaque, facts: *const RawFacts) -> *const c_char;
}

/// What is known of an event.
pub(crate) struct Facts<'a> {
    pub(crate) event: &'a CStr,
    pub(crate) path: &'a CStr,
    /// User, group, size, change time.
    pub(crate) numbers: [u64; 4],
}

/// A table that was read.
#[derive(Debug)]
pub(crate) struct Interpreter {
    engine: NonNull<Opaque>,
}

// SAFETY: the memory is this value's alone, and C keeps nothing of it between two calls.
unsafe impl Send for Interpreter {}

impl Interpreter {
    /// Reads a table; the error says the line and what is wrong.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        // SAFETY: it takes nothing.
        let engine = unsafe { channel_engine_new() };
        let read = Self { engine: NonNull::new(engine).ok_or("0: no memory")? };
        let mut line = 0;
        // SAFETY: the engine was made above; the text is `len` bytes, and copied; the line is a valid place.
        let wrong = unsafe {
            channel_engine_read(
                read.engine.as_ptr(),
                text.as_ptr().cast(),
                text.len(),
                &raw mut line,
            )
        };
        match text_of(wrong) {
            Some(wrong) => Err(format!("{line}: {wrong}")),
            None => Ok(read),
        }
    }

    /// The name of the instance that denies the event, if one does. Reads past its inputs if the table asks for
    /// more than there are: that is the fault that is compared, and ends this process.
    pub(crate) fn judge(&mut self, facts: &Facts<'_>) -> Option<String> {
        let raw = RawFacts {
            event: facts.event.as_ptr(),
            path: facts.path.as_ptr(),
            numbers: facts.numbers,
        };
        // SAFETY: the engine holds a table that was read; both texts outlive the call and end with a zero byte.
        // Where the table names a 21st input this is not sound, on purpose: see above.
        let name = unsafe { channel_engine_judge(self.engine.as_ptr(), &raw const raw) };
        text_of(name)
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        // SAFETY: it was made by `channel_engine_new` and is not used again.
        unsafe { channel_engine_free(self.engine.as_ptr()) };
    }
}

fn text_of(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: what C gives is NULL or a text in the table or in the program, which nobody changes meanwhile.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(table: &str, path: &CStr) -> Option<String> {
        let facts = Facts { event: c"file.open", path, numbers: [33, 0, 7, 8] };
        Interpreter::read(table.as_bytes()).expect("a table").judge(&facts)
    }

    #[test]
    fn inputs_are_taken_apart_as_documented() {
        let table = "columns\tfolder\tname\tuid\textension\tdepth\tpart_1\tpart_3\n\
                     one\t/usr/bin\ttool.elf\t33\telf\t3\tusr\ttool.elf\n";

        assert_eq!(judged(table, c"/usr/bin/tool.elf").as_deref(), Some("one"));
        assert_eq!(judged(table, c"/usr/bin/tool.so"), None);
    }

    #[test]
    fn wildcards_past_the_inputs_are_not_looked_at() {
        assert_eq!(judged("columns\tpath\tipc_name\none\t/x\t*\n", c"/x").as_deref(), Some("one"));
        assert_eq!(judged("columns\tpath\tipc_name\none\t/y\tpipe\n", c"/x"), None);
    }

    #[test]
    fn what_is_no_table_is_told_with_its_line() {
        let wrong = |table: &str| Interpreter::read(table.as_bytes()).map(drop);

        assert_eq!(
            wrong("columns\tpath\none\t/x\t*\n"),
            Err("2: more cells than columns".to_owned())
        );
        assert_eq!(
            wrong("columns\tsmell\n"),
            Err("1: no input has the name of a column".to_owned())
        );
        assert_eq!(wrong(&"#".repeat(20_000)), Err("0: the table is too long".to_owned()));
    }
}
