//! Opens the second plane, makes file events happen, and looks whether each was told as it happened.
//!
//! For a guest whose kernel takes BPF programs at security hooks; see `tests/vm`. Ends with 1 if
//! something was told otherwise, with 2 if the plane cannot be opened.
#![expect(clippy::print_stdout, reason = "what it found is its result")]

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, ExitCode};

use outrigger_api::{Event, EventSet};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::plane::{Plane, Settings};

fn main() -> ExitCode {
    let settings = Settings { own: Vec::new(), ..Settings::default() };
    let begin = std::time::Instant::now();
    let mut plane = match Plane::open(&settings) {
        Ok(plane) => plane,
        Err(error) => {
            println!("no plane: {error}: {:?}", error.source().map(ToString::to_string));
            return ExitCode::from(2);
        }
    };
    println!("opened in {} ms", begin.elapsed().as_millis());
    for trial in plane.trials() {
        println!(
            "{:24} {} {}",
            trial.event.name(),
            trial.told.as_ref().map_or_else(ToString::to_string, |()| "told".to_owned()),
            trial.ruled.as_ref().map_or_else(ToString::to_string, |()| "ruled".to_owned()),
        );
    }
    match run(&mut plane) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be told: the event, its path, and its other path or text.
type Wanted = (Event, &'static str, Option<&'static str>);

const WANTED: &[Wanted] = &[
    (Event::FileMkdir, "/tmp/plane/folder", None),
    (Event::FileCreate, "/tmp/plane/made", None),
    (Event::FileOpen, "/tmp/plane/made", None),
    (Event::FileRename, "/tmp/plane/made", Some("/tmp/plane/folder/moved")),
    (Event::FileLink, "/tmp/plane/folder/moved", Some("/tmp/plane/linked")),
    (Event::FileSymlink, "/tmp/plane/soft", Some("/where/it/leads")),
    (Event::FileSetattr, "/tmp/plane/linked", None),
    (Event::FileChown, "/tmp/plane/linked", None),
    (Event::FileTruncate, "/tmp/plane/linked", None),
    (Event::FileUnlink, "/tmp/plane/linked", None),
    (Event::FileRmdir, "/tmp/plane/folder", None),
    (Event::FileMknod, "/tmp/plane/pipe", None),
    // By a bind mount in a namespace of its own, and on a file system that is mounted there only.
    (Event::FileMkdir, "/tmp/plane/bound", None),
    (Event::FileMkdir, "(unreachable)/mnt/alone", None),
    (Event::ProcessExec, "/bin/true", None),
    (Event::FileMmapExec, "/bin/true", None),
];

fn run(plane: &mut Plane) -> Result<bool, Box<dyn Error>> {
    let root = Path::new("/tmp/plane");
    let _ = fs::remove_dir_all(root);
    fs::create_dir(root)?;
    let all: EventSet = Event::ALL.iter().copied().collect();
    plane.attach(all, EventSet::EMPTY)?;
    cause(root)?;
    let mut seen = Vec::new();
    plane.drain(&mut seen)?;
    plane.attach(EventSet::EMPTY, EventSet::EMPTY)?;
    fs::remove_dir_all(root)?;

    let own = std::process::id();
    let mut whole = true;
    let truth = fs::canonicalize("/bin/true")?;
    for (event, path, other) in WANTED {
        let path = if *path == "/bin/true" { truth.as_path() } else { Path::new(path) };
        let told = seen.iter().any(|seen| match seen {
            Seen::Notice(notice) => notice.event == *event && is(notice, path, *other),
            Seen::Loss(_) => false,
        });
        println!("{} {} {}", if told { "told" } else { "MISSED" }, event.name(), path.display());
        whole &= told;
    }
    for seen in &seen {
        match seen {
            Seen::Loss(loss) => println!("lost: {loss:?}"),
            Seen::Notice(notice) if !whole => println!("{}", line(notice)),
            Seen::Notice(_) => {}
        }
    }
    println!("{} notices; own pid {own}", seen.len());
    Ok(whole)
}

fn is(notice: &Notice, path: &Path, other: Option<&str>) -> bool {
    let said = |text: &Option<Vec<u8>>| {
        text.as_ref().map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let (new_path, text) = (said(&notice.new_path), said(&notice.text));
    said(&notice.path).as_deref() == path.to_str()
        && notice.process.is_some()
        && notice.credentials.is_some()
        && other.is_none_or(|other| [new_path, text].iter().flatten().any(|said| said == other))
}

fn line(notice: &Notice) -> String {
    let text = |text: &Option<Vec<u8>>| {
        text.as_ref()
            .map_or_else(|| "-".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
    };
    format!(
        "{:20} pid {} {} {} {} {:?}",
        notice.event.name(),
        notice.pid,
        text(&notice.path),
        text(&notice.new_path),
        text(&notice.text),
        notice.values
    )
}

fn cause(root: &Path) -> Result<(), Box<dyn Error>> {
    let at = |name: &str| root.join(name);
    fs::create_dir(at("folder"))?;
    File::create(at("made"))?;
    fs::rename(at("made"), at("folder/moved"))?;
    fs::hard_link(at("folder/moved"), at("linked"))?;
    symlink("/where/it/leads", at("soft"))?;
    fs::set_permissions(at("linked"), fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(at("linked"), Some(1), Some(1))?;
    File::options().write(true).open(at("linked"))?.set_len(100)?;
    fs::remove_file(at("linked"))?;
    fs::remove_file(at("folder/moved"))?;
    fs::remove_dir(at("folder"))?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )?;
    let elsewhere = "mount --bind /tmp/plane /mnt && mkdir /mnt/bound && mount -t tmpfs none /mnt && \
                     mkdir /mnt/alone";
    Command::new("unshare").args(["-m", "sh", "-c", elsewhere]).status()?;
    Command::new("/bin/true").status()?;
    Ok(())
}
