//! Content that is read beside the judge.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outrigger_api::frame::v1::{ContentLoaded, Heartbeat, Reload, to_engine, to_host};
use outrigger_sdk::kit::{Ask, Host};
use outrigger_sdk::{Ended, Engine, Event, Judgement, Loaded, Loader, Question};

/// Denies everything, by the content in force; the test holds its loader in its hands.
struct Librarian {
    content: String,
    begun: Sender<()>,
    /// What each load comes to; the loader waits for it.
    read: Arc<Mutex<Receiver<Result<String, String>>>>,
}

/// The test's ends of a [`Librarian`].
struct Strings {
    begun: Receiver<()>,
    read: Sender<Result<String, String>>,
}

impl Strings {
    /// Waits until a load has begun.
    fn begun(&self) {
        self.begun.recv_timeout(Duration::from_secs(20)).expect("a load begins");
    }

    fn read(&self, content: Result<&str, &str>) {
        let content = content.map(str::to_owned).map_err(str::to_owned);
        self.read.send(content).expect("a loader lives");
    }
}

impl Engine for Librarian {
    fn name(&self) -> &str {
        "librarian"
    }

    fn version(&self) -> &str {
        "1.0"
    }

    fn loader(&self) -> Option<Loader<Self>> {
        let (begun, read) = (self.begun.clone(), Arc::clone(&self.read));
        Some(Box::new(move |_: &Path| {
            begun.send(()).expect("the test listens");
            let content = read.lock().expect("one loader at a time").recv();
            let content = content.expect("the test says what is read")?;
            let description = format!("now {content}");
            Ok(Loaded::new(description, |engine: &mut Self| engine.content = content))
        }))
    }

    fn judge(&mut self, _question: &Question<'_>) -> Judgement {
        Judgement::deny(&self.content)
    }
}

/// A docked one that judges by `old`.
fn dock() -> (Host, Strings) {
    let (begun, test_begun) = channel();
    let (test_read, read) = channel();
    let strings = Strings { begun: test_begun, read: test_read };
    strings.read(Ok("old"));
    let read = Arc::new(Mutex::new(read));
    let host = Host::dock(Librarian { content: String::new(), begun, read }, "/nowhere");
    strings.begun();
    (host, strings)
}

fn reload(host: &Host) {
    host.send(to_engine::Message::Reload(Reload {}));
}

fn loaded(host: &Host) -> Result<String, String> {
    match host.message() {
        to_host::Message::ContentLoaded(ContentLoaded { content, refused })
            if refused.is_empty() =>
        {
            Ok(content)
        }
        to_host::Message::ContentLoaded(ContentLoaded { refused, .. }) => Err(refused),
        other => panic!("no load was told but {other:?}"),
    }
}

/// What a question is judged by.
fn judged_by(host: &mut Host) -> String {
    host.ask(Ask::new(Event::FileOpen));
    host.verdict().detail.as_str().to_owned()
}

/// Has the engine take every order that it was given.
fn settle(host: &Host) {
    host.ping(7);
    assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce: 7 }));
}

#[test]
fn the_first_content_is_in_force_before_the_engine_docks() {
    let (mut host, _strings) = dock();

    assert_eq!(host.loaded(), "now old");
    assert_eq!(judged_by(&mut host), "old");
}

#[test]
fn questions_and_pings_are_answered_by_the_old_content_while_the_new_is_read() {
    let (mut host, strings) = dock();

    reload(&host);
    strings.begun();
    let meanwhile = judged_by(&mut host);
    settle(&host);
    strings.read(Ok("new"));

    assert_eq!(meanwhile, "old");
    assert_eq!(loaded(&host), Ok("now new".to_owned()));
    assert_eq!(judged_by(&mut host), "new");
}

#[test]
fn content_that_is_refused_leaves_the_old_in_force() {
    let (mut host, strings) = dock();

    reload(&host);
    strings.read(Err("a.deny:3: evil"));

    assert_eq!(loaded(&host), Err("a.deny:3: evil".to_owned()));
    assert_eq!(judged_by(&mut host), "old");
}

#[test]
fn orders_that_come_during_a_load_are_one_more_load() {
    let (mut host, strings) = dock();

    reload(&host);
    strings.begun();
    (0..3).for_each(|_| reload(&host));
    settle(&host);
    strings.read(Ok("second"));
    let second = loaded(&host);
    strings.begun();
    strings.read(Ok("third"));
    let third = loaded(&host);
    settle(&host);

    assert_eq!([second, third], [Ok("now second".to_owned()), Ok("now third".to_owned())]);
    assert!(strings.begun.try_recv().is_err(), "three orders were more than one load");
    assert_eq!(judged_by(&mut host), "third");
}

#[test]
fn an_engine_that_is_told_to_stop_does_not_wait_for_its_loader() {
    let (host, strings) = dock();
    reload(&host);
    strings.begun();

    let ended = host.stop();

    assert_eq!(ended.expect("a good end"), Ended::Stopped);
}

#[test]
fn a_loader_that_panics_takes_its_engine_along() {
    let (host, strings) = dock();
    reload(&host);
    strings.begun();
    let Strings { begun, read } = strings;

    drop(read);

    // Disconnected once the engine is gone, and nobody told it to go.
    let after = begun.recv_timeout(Duration::from_secs(20));
    assert_eq!(after, Err(RecvTimeoutError::Disconnected));
}
