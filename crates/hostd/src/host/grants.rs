//! Whose content an engine may read, and which files it never gets by default.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use outrigger_api::FileKey;
use outrigger_api::record::ContentAbsent;
use outrigger_api::settings::ContentGrant;
use outrigger_sensor::identity::{self, Object};
use rustix::fs::{Mode, OFlags, openat};

/// Files with secrets of the machine. Known by identity, so that another name for one does not help.
const KEY_FILES: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/security/opasswd",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/credential.secret",
];
/// Names by which private keys go. They count only for root's files that nobody else may read: were a
/// name of an ordinary user's choice enough, it would be a way past every engine.
const KEY_NAMES: &[&[u8]] = &[b"id_rsa", b"id_dsa", b"id_ecdsa", b"id_ed25519", b"id_ed25519_sk"];
const KEY_ENDINGS: &[&[u8]] = &[b".key", b".pem", b".p12", b".pfx", b".jks", b".kdbx", b".keytab"];

/// The secrets known by identity, and by name.
///
/// By identity, another name for one does not help; but a file that was replaced since (by a new password)
/// leaves its identity to whatever file comes next. So what is known must still lie where it was found.
#[derive(Debug, Default)]
pub(crate) struct KeyMaterial {
    /// Where each was found.
    files: HashMap<FileKey, PathBuf>,
    /// The root that they were found from; without one nothing is looked up again.
    origin: Option<BorrowedFd<'static>>,
    /// The host's own state folder: what is written there later is not known by identity.
    state: PathBuf,
}

impl KeyMaterial {
    /// Looks up the known files from the root `origin`. What lies in the host's own `state` folder tells
    /// what other engines were asked and said.
    pub(crate) fn look_up(origin: BorrowedFd<'static>, state: &Path) -> Self {
        let own =
            std::fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
        let known = KEY_FILES.iter().map(PathBuf::from);
        let found = known.chain(own).filter_map(|path| Some((key_of(origin, &path)?, path)));
        Self {
            files: found.collect(),
            origin: Some(origin),
            // Not there yet at the first start: then nothing leads to it by a link either.
            state: std::fs::canonicalize(state).unwrap_or_else(|_| state.to_owned()),
        }
    }

    /// Whether the object is key material. `path` is asked for only where permissions suggest it.
    pub(crate) fn covers(&self, object: &Object, path: impl FnOnce() -> Option<PathBuf>) -> bool {
        const OTHERS: u32 = 0o007;
        const OTHERS_AND_GROUP: u32 = 0o077;
        const EXECUTE: u32 = 0o111;
        if self.files.get(&object.key).is_some_and(|at| self.is_still_at(object.key, at)) {
            return true;
        }
        let may_be = object.owner == 0 && object.mode & (OTHERS | EXECUTE) == 0;
        may_be
            && path().is_some_and(|path| {
                KEY_FILES.iter().any(|known| Path::new(known) == path)
                    || (object.mode & OTHERS_AND_GROUP == 0
                        && (is_key_name(&path) || self.is_state(&path)))
            })
    }

    fn is_still_at(&self, key: FileKey, path: &Path) -> bool {
        self.origin.is_none_or(|origin| key_of(origin, path) == Some(key))
    }

    fn is_state(&self, path: &Path) -> bool {
        !self.state.as_os_str().is_empty() && path.starts_with(&self.state)
    }
}

/// The key of the file at `path` in the namespace of `origin`, opened without asking (`O_PATH`).
pub(crate) fn key_of(origin: BorrowedFd<'_>, path: &Path) -> Option<FileKey> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let file = openat(origin, relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Some(identity::object(file.as_fd()).ok()?.key)
}

