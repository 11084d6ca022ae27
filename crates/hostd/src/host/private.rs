//! Files and folders that are for root alone: what they tell is every user's and every engine's doing.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes the folder, and those above it as usual, where it is not there. One that is there is left as its
/// owner made it: the files in it are private by themselves.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Opens the file to append to it, and takes from others what an earlier release let them have.
pub(crate) fn append_to(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(FILE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// Opens a file to write it anew.
pub(crate) fn replace(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(FILE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("lib/outrigger");

        make_folder(&folder).expect("made");
        append_to(&folder.join("journal")).expect("opened");
        replace(&folder.join("kernel")).expect("opened");

        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("journal")), 0o600);
        assert_eq!(mode(&folder.join("kernel")), 0o600);
    }

    #[test]
    fn a_file_that_others_could_read_is_taken_from_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("journal");
        std::fs::write(&file, "").expect("written");
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("changed");

        append_to(&file).expect("opened");

        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn a_folder_that_is_there_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");

        assert!(make_folder(folder.path()).is_ok());
    }
}
