//! Opens the second plane, has every event of processes, mounts, the kernel, memory, sockets and
//! namespaces caused in each of the ways that there are, and looks whether it was told as it happened.
//!
//! For a guest whose kernel takes BPF programs at security hooks and that has perl, whose `syscall` makes
//! every call; see `tests/vm`. Ends with 1 if something was told otherwise, with 2 if the plane cannot be
//! opened.
#![expect(clippy::print_stdout, reason = "what it found is its result")]

use std::error::Error;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use outrigger_api::Event::{self, *};
use outrigger_api::EventSet;
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::plane::{Plane, Settings};

/// Where things happen; the guest's alone.
const PLACE: &str = "/tmp/hooks";
/// Who does what needs no right.
const USER: u32 = 1000;

/// A system call: perl's own takes no constants.
const CALL: &str = "sub c { my @a = @_; my $n = shift @a; syscall($n, @a) }";

/// One act, and what is to be told of it.
struct Case {
    event: Event,
    uid: u32,
    /// Perl; `c` calls, `$t` is the process that things are done to, `$d` the folder.
    code: &'static str,
    /// Numbers, where they are to be said.
    values: [Option<u64>; 2],
    /// Path, other path, text, and address, as they are printed; empty: any.
    says: &'static str,
}

const fn case(
    event: Event,
    uid: u32,
    code: &'static str,
    values: [Option<u64>; 2],
    says: &'static str,
) -> Case {
    Case { event, uid, code, values, says }
}

const fn one(value: u64) -> [Option<u64>; 2] {
    [Some(value), None]
}

const fn two(first: u64, second: u64) -> [Option<u64>; 2] {
    [Some(first), Some(second)]
}

const ANY: [Option<u64>; 2] = [None, None];
const UDP: [Option<u64>; 2] = two(17, 2);
const TCP: [Option<u64>; 2] = two(6, 1);

