//! clamd and clamonacc, preventing: a file is opened if the scanner finds nothing in it.
//!
//! The database has two signatures, of the EICAR file: what is compared is the way of asking, and real ones
//! would only make it slower. It watches the folder that is worked in and the programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::bait;
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;

use crate::ground::Ground;
use crate::side::versions;

const CONFIG: &str = "/etc/clamav/clamd.conf";
const DATABASE: &str = "/var/lib/clamav";
const SOCKET: &str = "/run/clamav/clamd.ctl";
const OUTPUT: &str = "/var/log/clamav/bench.log";
const START: Duration = Duration::from_secs(60);

/// Starts both daemons, which end with their world.
pub(crate) fn start(ground: &Ground) -> Result<()> {
    for program in ["/usr/sbin/clamd", "/usr/sbin/clamonacc"] {
        ensure!(Path::new(program).exists(), "{program} is not installed in the private root");
    }
    say(versions(&["clamav-daemon"])?);
    configure(&ground.folder)?;
    service("clamd", &[])?;
    wait_for(SOCKET, START, || Ok(Path::new(SOCKET).exists().then_some(()))).with_context(log)?;
    // As its unit starts it, but that nothing is moved away.
    service("clamonacc", &["--foreground", "--log=/var/log/clamav/clamonacc.log"])
}

/// What they wrote.
pub(crate) fn log() -> String {
    let files = [OUTPUT, "/var/log/clamav/clamonacc.log"];
    files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

fn configure(watched: &Path) -> Result<()> {
    let config = format!(
        "LocalSocket {SOCKET}\nUser clamav\nForeground yes\nDatabaseDirectory {DATABASE}\n\
         MaxThreads 12\nOnAccessPrevention yes\nOnAccessIncludePath {}\n\
         OnAccessIncludePath /usr/bin\nOnAccessExcludeUname clamav\n",
        watched.display()
    );
    fs::write(CONFIG, config)?;
    let folder = Path::new(SOCKET).parent().context("a socket has a folder")?;
    fs::create_dir_all(folder)?;
    for path in [folder, Path::new(DATABASE), Path::new("/var/log/clamav")] {
        crate::ground::open_to_all(path)?;
    }
    let eicar = bait::eicar();
    let hex = eicar
        .iter()
        .try_fold(String::new(), |mut hex, byte| write!(hex, "{byte:02x}").map(|()| hex))?;
    // man 5 clamav signatures: name, any target, at the beginning; and MD5, length, name.
    fs::write(format!("{DATABASE}/bench.ndb"), format!("Bench.Eicar:0:0:{hex}\n"))?;
    let md5 = "44d88612fea8a8f36de82e1278abb02f";
    Ok(fs::write(format!("{DATABASE}/bench.hdb"), format!("{md5}:{}:Bench.Hash\n", eicar.len()))?)
}

/// Starts a daemon in a session of its own, as a service runs.
fn service(program: &str, arguments: &[&str]) -> Result<()> {
    let output = fs::File::options().create(true).append(true).open(OUTPUT)?;
    Command::new("setsid")
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .map(drop)
        .with_context(|| format!("cannot start {program}"))
}
