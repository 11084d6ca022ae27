//! The command line of the conformance suite. The suite itself is not here; what is, holds its way of asking.

use std::process::{Command, Output};

fn client(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tuf-client")).args(arguments).output().expect("it starts")
}

#[test]
fn a_root_that_is_none_is_refused_and_nothing_is_trusted() {
    let folder = std::env::temp_dir().join(format!("outrigger-tuf-client-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder");
    let root = folder.join("given.json");
    std::fs::write(&root, "{}").expect("a file");
    let [folder_arg, root_arg] = [&folder, &root].map(|path| path.to_str().expect("a plain path"));

    let refused = client(&["--metadata-dir", folder_arg, "init", root_arg]);

    let trusted = folder.join("root.json").exists();
    std::fs::remove_dir_all(&folder).expect("it goes");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("malformed"), "{refused:?}");
    assert!(!trusted);
}
