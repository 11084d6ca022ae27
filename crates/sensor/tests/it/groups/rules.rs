//! What rules make of connecting, binding and sending there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use outrigger_api::Event;
use outrigger_decision::rules::{
    Condition, Effect, Mark, MarkNames, Number, Pattern, Process, Rule, Text,
};
use rustix::thread::{Uid, set_thread_res_uid};

use super::{
    HERE, binds, connects, deny, descends, enforce, is_refused, number, own_program, plane, rule,
    sends, within,
};
use crate::processes::again;
use crate::watch::LIMIT;

/// What a process does at an address and a port.
type Act = fn(IpAddr, u16) -> io::Result<()>;

/// Every event that these programs see, and what causes it.
const ACTS: [(Event, Act); 3] =
    [(Event::NetConnect, connects), (Event::NetBind, binds), (Event::NetSend, sends)];

/// Ports that the kernel gives to nobody who does not ask for one.
const PORT: u16 = 61_101;
const OTHER_PORT: u16 = 61_102;

#[test]
fn a_rule_denies_where_address_port_user_and_lineage_are_as_it_says() {
    let Some((mut plane, _group)) = plane() else { return };
    let program = own_program();
    let rule = |user, port: u16, network, program: &str| {
        vec![
            number(Number::SubjectUid, user),
            number(Number::Port, port.into()),
            within(network, 8),
            descends(program),
        ]
    };

    for (event, act) in ACTS {
        let mut denies = |conditions| {
            deny(&mut plane, event, conditions);
            is_refused(act(HERE, PORT))
        };

        assert!(denies(rule(0, PORT, "127.0.0.0", &program)), "{event}");
        assert!(!denies(rule(1000, PORT, "127.0.0.0", &program)), "{event}: user");
        assert!(!denies(rule(0, OTHER_PORT, "127.0.0.0", &program)), "{event}: port");
        assert!(!denies(rule(0, PORT, "126.0.0.0", &program)), "{event}: address");
        assert!(!denies(rule(0, PORT, "127.0.0.0", "/usr/bin/other")), "{event}: lineage");
    }
}

#[test]
fn a_rule_denies_by_the_program_that_runs() {
    let Some((mut plane, _group)) = plane() else { return };
    let program = own_program();
    let name = program.rsplit('/').next().expect("it has a name");
    let ends = |end: &str| Condition::Text { place: Text::Exe, is: Pattern::Ends(end.to_owned()) };

    deny(&mut plane, Event::NetConnect, vec![ends(name)]);
    assert!(is_refused(connects(HERE, PORT)));
    deny(&mut plane, Event::NetConnect, vec![ends(&format!("{name}r"))]);
    assert!(!is_refused(connects(HERE, PORT)));
}

#[test]
fn an_ipv4_address_in_ipv6_is_what_it_is_and_in_no_network_of_ipv6() {
    let Some((mut plane, _group)) = plane() else { return };
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);

    for (event, act) in ACTS {
        let mut denied = |network, prefix| {
            deny(&mut plane, event, vec![within(network, prefix)]);
            [HERE, mapped, six].map(|address| is_refused(act(address, PORT)))
        };

        assert_eq!(denied("127.0.0.0", 8), [true, true, false], "{event}");
        assert_eq!(denied("127.0.0.1", 32), [true, true, false], "{event}");
        assert_eq!(denied("127.0.0.2", 32), [false; 3], "{event}");
        assert_eq!(denied("::1", 128), [false, false, true], "{event}");
        assert_eq!(denied("::2", 127), [false; 3], "{event}");
        assert_eq!(denied("::", 0), [false, false, true], "{event}");
    }
}

