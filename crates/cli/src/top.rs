//! `outrigger top`: what each engine costs, live.
//!
//! One thread asks the host, this one draws and listens to the keyboard: a host that does not answer never
//! keeps `q` waiting. The terminal is given back as it was however this ends, by a key, a signal, an error
//! or a panic.

mod draw;
#[cfg(test)]
mod picture;
pub(crate) mod view;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use outrigger_api::control::{Request, Response};
use outrigger_api::ledger::Ledger;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::arguments::Arguments;
use crate::link::{Link, LinkError, Received};
use crate::run::{Outcome, answer, limit};
use view::View;

/// Longest time without a look at the host's answers and at signals.
const GLANCE: Duration = Duration::from_millis(100);

/// Shows the ledger as `arguments` say: on the screen, as one table, or as lines of JSON.
///
/// # Errors
///
/// A [`LinkError`] if no first answer came, an [`io::Error`] if the output takes no more.
pub(crate) fn run(
    arguments: &Arguments,
    once: bool,
    every: Duration,
    out: &mut impl Write,
) -> Result<Outcome> {
    let asker = Asker { socket: arguments.socket.clone(), limit: limit(arguments) };
    let first = asker.ask()?;
    let Response::Ledger(ledger) = &first.response else {
        // A refusal, which is shown as any other.
        return answer(&first, arguments.json, out);
    };
    if arguments.json {
        return lines(&asker, &first, once, every, out);
    }
    if once {
        return answer(&first, false, out);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        writeln!(
            anstream::stderr(),
            "outrigger: this is no terminal, so here is one table instead of a live one \
             (--once says that it is meant so, --json gives lines)"
        )?;
        return answer(&first, false, out);
    }
    screen(asker, (**ledger).clone(), every)
}

/// A line of JSON per refresh, as the host sends it.
fn lines(
    asker: &Asker,
    first: &Received,
    once: bool,
    every: Duration,
    out: &mut impl Write,
) -> Result<Outcome> {
    let outcome = answer(first, true, out)?;
    out.flush()?;
    if once {
        return Ok(outcome);
    }
    loop {
        thread::sleep(every);
        answer(&asker.ask()?, true, out)?;
        out.flush()?;
    }
}

/// Asks the host.
struct Asker {
    socket: PathBuf,
    limit: Duration,
}

impl Asker {
    fn ask(&self) -> Result<Received, LinkError> {
        Link::open(&self.socket, &Request::Ledger, self.limit)?.receive()
    }

    /// What the host says, or why it says nothing.
    fn ledger(&self) -> Result<Ledger, String> {
        match self.ask() {
            Ok(Received { response: Response::Ledger(ledger), .. }) => Ok(*ledger),
            Ok(Received { response: Response::Error { message }, .. }) => Err(message),
            Ok(_) => Err("the host answered `ledger` with something else".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks every so often until nobody wants to know.
    fn go_on(self, every: Duration, answers: &Sender<Result<Ledger, String>>, end: &Receiver<()>) {
        while end.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            if answers.send(self.ledger()).is_err() {
                return;
            }
        }
    }
}

/// What is on the screen.
struct Shown {
    ledger: Ledger,
    view: View,
    /// Why the host says nothing now.
    trouble: Option<String>,
    every: Duration,
}

impl Shown {
    fn new(ledger: Ledger, every: Duration) -> Self {
        Self { view: View::new(&ledger, None), ledger, trouble: None, every }
    }

    fn take(&mut self, answer: Result<Ledger, String>) {
        match answer {
            Ok(ledger) => {
                self.view = View::new(&ledger, Some(&self.ledger));
                self.ledger = ledger;
                self.trouble = None;
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }
}

fn screen(asker: Asker, first: Ledger, every: Duration) -> Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot catch signals")?;
    }
    let (send, answers) = channel();
    let (go_on, end) = channel();
    thread::Builder::new()
        .name("asker".into())
        .spawn(move || asker.go_on(every, &send, &end))
        .context("cannot start a thread")?;
    // Besides raw mode and another screen this sets a panic hook that gives both back.
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let ended = follow(&mut terminal, Shown::new(first, every), &answers, &stop);
    let restored = ratatui::try_restore().context("cannot give the terminal back");
    // Nobody waits for the thread, which may wait for the host; it ends with the process.
    drop(go_on);
    ended?;
    restored?;
    Ok(Outcome::Good)
}

/// Draws and listens until somebody has seen enough.
fn follow(
    terminal: &mut ratatui::DefaultTerminal,
    mut shown: Shown,
    answers: &Receiver<Result<Ledger, String>>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut fresh = true;
    while !stop.load(Ordering::Relaxed) {
        if fresh {
            terminal.draw(|frame| draw::whole(frame, &shown)).context("cannot draw")?;
            fresh = false;
        }
        if event::poll(GLANCE).or_else(interrupted)? {
            match event::read()? {
                Event::Key(key) if ends(key) => return Ok(()),
                Event::Resize(..) => fresh = true,
                _ => {}
            }
        }
        while let Ok(answer) = answers.try_recv() {
            shown.take(answer);
            fresh = true;
        }
    }
    Ok(())
}

/// A signal is no trouble; what it means is looked at anyway.
fn interrupted(error: io::Error) -> Result<bool> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(false),
        _ => bail!(error),
    }
}

/// Raw mode takes Ctrl-C for a key.
fn ends(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('c') => with_control,
            KeyCode::Char('q') | KeyCode::Esc => true,
            _ => false,
        }
}
