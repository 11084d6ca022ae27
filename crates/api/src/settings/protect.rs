//! What is protected, and how: by tree, by file system, by mode.
//!
//! Protection is per file system, so what differs is decided per file system first ([`ProtectConfig::volume`])
//! and, where a tree within one is named, per file ([`ProtectConfig::refuses`]). Everything here is pure; who
//! asks looks paths up and says which file they lead to.

use std::path::{Path, PathBuf};

use crate::verdict::Mode;

/// How a tree or a kind of file system is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ProtectMode {
    /// Engines are asked and their denials are enforced.
    #[default]
    Enforce,
    /// Engines are asked and nothing is refused.
    Monitor,
    /// A file system is left out: nobody is asked.
    Off,
}

/// What is protected on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtectConfig {
    /// Trees that are protected, with every file system below them.
    pub trees: Vec<PathBuf>,
    /// Trees that are protected otherwise than the rest.
    pub places: Vec<PlaceConfig>,
    /// Kinds of file system that are protected otherwise than the rest.
    pub types: Vec<TypeConfig>,
}

/// A tree that is protected otherwise than the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceConfig {
    /// Its path.
    pub path: PathBuf,
    /// How.
    pub mode: ProtectMode,
}

/// A kind of file system that is protected otherwise than the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeConfig {
    /// The type, without a subtype.
    pub fs_type: String,
    /// How.
    pub mode: ProtectMode,
}

impl ProtectConfig {
    /// How the file system mounted at `point` is protected: as the tree that begins there, else as its
    /// type, else as the deepest tree that holds it.
    pub fn volume(&self, point: &Path, fs_type: &str) -> ProtectMode {
        let own = self.places.iter().find(|place| place.path == point).map(|place| place.mode);
        let of_type = || self.types.iter().find(|kind| kind.fs_type == fs_type).map(|k| k.mode);
        own.or_else(of_type)
            .or_else(|| self.deepest(point).map(|place| place.mode))
            .unwrap_or_default()
    }

    /// Whether denials are enforced for a file of the file system mounted at `point`, whose mode is
    /// `volume`. `path` leads to the file, as the caller made sure; `None` where no such path is known, and
    /// then the strictest mode of the file system holds.
    pub fn refuses(&self, point: &Path, volume: Mode, path: Option<&Path>) -> bool {
        let within = |place: &&PlaceConfig| place.path.starts_with(point) && place.path != point;
        let enforces = |mode: ProtectMode| mode == ProtectMode::Enforce;
        let otherwise = volume == Mode::Enforce;
        match path {
            Some(path) => self
                .places
                .iter()
                .filter(within)
                .filter(|place| path.starts_with(&place.path))
                .max_by_key(|place| place.path.components().count())
                .map_or(otherwise, |place| enforces(place.mode)),
            None => {
                otherwise || self.places.iter().filter(within).any(|place| enforces(place.mode))
            }
        }
    }

    /// Whether [`ProtectConfig::refuses`] depends on the path within the file system mounted at `point`.
    pub fn differs_within(&self, point: &Path) -> bool {
        self.places.iter().any(|place| place.path.starts_with(point) && place.path != point)
    }

    fn deepest(&self, path: &Path) -> Option<&PlaceConfig> {
        let holding = self.places.iter().filter(|place| path.starts_with(&place.path));
        holding.max_by_key(|place| place.path.components().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ProtectConfig {
        let place = |path: &str, mode| PlaceConfig { path: path.into(), mode };
        ProtectConfig {
            trees: vec!["/".into()],
            places: vec![
                place("/home", ProtectMode::Monitor),
                place("/home/ci", ProtectMode::Enforce),
                place("/mnt", ProtectMode::Off),
                place("/mnt/keep", ProtectMode::Enforce),
            ],
            types: vec![TypeConfig { fs_type: "nfs4".to_owned(), mode: ProtectMode::Monitor }],
        }
    }

    #[test]
    fn a_file_system_is_protected_by_its_own_entry_then_its_type_then_what_holds_it() {
        let config = config();
        let mode = |point: &str, fs_type: &str| config.volume(Path::new(point), fs_type);

        assert_eq!(mode("/", "ext4"), ProtectMode::Enforce);
        assert_eq!(mode("/mnt/usb", "vfat"), ProtectMode::Off);
        assert_eq!(mode("/mnt/keep", "nfs4"), ProtectMode::Enforce);
        assert_eq!(mode("/mnt/share", "nfs4"), ProtectMode::Monitor);
        assert_eq!(mode("/home/ci/work", "tmpfs"), ProtectMode::Enforce);
    }

    #[test]
    fn a_file_is_refused_as_the_deepest_tree_that_holds_it_says() {
        let config = config();
        let refuses =
            |path: &str| config.refuses(Path::new("/"), Mode::Enforce, Some(Path::new(path)));

        assert!(refuses("/usr/bin/x"));
        assert!(!refuses("/home/a/x"));
        assert!(refuses("/home/ci/x"));
        assert!(!refuses("/mnt/x"), "a folder cannot be left out, but nothing is refused there");
    }

    #[test]
    fn a_file_without_a_known_path_is_refused_as_the_strictest_says() {
        let config = config();
        let refuses = |point: &str, mode| config.refuses(Path::new(point), mode, None);

        assert!(refuses("/", Mode::Enforce));
        assert!(refuses("/home", Mode::Monitor), "/home/ci lies there and is enforced");
        assert!(!refuses("/srv", Mode::Monitor));
    }

    #[test]
    fn another_mounts_tree_decides_nothing_here() {
        let config = config();

        assert!(config.refuses(Path::new("/srv"), Mode::Enforce, Some(Path::new("/home/a/x"))));
        assert!(!config.differs_within(Path::new("/srv")));
        assert!(config.differs_within(Path::new("/")));
    }
}
