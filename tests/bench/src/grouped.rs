//! Rules on connecting, evaluated by the programs of a control group of this process's own, with nothing
//! else of the platform beside.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use outrigger_api::{Event, EventSet, Mode};
use outrigger_decision::rules::{
    Cidr, Comparison, Condition, Effect, LineageKey, MarkNames, Number, Process, Rule, Source,
    compile,
};
use outrigger_sensor::plane::{Plane, Settings};

/// Rules of each kind.
const EACH: u8 = 8;
/// The port that a rule denies; nothing that is measured goes there.
const DENIED: u16 = 65_001;

/// The rules in force, and the group that they are in force in.
#[derive(Debug)]
pub(crate) struct Grouped {
    plane: Plane,
    group: PathBuf,
    before: PathBuf,
    denies: bool,
}

impl Grouped {
    /// Moves this process to a group of its own and has rules decide there: on connecting, or else on binding alone,
    /// so that its program is called where a socket connects and has nothing to do.
    pub(crate) fn start(connecting: bool) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root = mounts.find(|mount| mount.get(2) == Some(&"cgroup2"));
        let root = root.and_then(|mount| Some(PathBuf::from(*mount.get(1)?)));
        let root = root.context("no cgroup v2 is mounted here")?;
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let before = root.join(own.context("this process is in no group of v2")?);
        let group = root.join(format!("outrigger-bench-{}", std::process::id()));

        let settings = Settings { own: Vec::new(), ..Settings::default() };
        let key = LineageKey(settings.lineage_key);
        let plane = Plane::open(&settings)?;
        let connect = &plane.trials()[Event::NetConnect.index()];
        ensure!(
            connect.sensor == "cgroup",
            "connecting is not decided by programs of control groups here: {:?}",
            connect.ruled
        );
        fs::create_dir(&group)?;
        let mut grouped = Self { plane, group, before, denies: connecting };
        fs::write(grouped.group.join("cgroup.procs"), "0")?;
        grouped.plane.set_group(File::open(&grouped.group)?.into());
        let on = if connecting { Event::NetConnect } else { Event::NetBind };
        let rules: Vec<Rule> =
            rules().into_iter().map(|rule| Rule { events: vec![on], ..rule }).collect();
        let set = compile(&rules, &key, 1, &MarkNames::default())?;
        grouped.plane.set_rules(set.image.bytes())?;
        grouped.plane.attach(EventSet::EMPTY, EventSet::EMPTY.with(Event::NetConnect))?;
        Ok(grouped)
    }

    /// Takes the rules away.
    ///
    /// # Errors
    ///
    /// If they denied nothing, or something that they are not about: then what was measured is not what they cost.
    pub(crate) fn end(self) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let refused = socket.connect((Ipv4Addr::LOCALHOST, DENIED));
        let refused = refused.is_err_and(|error| error.raw_os_error() == Some(libc_eperm()));
        ensure!(
            refused == self.denies,
            "connecting to port {DENIED} was refused: {refused}, and the rules say: {}",
            self.denies
        );
        Ok(())
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        let _ = fs::write(self.before.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.group);
    }
}

const fn libc_eperm() -> i32 {
    rustix::io::Errno::PERM.raw_os_error()
}

/// Rules by address, port, user and lineage, of which none applies to what is measured; and one that denies.
fn rules() -> Vec<Rule> {
    let here = Condition::Within(Cidr { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 32 });
    let port = |port: u16| number(Number::Port, port.into());
    let mut rules = vec![rule("denied".to_owned(), vec![here.clone(), port(DENIED)])];
    for at in 0..EACH {
        let network = Cidr { address: Ipv4Addr::new(10, 0, 0, 0).into(), prefix: 8 + at };
        let program = format!("/usr/sbin/daemon-{at}");
        let descends = Condition::Descends { process: Process::Subject, program };
        rules.push(rule(format!("address {at}"), vec![Condition::Within(network)]));
        rules.push(rule(format!("port {at}"), vec![here.clone(), port(6000 + u16::from(at))]));
        rules.push(rule(
            format!("user {at}"),
            vec![number(Number::SubjectUid, 1000 + u64::from(at)), here.clone()],
        ));
        rules.push(rule(format!("lineage {at}"), vec![descends, here.clone()]));
    }
    rules
}

const fn number(place: Number, value: u64) -> Condition {
    Condition::Number { place, is: Comparison::Is, value }
}

fn rule(name: String, conditions: Vec<Condition>) -> Rule {
    Rule {
        name,
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect: Effect::Deny,
        events: vec![Event::NetConnect],
        when: Condition::All(conditions),
    }
}