#[test]
fn what_nothing_came_of_before_says_nothing_of_what_differs_in_anything() {
    let Some((mut plane, _group)) = plane() else { return };
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let udp = || number(Number::Value0, 17);
    let tcp = |port| TcpListener::bind((HERE, port)).map(drop);

    for (event, act) in ACTS {
        let no = |name, conditions| rule(name, Effect::Deny, event, conditions);
        let rules = [
            no("port", vec![number(Number::Port, OTHER_PORT.into()), udp()]),
            no("address", vec![within("127.0.0.2", 32), udp()]),
            no("user", vec![number(Number::SubjectUid, 1000), udp()]),
            no("protocol", vec![number(Number::Value0, 6)]),
        ];
        enforce(&mut plane, &rules, &MarkNames::default());
        // From the third time on it is known that nothing comes of it.
        for time in 0..5 {
            assert!(!is_refused(act(HERE, PORT)), "{event}, {time}");
            assert!(is_refused(act(HERE, OTHER_PORT)), "{event}, {time}: port");
            assert!(is_refused(act(elsewhere, PORT)), "{event}, {time}: address");
            let other: bool = as_user(1000, || is_refused(act(HERE, PORT)));
            assert!(other, "{event}, {time}: user");
        }
        if event == Event::NetBind {
            assert!(is_refused(tcp(PORT)), "protocol");
        }
        deny(&mut plane, event, vec![number(Number::Port, PORT.into())]);
        assert!(is_refused(act(HERE, PORT)), "{event}: another set");
        assert!(!is_refused(act(HERE, OTHER_PORT)), "{event}: another set");
    }
}

/// Has a thread of this process do something as another user.
fn as_user<Done: Send>(uid: u32, act: impl FnOnce() -> Done + Send) -> Done {
    let become_it = move || {
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).expect("root may become anybody");
        act()
    };
    thread::scope(|scope| scope.spawn(become_it).join()).expect("it ends well")
}

/// Sets in force by turns, and which of `PORTS` each denies: one the one, one the other, both, none.
const PORTS: [u16; 4] = [61_111, 61_112, 61_113, 61_114];
const DENIED: [[bool; 4]; 2] = [[true, false, true, false], [false, true, true, false]];
/// How often the sets are switched.
const SWITCHES: u64 = 50;
/// Connections that are seen under each.
const UNDER_EACH: u64 = 200;

/// The set of a turn. What both deny, they deny by rules of other kinds and at other places.
fn set_of(turn: u64) -> Vec<Rule> {
    let port = |which: usize| number(Number::Port, PORTS[which].into());
    let deny = |name: &str, conditions| rule(name, Effect::Deny, Event::NetConnect, conditions);
    match turn % 2 {
        0 => vec![deny("one", vec![port(0)]), deny("both", vec![port(2)])],
        _ => {
            let user = number(Number::SubjectUid, 0);
            vec![
                deny("both", vec![within("127.0.0.0", 8), port(2), user]),
                deny("nobody", vec![port(2), descends("/usr/bin/other")]),
                deny("other", vec![port(1)]),
            ]
        }
    }
}

/// What is going on: an even number is twice that of the turn, an odd one says that the next set is being
/// put in force.
#[derive(Debug, Default)]
struct Turns {
    now: AtomicU64,
    end: AtomicBool,
    /// Connections that began and ended while one set was in force, and while sets were switched.
    under_one: AtomicU64,
    meanwhile: AtomicU64,
}

impl Turns {
    /// Connects until the end; how often that came to something that no set in force says.
    fn connect(&self) -> u64 {
        let mut wrong = 0;
        while !self.end.load(Ordering::SeqCst) {
            for (which, port) in PORTS.into_iter().enumerate() {
                let before = self.now.load(Ordering::SeqCst);
                let refused = is_refused(connects(HERE, port));
                let after = self.now.load(Ordering::SeqCst);
                let one = before == after && before.is_multiple_of(2);
                let count = if one { &self.under_one } else { &self.meanwhile };
                count.fetch_add(1, Ordering::SeqCst);
                let turns = if one { before / 2..before / 2 + 1 } else { 0..2 };
                let mut sets = turns.map(|turn| usize::from(turn % 2 == 1));
                wrong += u64::from(sets.all(|set| DENIED[set][which] != refused));
            }
        }
        wrong
    }

    fn wait_for_connections(&self) {
        let (begin, already) = (Instant::now(), self.under_one.load(Ordering::SeqCst));
        while self.under_one.load(Ordering::SeqCst) < already + UNDER_EACH {
            assert!(begin.elapsed() < LIMIT, "nobody connects");
            thread::yield_now();
        }
    }
}

