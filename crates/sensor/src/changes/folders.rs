//! Paths of folders, kept by the folders' handles.
//!
//! Finding one out costs several system calls, and most changes happen in few folders. Bounded, and
//! nearly the least recently used goes first: there are two halves, what is used is in the young one, and
//! when that is full it becomes the old one and what was the old one is forgotten.

use std::collections::HashMap;

use super::record::{FileSystemId, Handle};

/// A folder, whatever it is called.
pub(super) type Folder = (FileSystemId, Handle);

/// Folders in each half. A path has 4,095 bytes at most, so that both halves take 9 MiB at most; half a
/// MiB where paths are as long as they usually are.
const HALF: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Folders {
    young: HashMap<Folder, Box<[u8]>>,
    old: HashMap<Folder, Box<[u8]>>,
}

impl Folders {
    /// The folder's path, from `find` if it is not known; `None` if that has none.
    pub(super) fn path(
        &mut self,
        folder: &Folder,
        find: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Option<&[u8]> {
        if !self.young.contains_key(folder) {
            let path = match self.old.remove(folder) {
                Some(path) => path,
                None => find()?.into_boxed_slice(),
            };
            if self.young.len() >= HALF {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(*folder, path);
        }
        self.young.get(folder).map(AsRef::as_ref)
    }

    /// Forgets a folder that is gone.
    pub(super) fn forget(&mut self, folder: &Folder) {
        self.young.remove(folder);
        self.old.remove(folder);
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(number: usize) -> Folder {
        let handle = Handle::new(1, &number.to_ne_bytes()).expect("short");
        (FileSystemId([0, 0]), handle)
    }

    #[test]
    fn a_known_folder_is_not_looked_for_again() {
        let mut folders = Folders::default();
        folders.path(&folder(1), || Some(b"/a".to_vec()));

        let again = folders.path(&folder(1), || panic!("it is known"));

        assert_eq!(again, Some(&b"/a"[..]));
    }

    #[test]
    fn a_folder_without_a_path_is_looked_for_every_time() {
        let mut folders = Folders::default();

        assert_eq!(folders.path(&folder(1), || None), None);
        assert_eq!(folders.path(&folder(1), || Some(b"/a".to_vec())), Some(&b"/a"[..]));
    }

    #[test]
    fn what_is_used_stays_and_all_is_bounded() {
        let mut folders = Folders::default();

        for number in 0..10 * HALF {
            folders.path(&folder(number), || Some(b"/many".to_vec()));
            folders.path(&folder(usize::MAX), || {
                assert_eq!(number, 0, "the folder in use was forgotten");
                Some(b"/used".to_vec())
            });
        }

        assert!(folders.young.len() + folders.old.len() <= 2 * HALF);
    }

    #[test]
    fn a_forgotten_folder_is_looked_for_again() {
        let mut folders = Folders::default();
        for number in 0..=HALF {
            folders.path(&folder(number), || Some(b"/old".to_vec()));
        }

        folders.forget(&folder(0));
        folders.forget(&folder(HALF));

        assert_eq!(folders.path(&folder(0), || Some(b"/new".to_vec())), Some(&b"/new"[..]));
        assert_eq!(folders.path(&folder(HALF), || Some(b"/new".to_vec())), Some(&b"/new"[..]));
        folders.clear();
        assert_eq!(folders.path(&folder(1), || None), None);
    }
}
