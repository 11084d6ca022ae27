//! What programs of control groups see and decide where none at security hooks is called: connecting,
//! binding and sending by TCP and UDP. In a group of the test's own, which this process is moved to, so
//! that nothing else of the machine is looked at.

mod rules;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use outrigger_api::{Event, EventSet, Mode};
use outrigger_decision::rules::{
    Cidr, Comparison, Condition, Effect, LineageKey, MarkNames, Number, Process, Rule, Source,
    compile,
};
use outrigger_sensor::notice::{Notice, RuleOutcome, Seen};
use outrigger_sensor::plane::{Plane, Settings};

use crate::watch::{may_load, notices};

const KEY: [u8; 16] = *b"a key of 16 byte";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Any free port.
const FREE: (IpAddr, u16) = (HERE, 0);

/// One process can be in one group.
static TURN: Mutex<()> = Mutex::new(());

/// A group that this process is in until it is dropped.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    before: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Group {
    fn enter() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mounts = fs::read_to_string("/proc/self/mounts").expect("there is a table");
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let Some(root) = root.map(|mount| PathBuf::from(mount[1])) else {
            eprintln!("skipped: no cgroup v2 is mounted here");
            return None;
        };
        let groups = fs::read_to_string("/proc/self/cgroup").expect("it is in one");
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).expect("in v2 too");
        let path = root.join(format!("outrigger-test-{}", std::process::id()));
        fs::create_dir(&path).expect("root may make a group");
        let group = Self { path, before: root.join(own), _turn: turn };
        fs::write(group.path.join("cgroup.procs"), "0").expect("it may go there");
        Some(group)
    }
}