const CASES: &[Case] = &[
    case(ProcessSignal, USER, "kill 10, $t", one(10), "target"),
    case(ProcessLimits, USER, "c(302, $t, 7, pack('QQ', 64, 64), 0)", two(7, 64), "target"),
    case(ProcessLimits, 0, "c(160, 4, pack('QQ', ~0, ~0))", two(4, i64::MAX as u64), "itself"),
    case(ProcessPtrace, USER, "c(101, 16, $t, 0, 0)", one(1), "target"),
    case(ProcessPtrace, USER, "readlink(\"/proc/$t/exe\")", one(0), "target"),
    case(ProcessPtrace, USER, "c(101, 0, 0, 0, 0)", one(1), "itself"),
    case(
        ProcessMemory,
        USER,
        "c(310, $t, pack('QQ', 4096, 1), 1, pack('QQ', 4096, 1), 1, 0)",
        one(0),
        "target",
    ),
    case(
        ProcessMemory,
        USER,
        "c(311, $t, pack('QQ', 4096, 1), 1, pack('QQ', 4096, 1), 1, 0)",
        one(1),
        "target",
    ),
    case(ProcessMemory, USER, "open(F, '<', \"/proc/$t/mem\")", one(0), "target"),
    case(ProcessMemory, USER, "open(F, '+<', \"/proc/$t/mem\")", one(1), "target"),
    case(
        ProcessMemory,
        USER,
        "c(437, -100, \"/proc/$t/mem\", pack('QQQ', 0, 0, 0), 24)",
        one(1),
        "target",
    ),
    case(ProcessCredentials, 0, "c(105, 7)", two(7, 0), ""),
    case(ProcessCredentials, 0, "c(106, 8)", two(0, 8), ""),
    case(ProcessCredentials, 0, "c(116, 0, 0)", two(0, 0), ""),
    case(
        ProcessCredentials,
        0,
        "c(126, pack('LL', 0x20080522, 0), pack('L6', 0, 0, 0, 0, 0, 0))",
        two(0, 0),
        "",
    ),
    case(ProcessCredentials, USER, "exec '/bin/su', '--version'", two(0, USER as u64), ""),
    case(FileSetxattr, USER, "c(188, \"$d/f\", 'user.a', 'x', 1, 0)", ANY, "/tmp/hooks/f user.a"),
    case(
        FileSetxattr,
        USER,
        "c(188, \"$d/f\", 'system.posix_acl_access', \
         pack('LSSLSSLSSL', 2, 1, 6, ~0, 4, 4, ~0, 32, 4, ~0), 28, 0)",
        ANY,
        "/tmp/hooks/f system.posix_acl_access",
    ),
    case(FileRemovexattr, USER, "c(197, \"$d/f\", 'user.a')", ANY, "/tmp/hooks/f user.a"),
    case(
        FileRemovexattr,
        USER,
        "c(197, \"$d/f\", 'system.posix_acl_access')",
        ANY,
        "/tmp/hooks/f system.posix_acl_access",
    ),
    case(MemoryMprotectExec, USER, "c(9, 0, 4096, 7, 34, -1, 0)", two(1, 1), "-"),
    case(
        MemoryMprotectExec,
        USER,
        "$a = c(9, 0, 4096, 3, 34, -1, 0); c(10, $a, 4096, 5)",
        two(1, 0),
        "-",
    ),
    case(
        MemoryMprotectExec,
        USER,
        "open(F, '<', \"$d/f\"); $a = c(9, 0, 4096, 1, 2, fileno(F), 0); c(10, $a, 4096, 7)",
        two(0, 1),
        "/tmp/hooks/f",
    ),
    case(MountMount, 0, "c(165, 'none', \"$d/m\", 'tmpfs', 2, 0)", one(2), "/tmp/hooks/m tmpfs"),
    case(MountRemount, 0, "c(165, 'none', \"$d/m\", 0, 33, 0)", ANY, "/tmp/hooks/m"),
    case(MountRemount, 0, "$f = c(433, -100, \"$d/m\", 0); c(431, $f, 7, 0, 0, 0)", ANY, "-"),
    case(MountMove, 0, "c(165, \"$d/m\", \"$d/m2\", 0, 8192, 0)", ANY, "/tmp/hooks/m2"),
    case(MountUmount, 0, "c(166, \"$d/m2\", 2)", one(2), "/tmp/hooks/m2"),
    case(
        MountMove,
        0,
        "$f = c(430, 'tmpfs', 0); c(431, $f, 6, 0, 0, 0); \
         $m = c(432, $f, 0, 0); c(429, $m, '', -100, \"$d/m\", 4)",
        ANY,
        "/tmp/hooks/m",
    ),
    case(MountMount, 0, "c(165, \"$d/m\", \"$d/m2\", 0, 4096, 0)", one(4096), "/tmp/hooks/m2"),
    case(
        MountPivot,
        0,
        "c(272, 0x20000); c(165, 'none', '/', 0, 0x44000, 0); mkdir \"$d/m/old\"; \
         c(155, \"$d/m\", \"$d/m/old\")",
        ANY,
        "/tmp/hooks/m /tmp/hooks/m/old",
    ),
    case(MountChroot, 0, "chroot \"$d/m\"", ANY, "/tmp/hooks/m"),
    case(MountUmount, 0, "c(166, \"$d/m\", 0)", one(0), "/tmp/hooks/m"),
    case(
        KernelModuleLoad,
        0,
        "open(F, '<', \"$d/f\"); c(313, fileno(F), '', 0)",
        one(0),
        "/tmp/hooks/f",
    ),
    case(KernelModuleLoad, 0, "c(175, 'x' x 4096, 4096, '')", one(1), "-"),
    case(
        KernelKexec,
        0,
        "open(F, '<', \"$d/f\"); c(320, fileno(F), -1, 0, '', 4)",
        one(0),
        "/tmp/hooks/f",
    ),
    case(KernelKexec, 0, "c(246, 0, 0, 0, 0)", one(1), "-"),
    case(
        KernelBpfLoad,
        0,
        "$i = pack('Q2', 0xb7, 0x95); $l = 'GPL'; \
         c(321, 5, pack('LLPP', 1, 2, $i, $l) . \"\\0\" x 24, 48)",
        one(1),
        "",
    ),
    case(KernelLockdown, 0, "open(F, '<', '/proc/kcore')", ANY, ""),
    case(KernelModuleRequest, USER, "c(41, 9, 5, 0)", ANY, "net-pf-9"),
    case(KernelSettime, 0, "c(227, 0, pack('qq', 2000000000, 0))", one(2_000_000_000), ""),
    case(KernelPerfOpen, 0, "c(298, pack('LLQ', 1, 64, 0) . \"\\0\" x 48, 0, -1, -1, 0)", ANY, ""),
    case(NetSocket, USER, "socket(S, 2, 2, 17)", UDP, "2"),
    case(
        NetConnect,
        USER,
        "socket(S, 2, 2, 17); connect(S, pack('SnNx8', 2, 9, 0x7f000001))",
        UDP,
        "127.0.0.1:9",
    ),
    case(
        NetConnect,
        USER,
        "socket(S, 10, 1, 6); connect(S, pack('SnNx15CN', 10, 7, 0, 1, 0))",
        TCP,
        "[::1]:7",
    ),
    case(
        NetConnect,
        USER,
        "socket(S, 10, 1, 6); connect(S, pack('SnNx10nNN', 10, 7, 0, 0xffff, 0x7f000001, 0))",
        TCP,
        "127.0.0.1:7",
    ),
    case(
        NetConnect,
        USER,
        "socket(S, 2, 1, 6); send(S, 'x', 0x20000000, pack('SnNx8', 2, 8, 0x7f000001))",
        TCP,
        "127.0.0.1:8",
    ),
    case(
        NetBind,
        USER,
        "socket(S, 2, 2, 17); bind(S, pack('SnNx8', 2, 5555, 0x7f000001))",
        UDP,
        "127.0.0.1:5555",
    ),
    case(
        NetBind,
        USER,
        "socket(S, 2, 2, 17); bind(S, pack('SnNx8', 0, 5556, 0))",
        UDP,
        "0.0.0.0:5556",
    ),
    case(
        NetListen,
        USER,
        "socket(S, 2, 1, 6); bind(S, pack('SnNx8', 2, 5557, 0x7f000001)); listen(S, 1)",
        TCP,
        "127.0.0.1:5557",
    ),
    case(
        NetAccept,
        USER,
        "socket(S, 2, 0x801, 6); bind(S, pack('SnNx8', 2, 5558, 0x7f000001)); listen(S, 1); \
         accept(A, S)",
        TCP,
        "127.0.0.1:5558",
    ),
    case(
        NetSend,
        USER,
        "socket(S, 2, 2, 17); send(S, 'x', 0, pack('SnNx8', 2, 10, 0x7f000001))",
        UDP,
        "127.0.0.1:10",
    ),
    case(
        NetSend,
        USER,
        "socket(S, 2, 2, 17); send(S, 'x', 0, pack('SnNx8', 0, 11, 0x7f000001))",
        UDP,
        "127.0.0.1:11",
    ),
    case(
        UnixConnect,
        USER,
        "socket(S, 1, 1, 0); connect(S, pack('Sa100', 1, \"$d/stream\"))",
        [None, Some(1)],
        "/tmp/hooks/stream ",
    ),
    case(
        UnixConnect,
        USER,
        "socket(S, 1, 1, 0); connect(S, pack('S', 1) . \"\\0hooks\")",
        [None, Some(1)],
        "- hooks",
    ),
    case(
        UnixConnect,
        USER,
        "socket(S, 1, 2, 0); send(S, 'x', 0, pack('Sa100', 1, \"$d/datagram\"))",
        [None, Some(2)],
        "/tmp/hooks/datagram ",
    ),
    case(NamespaceCreate, USER, "c(272, 0x10000000)", one(0x1000_0000), ""),
    case(NamespaceCreate, 0, "c(272, 0x4000000)", one(0x400_0000), ""),
    case(NamespaceCreate, 0, "c(56, 0x4000011, 0, 0, 0, 0) or exit; wait", one(0x400_0000), ""),
    case(
        NamespaceEnter,
        0,
        "open(F, '<', '/proc/self/ns/uts'); c(308, fileno(F), 0)",
        one(0x400_0000),
        "",
    ),
    case(
        NamespaceEnter,
        0,
        "open(F, '<', '/proc/self/ns/net'); c(308, fileno(F), 0)",
        one(0x4000_0000),
        "",
    ),
];