fn is_key_name(path: &Path) -> bool {
    let name = path.file_name().map_or(&b""[..], OsStr::as_bytes);
    KEY_NAMES.contains(&name) || KEY_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether an engine with this grant may read the object.
pub(crate) fn decide(
    grant: &ContentGrant,
    keys: &KeyMaterial,
    object: &Object,
    path: impl Fn() -> Option<PathBuf>,
) -> Result<(), ContentAbsent> {
    if !object.is_regular() {
        return Err(ContentAbsent::NotRegular);
    }
    let granted = match grant {
        ContentGrant::None => false,
        ContentGrant::All => true,
        ContentGrant::Paths(trees) => {
            path().is_some_and(|path| trees.iter().any(|tree| path.starts_with(tree)))
        }
    };
    if !granted {
        return Err(ContentAbsent::NotGranted);
    }
    if keys.covers(object, path) { Err(ContentAbsent::KeyMaterial) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(mode: u32) -> Object {
        Object {
            key: FileKey([1; 32]),
            device: 1,
            size: 1,
            changed: 1,
            mode: 0o100_000 | mode,
            owner: 0,
        }
    }

    #[test]
    fn a_name_is_no_way_past_the_engines() {
        let users = Object { owner: 1000, ..object(0o600) };
        let programs = object(0o700);
        let path = || Some(PathBuf::from("/tmp/eicar.key"));

        let of_a_user = decide(&ContentGrant::All, &KeyMaterial::default(), &users, path);
        let to_execute = decide(&ContentGrant::All, &KeyMaterial::default(), &programs, path);

        assert_eq!((of_a_user, to_execute), (Ok(()), Ok(())));
    }

    #[test]
    fn a_private_key_is_left_out_by_name_only_where_others_may_not_read_it() {
        let keys = KeyMaterial::default();
        let path = || Some(PathBuf::from("/home/a/.ssh/id_rsa"));

        let secret = decide(&ContentGrant::All, &keys, &object(0o600), path);
        let public = decide(&ContentGrant::All, &keys, &object(0o644), path);

        assert_eq!(secret, Err(ContentAbsent::KeyMaterial));
        assert_eq!(public, Ok(()));
    }

    #[test]
    fn a_known_secret_is_left_out_under_any_name() {
        let keys = KeyMaterial {
            files: [(FileKey([1; 32]), PathBuf::from("/etc/shadow"))].into(),
            ..KeyMaterial::default()
        };

        let other_name =
            decide(&ContentGrant::All, &keys, &object(0o644), || Some("/tmp/x".into()));

        assert_eq!(other_name, Err(ContentAbsent::KeyMaterial));
    }

    #[test]
    fn what_the_host_writes_later_is_left_out_too() {
        let keys = KeyMaterial { state: "/var/lib/outrigger".into(), ..KeyMaterial::default() };
        let journal = || Some(PathBuf::from("/var/lib/outrigger/journal.jsonl.1"));

        let own = decide(&ContentGrant::All, &keys, &object(0o600), journal);
        let elsewhere = decide(&ContentGrant::All, &keys, &object(0o600), || Some("/srv/x".into()));

        assert_eq!((own, elsewhere), (Err(ContentAbsent::KeyMaterial), Ok(())));
    }

    #[test]
    fn a_secret_that_was_replaced_is_known_by_its_name() {
        let keys = KeyMaterial::default();
        let at = |path: &'static str| {
            decide(&ContentGrant::All, &keys, &object(0o640), || Some(path.into()))
        };

        assert_eq!(at("/etc/shadow"), Err(ContentAbsent::KeyMaterial));
        assert_eq!(at("/etc/group+"), Ok(()));
    }

    #[test]
    fn a_file_that_got_a_replaced_secrets_identity_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (secret, other) = (folder.path().join("secret"), folder.path().join("other"));
        std::fs::write(&secret, "old").expect("it can be written");
        let root: &'static std::fs::File =
            Box::leak(Box::new(std::fs::File::open("/").expect("there is a root")));
        let keys = KeyMaterial::look_up(root.as_fd(), folder.path());
        let key = key_of(root.as_fd(), &secret).expect("it is there");
        let file = Object { key, ..object(0o644) };
        let before = decide(&ContentGrant::All, &keys, &file, || Some(other.clone()));

        std::fs::rename(&secret, &other).expect("it can be renamed");

        let after = decide(&ContentGrant::All, &keys, &file, || Some(other.clone()));
        assert_eq!((before, after), (Err(ContentAbsent::KeyMaterial), Ok(())));
    }

    #[test]
    fn a_grant_of_paths_ends_at_its_trees() {
        let grant = ContentGrant::Paths(vec!["/usr".into()]);
        let at = |path: &'static str| {
            decide(&grant, &KeyMaterial::default(), &object(0o644), || Some(path.into()))
        };

        assert_eq!(at("/usr/bin/true"), Ok(()));
        assert_eq!(at("/usr2/x"), Err(ContentAbsent::NotGranted));
    }

    #[test]
    fn a_device_has_no_content() {
        let device = Object { mode: 0o020_644, ..object(0) };

        let result = decide(&ContentGrant::All, &KeyMaterial::default(), &device, || None);

        assert_eq!(result, Err(ContentAbsent::NotRegular));
    }
}
