//! The inputs that the code supplies for an event.

use std::os::unix::ffi::OsStrExt;

use outrigger_sdk::Question;

/// How many inputs are supplied.
pub(crate) const SUPPLIED: usize = 20;

/// The names that a table may use, in the order of the inputs. One more than there are inputs.
pub(crate) const FIELDS: [&str; 21] = [
    "event",
    "path",
    "folder",
    "name",
    "uid",
    "gid",
    "size",
    "changed",
    "extension",
    "depth",
    "part_1",
    "part_2",
    "part_3",
    "part_4",
    "part_5",
    "part_6",
    "part_7",
    "part_8",
    "path_bytes",
    "is_root",
    "ipc_name",
];

/// What one event has for each of them; empty where it has nothing.
pub(crate) type Inputs = [Vec<u8>; SUPPLIED];

/// The inputs of `question`.
pub(crate) fn of(question: &Question<'_>) -> Inputs {
    let path = question.path().map(|path| path.as_os_str().as_bytes()).unwrap_or_default();
    let (folder, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash.max(1)], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    let extension = name.iter().rposition(|&byte| byte == b'.').map(|dot| &name[dot + 1..]);
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').skip(1).collect();
    let part = |at: usize| parts.get(at).map(|part| part.to_vec()).unwrap_or_default();
    let credentials = question.credentials();
    let uid = credentials.map(|(uid, _)| uid);
    [
        question.event().name().as_bytes().to_vec(),
        path.to_vec(),
        folder.to_vec(),
        name.to_vec(),
        number(uid),
        number(credentials.map(|(_, gid)| gid)),
        number(question.size()),
        number(question.changed()),
        extension.unwrap_or_default().to_vec(),
        number(Some(parts.len())),
        part(0),
        part(1),
        part(2),
        part(3),
        part(4),
        part(5),
        part(6),
        part(7),
        number(Some(path.len())),
        number(Some(u8::from(uid == Some(0)))),
    ]
}

fn number(number: Option<impl ToString>) -> Vec<u8> {
    number.map(|number| number.to_string().into_bytes()).unwrap_or_default()
}
