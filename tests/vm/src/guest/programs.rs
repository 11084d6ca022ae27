//! Programs at work while every open and exec of theirs is asked about.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::Request;
use outrigger_testkit::clock::{as_ms, now};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{Host, bait, binaries};

use crate::machine::wait_whole;
use crate::report::Report;

/// Name, and what a shell is told to do; `$TOOL` is the operator's tool.
const PROGRAMS: &[(&str, &str)] = &[
    ("shell", "echo one two | tr a-z A-Z | grep TWO && ls -la /etc /usr/bin | sort | tail -3"),
    ("find", "find /etc -type f -newermt 2000-01-01 | head -200 | xargs cat >/dev/null"),
    ("tar", "tar c /usr/share/perl5 /etc 2>/dev/null | tar t | wc -l"),
    ("python", "python3 -c 'import os, sys; print(len(os.listdir(sys.prefix)))'"),
    ("boot_udev", "udevadm info --export-db >/dev/null && udevadm --version"),
    ("boot_ldconfig", "ldconfig && ldconfig -p | head -1"),
    (
        "boot_tmpfiles",
        "systemd-tmpfiles --create --remove --boot --exclude-prefix=/dev || [ $? = 65 -o $? = 73 ]",
    ),
    ("boot_sysusers", "systemd-sysusers && getent passwd root"),
    (
        "boot_mounts",
        "mkdir -p /mnt/a && mount -t tmpfs a /mnt/a && echo x >/mnt/a/f && cat /mnt/a/f && $TOOL flush && umount /mnt/a",
    ),
    (
        "login",
        "su -c 'id -un' root && su -s /bin/sh -c 'cat /etc/passwd >/dev/null; id -un' nobody",
    ),
    ("useradd", "useradd --create-home vm && getent passwd vm && userdel --remove vm 2>/dev/null"),
    ("cron", "cron && kill $(cat /run/crond.pid)"),
    ("dpkg_install", "dpkg -i /root/trial.deb && test -x /usr/bin/trial && trial"),
    ("dpkg_verify", "dpkg --verify trial dpkg coreutils && dpkg --audit"),
    ("dpkg_remove", "dpkg -r trial && test ! -e /usr/bin/trial"),
    ("apt_install", "apt-get install -y /root/trial.deb && trial"),
    ("apt_remove", "apt-get purge -y trial && ! test -e /usr/bin/trial"),
    (
        "sqlite",
        "sqlite3 /root/new.db 'create table t(x); insert into t values (1); select count(*) from t'",
    ),
    ("logrotate", "logrotate -f /root/rotate.conf && ls /var/log/trial.log.1*"),
];

/// How often a new host is started.
const RELOADS: u64 = 15;

/// Makes what the programs need, before anything is protected.
pub(crate) fn prepare() -> Result<()> {
    let control = "Package: trial\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n\
                   Description: for a test\n";
    let script = "#!/bin/sh\nexit 0\n";
    let folder = Path::new("/root/trial");
    for part in ["DEBIAN", "usr/bin"] {
        fs::create_dir_all(folder.join(part))?;
    }
    fs::write(folder.join("DEBIAN/control"), control)?;
    bait::put(&folder.join("DEBIAN/postinst"), b"#!/bin/sh\nldconfig\nexit 0\n")?;
    bait::put(&folder.join("usr/bin/trial"), script.as_bytes())?;
    shell("dpkg-deb --build --root-owner-group /root/trial /root/trial.deb")?;
    fs::write(
        "/root/rotate.conf",
        "/var/log/trial.log {\n rotate 3\n compress\n missingok\n postrotate\n true\n endscript\n}\n",
    )?;
    fs::write("/var/log/trial.log", "a line\n".repeat(1000))?;
    shell(
        "sqlite3 /root/trial.db 'pragma journal_mode = wal; create table t(x); \
         insert into t values (1)'",
    )?;
    fs::write("/root/eicar.com", bait::eicar())?;
    bait::put(Path::new("/root/bad"), &bait::bad_program())
}

/// Runs them all.
pub(crate) fn run(host: &Host, report: &mut Report) -> Result<()> {
    let status = wait_whole(host)?;
    report.test("programs::the_root_is_covered", || {
        let volumes = status.coverage.volumes;
        let told: Vec<String> =
            volumes.iter().map(|volume| format!("{} {}", volume.path, volume.fs_type)).collect();
        let root = volumes.iter().find(|volume| volume.path == "/");
        ensure!(root.is_some_and(|root| root.covered), "not covered; there are: {told:?}");
        Ok(told.join(", "))
    });
    report.test("programs::the_bad_are_refused", || {
        let read = ways::open(Path::new("/root/eicar.com"));
        let executed = ways::exec(Path::new("/root/bad"));
        ensure!((read, executed) == (Outcome::Refused, Outcome::Refused), "{read:?}, {executed:?}");
        Ok("a bad file and a bad program".to_owned())
    });
    // Each host tries what the kernel gives while its threads start, which got in each other's way.
    report.test("programs::a_new_host_always_starts", || {
        for _ in 0..RELOADS {
            let old = host.pids()?.host;
            host.ask(&Request::Reload)?;
            host.wait_successor(old, Duration::from_secs(20))?;
            wait_whole(host)?;
        }
        let log = host.log();
        let wrong = log.lines().find(|line| line.contains("cannot start"));
        ensure!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        let starts = host.status()?.host_starts;
        ensure!(starts == RELOADS + 1, "{starts} starts of {RELOADS} reloads");
        Ok(format!("{RELOADS} reloads"))
    });
    let asked = |host: &Host| host.counters().map(|counters| counters.asked.values().sum::<u64>());
    for (name, script) in PROGRAMS {
        let before = asked(host)?;
        report.test(&format!("programs::{name}_works"), || {
            let start = now();
            let tool = binaries::path(binaries::TOOL)?;
            let socket = host.folder().join("control.sock");
            let tool = format!("{} --socket {}", tool.display(), socket.display());
            shell(&script.replace("$TOOL", &tool))?;
            let questions = asked(host)?.saturating_sub(before);
            Ok(format!("{questions} questions, {:.1} s", as_ms(now() - start) / 1000.0))
        });
    }
    Ok(())
}

/// Has a shell do something; gives what it printed.
pub(crate) fn shell(script: &str) -> Result<String> {
    let done = Command::new("/bin/sh")
        .args(["-c", script])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .context("the shell does not start")?;
    let said = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text[text.len().saturating_sub(300)..].trim().to_owned()
    };
    ensure!(
        done.status.success(),
        "{}: {} {}",
        done.status,
        said(&done.stdout),
        said(&done.stderr)
    );
    Ok(said(&done.stdout))
}