impl Drop for Group {
    /// Everybody leaves: other tests have started processes meanwhile.
    fn drop(&mut self) {
        while let Ok(inside) = fs::read_to_string(self.path.join("cgroup.procs"))
            && !inside.is_empty()
        {
            for pid in inside.lines() {
                let _ = fs::write(self.before.join("cgroup.procs"), pid);
            }
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// The plane in a group of this process's own; `None` where that is not what this kernel takes, and said so.
fn plane() -> Option<(Plane, Group)> {
    if !may_load() {
        return None;
    }
    let settings = Settings { lineage_key: KEY, own: Vec::new(), ..Settings::default() };
    let mut plane = Plane::open(&settings).expect("root may remember processes");
    let connect = &plane.trials()[Event::NetConnect.index()];
    if connect.sensor != "cgroup" {
        eprintln!("skipped: net.connect is not seen by control groups here: {:?}", connect.told);
        return None;
    }
    let group = Group::enter()?;
    plane.set_group(File::open(&group.path).expect("it is there").into());
    Some((plane, group))
}

fn all() -> EventSet {
    [Event::NetConnect, Event::NetBind, Event::NetSend].into_iter().collect()
}

/// What this process did since the last time, as it was told.
fn all_told(plane: &mut Plane) -> Vec<Notice> {
    let mut seen: Vec<Seen> = Vec::new();
    plane.drain(&mut seen).expect("the ring is whole");
    notices(&seen).filter(|notice| notice.pid == std::process::id()).cloned().collect()
}

/// What of it was done at a port.
fn told(plane: &mut Plane, event: Event, port: u16) -> Vec<Notice> {
    let at_port = |notice: &Notice| notice.endpoint.is_some_and(|endpoint| endpoint.port == port);
    let all = all_told(plane);
    all.into_iter().filter(|notice| notice.event == event && at_port(notice)).collect()
}

fn number(place: Number, value: u64) -> Condition {
    Condition::Number { place, is: Comparison::Is, value }
}

fn within(address: &str, prefix: u8) -> Condition {
    Condition::Within(Cidr { address: address.parse().expect("an address"), prefix })
}

fn own_program() -> String {
    fs::read_link("/proc/self/exe").expect("it has a path").to_str().expect("in UTF-8").to_owned()
}

fn descends(program: &str) -> Condition {
    Condition::Descends { process: Process::Subject, program: program.to_owned() }
}

/// A rule on `event` where all `conditions` hold.
fn rule(name: &str, effect: Effect, event: Event, conditions: Vec<Condition>) -> Rule {
    Rule {
        name: name.to_owned(),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect,
        events: vec![event],
        when: Condition::All(conditions),
    }
}

/// Puts these rules in force, which has the marks of the set before.
fn enforce(plane: &mut Plane, rules: &[Rule], before: &MarkNames) -> MarkNames {
    // No two sets may have one generation: what is kept of the one would count for the other.
    static GENERATION: AtomicU64 = AtomicU64::new(1);
    let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
    let set = compile(rules, &LineageKey(KEY), generation, before).expect("it compiles");
    plane.set_rules(set.image.bytes()).expect("the kernel takes it");
    let events = rules.iter().flat_map(|rule| rule.events.iter().copied()).collect();
    plane.attach(EventSet::EMPTY, events).expect("it attaches");
    set.marks
}

/// Has one rule deny `event` where all `conditions` hold.
fn deny(plane: &mut Plane, event: Event, conditions: Vec<Condition>) {
    let rule = rule("no", Effect::Deny, event, conditions);
    enforce(plane, &[rule], &MarkNames::default());
}

/// A socket that may connect and send to `address`.
fn socket_for(address: IpAddr) -> io::Result<UdpSocket> {
    let local: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((local, 0))
}

fn connects(address: IpAddr, port: u16) -> io::Result<()> {
    socket_for(address)?.connect((address, port))
}

fn binds(address: IpAddr, port: u16) -> io::Result<()> {
    UdpSocket::bind((address, port)).map(drop)
}

fn sends(address: IpAddr, port: u16) -> io::Result<()> {
    socket_for(address)?.send_to(b"x", (address, port)).map(drop)
}

fn is_refused(result: io::Result<()>) -> bool {
    match result {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            true
        }
        Ok(()) => false,
    }
}

#[test]
fn a_connection_is_told_with_who_made_it_and_whereto() {
    let Some((mut plane, _group)) = plane() else { return };
    plane.attach(all(), EventSet::EMPTY).expect("it attaches");
    let listener = TcpListener::bind(FREE).expect("a port");
    let port = listener.local_addr().expect("it has one").port();

    TcpStream::connect((HERE, port)).expect("somebody listens");
    let told = told(&mut plane, Event::NetConnect, port);

    let [notice] = &told[..] else { panic!("told {told:?}") };
    assert_eq!(notice.process, Some(crate::watch::key(std::process::id())));
    assert_eq!(notice.endpoint.and_then(|endpoint| endpoint.address), Some(HERE));
    assert_eq!(notice.endpoint.map(|endpoint| endpoint.family), Some(2));
    assert_eq!(notice.values, [Some(6), Some(1)]);
    assert_eq!(notice.credentials.map(|who| (who.uid, who.gid)), Some((0, 0)));
}

#[test]
fn a_datagram_without_a_connection_and_an_address_of_its_own_are_told() {
    let Some((mut plane, _group)) = plane() else { return };
    plane.attach(all(), EventSet::EMPTY).expect("it attaches");
    let to = UdpSocket::bind(FREE).expect("a port").local_addr().expect("it has one");

    let from = UdpSocket::bind(FREE).expect("another");
    from.send_to(b"x", to).expect("it is sent");
    let told = all_told(&mut plane);

    let of = |event| told.iter().filter(move |notice| notice.event == event).collect::<Vec<_>>();
    let [sent] = of(Event::NetSend)[..] else { panic!("told {told:?}") };
    assert_eq!(sent.values, [Some(17), Some(2)]);
    assert_eq!(sent.endpoint.map(|endpoint| endpoint.port), Some(to.port()));
    // As it asked: the kernel chooses the port afterwards.
    assert_eq!(
        of(Event::NetBind)
            .iter()
            .filter(|bound| bound.endpoint.is_some_and(|at| at.port == 0))
            .count(),
        2
    );
}

#[test]
fn what_is_only_watched_is_told_and_goes_on() {
    let Some((mut plane, _group)) = plane() else { return };
    let conditions = vec![number(Number::Port, 40_003)];
    let watched = rule("watched", Effect::Deny, Event::NetConnect, conditions);
    let watched = Rule { mode: Mode::Monitor, ..watched };
    enforce(&mut plane, &[watched], &MarkNames::default());

    assert!(!is_refused(connects(HERE, 40_003)));
    let told = told(&mut plane, Event::NetConnect, 40_003);

    let outcomes: Vec<_> = told.iter().map(|notice| notice.ruled.map(|by| by.outcome)).collect();
    assert_eq!(outcomes, [Some(RuleOutcome::WouldDeny)]);
}