#[test]
fn connections_are_judged_by_the_old_set_before_a_switch_and_by_the_new_one_after_it() {
    let Some((mut plane, _group)) = plane() else { return };
    let turns = Turns::default();
    enforce(&mut plane, &set_of(0), &MarkNames::default());

    let wrong: u64 = thread::scope(|scope| {
        let connecting = [(); 2].map(|()| scope.spawn(|| turns.connect()));
        for turn in 1..=SWITCHES {
            turns.wait_for_connections();
            turns.now.fetch_add(1, Ordering::SeqCst);
            enforce(&mut plane, &set_of(turn), &MarkNames::default());
            turns.now.fetch_add(1, Ordering::SeqCst);
        }
        turns.wait_for_connections();
        turns.end.store(true, Ordering::SeqCst);
        connecting.map(|thread| thread.join().expect("only rules refuse it")).into_iter().sum()
    });

    let [under_one, meanwhile] =
        [&turns.under_one, &turns.meanwhile].map(|count| count.load(Ordering::SeqCst));
    println!("{SWITCHES} switches, {under_one} connections under one set, {meanwhile} meanwhile");
    assert_eq!(wrong, 0, "of {under_one} and {meanwhile}");
    assert!(meanwhile > 0, "no connection met a switch");
}

/// Who connects to `PORT` is marked, and who is marked may not bind `OTHER_PORT`.
fn marking(inherited: bool) -> [Rule; 2] {
    let name = if inherited { "inherited" } else { "connected" };
    let mark = Mark { name: name.to_owned(), object: false, inherited, seconds: None };
    let marked = Condition::Marked { whose: Process::Subject, mark: name.to_owned() };
    let port = |port: u16| number(Number::Port, port.into());
    [
        rule("marks", Effect::Mark(mark), Event::NetConnect, vec![port(PORT)]),
        rule("no", Effect::Deny, Event::NetBind, vec![marked, port(OTHER_PORT)]),
    ]
}

/// Whether another process ran one of the tests below to its good end.
fn in_another_process(test: &str) -> bool {
    again(&format!("groups::rules::{test}")).wait().expect("it ends").success()
}

#[test]
fn a_mark_put_by_connecting_is_read_by_binding() {
    let Some((mut plane, _group)) = plane() else { return };
    let marks = enforce(&mut plane, &marking(false), &MarkNames::default());
    let is_marked = || is_refused(binds(HERE, OTHER_PORT));

    assert!(!is_marked());
    connects(HERE, OTHER_PORT).expect("at a port that marks nobody");
    assert!(!is_marked());
    assert!(in_another_process("connects_and_is_marked"));
    assert!(!is_marked(), "by what another process did");
    connects(HERE, PORT).expect("nothing is denied there");
    assert!(is_marked());
    assert!(is_refused(binds(Ipv6Addr::LOCALHOST.into(), OTHER_PORT)), "by IPv6");
    assert!(!is_refused(binds(HERE, PORT)), "at another port");
    assert!(!in_another_process("is_marked"), "nobody inherits it");

    enforce(&mut plane, &marking(false), &marks);
    assert!(is_marked(), "under a set that has the marks of the one before");
    enforce(&mut plane, &marking(false), &MarkNames::default());
    assert!(!is_marked(), "under a set to which the mark is new");
}

#[test]
fn a_mark_that_children_inherit_is_read_where_they_bind() {
    let Some((mut plane, _group)) = plane() else { return };
    enforce(&mut plane, &marking(true), &MarkNames::default());

    assert!(!in_another_process("is_marked"));
    connects(HERE, PORT).expect("nothing is denied there");
    assert!(in_another_process("is_marked"));
}

#[test]
#[ignore = "run by a_mark_put_by_connecting_is_read_by_binding in a process of its own"]
fn connects_and_is_marked() {
    connects(HERE, PORT).expect("nothing is denied there");
    assert!(is_refused(binds(HERE, OTHER_PORT)));
}

#[test]
#[ignore = "run by the tests of marks in a process of its own"]
fn is_marked() {
    assert!(is_refused(binds(HERE, OTHER_PORT)));
}