fn main() -> ExitCode {
    let settings = Settings { own: Vec::new(), ..Settings::default() };
    let mut plane = match Plane::open(&settings) {
        Ok(plane) => plane,
        Err(error) => {
            println!("no plane: {error}: {:?}", error.source().map(ToString::to_string));
            return ExitCode::from(2);
        }
    };
    for trial in plane.trials() {
        if let Err(why) = &trial.told {
            println!("{:24} not told: {why}", trial.event.name());
        } else if let Err(why) = &trial.ruled {
            println!("{:24} not ruled: {why}", trial.event.name());
        }
    }
    match run(&mut plane) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            println!("{wrong} of {} were told otherwise", CASES.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(plane: &mut Plane) -> Result<usize, Box<dyn Error>> {
    fs::create_dir_all(PLACE)?;
    for folder in ["m", "m2"] {
        fs::create_dir_all(format!("{PLACE}/{folder}"))?;
    }
    fs::write(format!("{PLACE}/f"), [0; 4096])?;
    std::os::unix::fs::chown(format!("{PLACE}/f"), Some(USER), Some(USER))?;
    let _stream = UnixListener::bind(format!("{PLACE}/stream"))?;
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name("hooks")?)?;
    let _datagram = UnixDatagram::bind(format!("{PLACE}/datagram"))?;
    for socket in ["stream", "datagram"] {
        fs::set_permissions(format!("{PLACE}/{socket}"), fs::Permissions::from_mode(0o777))?;
    }
    let mut target = target()?;
    let events: EventSet = CASES.iter().map(|case| case.event).collect();
    plane.attach(events, EventSet::EMPTY)?;
    let (mut wrong, mut seen) = (0, Vec::new());
    for case in CASES {
        seen.clear();
        let pid = act(case, target.id())?;
        plane.drain(&mut seen)?;
        let notices: Vec<&Notice> = seen
            .iter()
            .filter_map(|seen| match seen {
                Seen::Notice(notice) => Some(notice),
                Seen::Loss(loss) => {
                    println!("lost: {loss:?}");
                    None
                }
            })
            .filter(|notice| notice.event == case.event && notice.pid == pid)
            .collect();
        let right = notices.iter().any(|notice| case.fits(notice, pid, target.id()));
        println!(
            "{} {:24} {}",
            if right { "ok   " } else { "WRONG" },
            case.event.name(),
            case.code
        );
        if !right {
            wrong += 1;
            for notice in notices {
                println!("      told: {}", printed(notice));
            }
        }
    }
    target.kill()?;
    target.wait()?;
    Ok(wrong)
}

/// The process that things are done to; it takes the signal.
fn target() -> Result<Child, Box<dyn Error>> {
    let code = "$SIG{USR1} = 'IGNORE'; $| = 1; print 1; sleep 1000 while 1";
    let mut child = Command::new("/usr/bin/perl")
        .args(["-e", code])
        .uid(USER)
        .gid(USER)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = [0];
    std::io::Read::read_exact(child.stdout.as_mut().ok_or("it has an output")?, &mut ready)?;
    Ok(child)
}

/// Has one act done, and gives who did it.
fn act(case: &Case, target: u32) -> Result<u32, Box<dyn Error>> {
    let code = format!("{CALL} $t = {target}; $d = '{PLACE}'; {}", case.code);
    let mut command = Command::new("/usr/bin/perl");
    command.args(["-e", &code]).stdout(Stdio::null()).stderr(Stdio::null());
    if case.uid != 0 {
        command.uid(case.uid).gid(case.uid);
    }
    let mut child = command.spawn()?;
    let pid = child.id();
    child.wait()?;
    Ok(pid)
}

impl Case {
    fn fits(&self, notice: &Notice, pid: u32, target: u32) -> bool {
        let values = self.values.iter().zip(notice.values);
        let says = match self.says {
            "target" => notice.target.is_some() && notice.target_pid == target,
            "itself" => notice.target.is_some() && notice.target_pid == pid,
            "" => true,
            says => object(notice) == says,
        };
        says && values.into_iter().all(|(wanted, value)| wanted.is_none() || *wanted == value)
            && notice.credentials.is_some_and(|credentials| credentials.uid == self.uid)
            && notice.process.is_some()
            && notice.parent_pid == Some(std::process::id())
    }
}

/// The object of a notice, and what goes with it.
fn object(notice: &Notice) -> String {
    if let Some(endpoint) = notice.endpoint {
        return match endpoint.address {
            Some(address) => std::net::SocketAddr::new(address, endpoint.port).to_string(),
            None => endpoint.family.to_string(),
        };
    }
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_deref().map(String::from_utf8_lossy).map(String::from);
    let mut parts = Vec::new();
    if notice.event.object() == outrigger_api::catalogue::ObjectKind::File {
        parts.push(text(&notice.path).unwrap_or_else(|| "-".to_owned()));
    }
    parts.extend(text(&notice.new_path));
    parts.extend(text(&notice.text));
    parts.join(" ")
}

fn printed(notice: &Notice) -> String {
    format!(
        "{:?} uid {:?} target {} values {:?} parent {:?}",
        object(notice),
        notice.credentials.map(|credentials| credentials.uid),
        notice.target_pid,
        notice.values,
        notice.parent_pid,
    )
}
