//! `release.toml` and `releases.toml`, which come with a vendor's releases.

use std::path::Path;

use outrigger_api::release::Part;
use outrigger_api::settings::{Release, Releases, check_path};

use crate::memory;
use crate::settings::{EACH, FIXED, assert_told};

const NAME: &str = "release.toml";

/// Reads `bytes` as both; what was taken and is written again must read the same.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let file = Path::new(NAME);
    match memory::within(text.len(), FIXED, EACH, || Release::parse(text, file)) {
        Ok(release) => {
            assert!(!release.files.is_empty(), "a release without files was taken");
            assert_eq!(release.content.is_some(), release.part == Part::Content);
            assert!(release.files.iter().all(|file| check_path(&file.path).is_ok()));
            assert!(release.version.build.is_empty());
            let written = release.to_toml();
            assert_eq!(Release::parse(&written, file).as_ref(), Ok(&release), "{written}");
        }
        Err(errors) => assert_told(&errors, NAME, text),
    }
    match memory::within(text.len(), FIXED, EACH, || Releases::parse(text, file)) {
        Ok(releases) => {
            let written = releases.to_toml();
            assert_eq!(Releases::parse(&written, file).as_ref(), Ok(&releases), "{written}");
            for offered in &releases.releases {
                assert_eq!(releases.find(offered.part, &offered.version), Some(offered));
            }
        }
        Err(errors) => assert_told(&errors, NAME, text),
    }
}
