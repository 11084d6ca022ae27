//! Reading the content again, as the host orders it.
//!
//! An engine with a [`Loader`](crate::Loader) goes on judging meanwhile: the loader works on a thread of its
//! own, and what it read is put in force by the judging thread, between two questions. One thread at a time:
//! orders that come while it works are one more load after it, however many they are, so that what the
//! folder held at the last order is read for certain.

use std::panic;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use outrigger_dock::Doorbell;

use crate::engine::{Engine, Loaded, Loader};

/// What the content is said to be now, or why it stays as it was.
pub(crate) type Told = Result<String, String>;

/// The loads of one engine.
#[derive(Debug)]
pub(crate) struct Loading<'a, E> {
    folder: &'a Path,
    bell: Doorbell,
    /// The host wants a load that has not begun.
    ordered: bool,
    /// The load that goes on.
    running: Option<Running<E>>,
}

#[derive(Debug)]
struct Running<E> {
    read: Receiver<Result<Loaded<E>, String>>,
    thread: JoinHandle<()>,
}

impl<'a, E: Engine> Loading<'a, E> {
    /// No load. Rings `bell` when [`Self::next`] has something to do.
    pub(crate) fn new(folder: &'a Path, bell: Doorbell) -> Self {
        Self { folder, bell, ordered: false, running: None }
    }

    /// Reads the content while nobody asks: at the start.
    pub(crate) fn first(engine: &mut E, folder: &Path) -> Told {
        match engine.loader() {
            Some(loader) => loader(folder).map(|loaded| loaded.put_in_force(engine)),
            None => engine.load(folder),
        }
    }

    /// The host wants the content read.
    pub(crate) fn order(&mut self) {
        self.ordered = true;
    }

    /// Puts in force what was read, or begins the load that is due; what is to be told of it.
    pub(crate) fn next(&mut self, engine: &mut E) -> Option<Told> {
        if let Some(running) = &self.running {
            let read = match running.read.try_recv() {
                Ok(read) => read,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => self.running.take()?.end_by_its_panic(),
            };
            self.running = None;
            return Some(read.map(|loaded| loaded.put_in_force(engine)));
        }
        if !std::mem::take(&mut self.ordered) {
            return None;
        }
        let Some(loader) = engine.loader() else { return Some(engine.load(self.folder)) };
        match Running::start(loader, self.folder, self.bell.clone()) {
            Ok(running) => {
                self.running = Some(running);
                None
            }
            Err(error) => Some(Err(format!("cannot start a thread to read the content: {error}"))),
        }
    }
}

impl<E: Engine> Running<E> {
    fn start(loader: Loader<E>, folder: &Path, bell: Doorbell) -> std::io::Result<Self> {
        let (report, read) = channel();
        let folder = folder.to_owned();
        let thread = std::thread::Builder::new().name("loader".to_owned()).spawn(move || {
            let end = End { report: Some(report), bell };
            let read = loader(&folder);
            // Nobody listens any more once the engine has ended.
            let _ = end.report.as_ref().map(|report| report.send(read));
        })?;
        Ok(Self { read, thread })
    }

    /// The engine goes the way of its loader.
    fn end_by_its_panic(self) -> ! {
        match self.thread.join() {
            Err(payload) => panic::resume_unwind(payload),
            Ok(()) => unreachable!("a loader that returned has reported"),
        }
    }
}

/// The thread's end is heard even if it is a panic.
struct End<T> {
    report: Option<Sender<T>>,
    bell: Doorbell,
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.report = None;
        self.bell.ring();
    }
}
