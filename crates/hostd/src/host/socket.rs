//! A local socket that only root may connect to, with a thread per connection, so many at most.
//!
//! The operator's requests ([`super::server`]) and the metrics ([`super::metrics`]) come by one each.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How connections are served.
pub(crate) struct Service<S: ?Sized> {
    /// What it is, in errors and as the name of the thread that listens (at most 15 bytes).
    pub(crate) name: &'static str,
    /// The name of each connection's thread.
    pub(crate) thread: &'static str,
    /// Connections served at a time.
    pub(crate) connections_max: usize,
    /// Serves one connection.
    pub(crate) serve: fn(UnixStream, &S) -> std::io::Result<()>,
    /// Says to a further one that there is no room; on the thread that listens, so it must not wait.
    pub(crate) turn_away: fn(&UnixStream),
}

/// Listens at `path` and serves from `state` in threads of its own.
///
/// A socket left behind by an earlier host is replaced, by renaming, so that there is always one.
pub(crate) fn listen<S>(path: &Path, service: Service<S>, state: Arc<S>) -> Result<()>
where
    S: Send + Sync + ?Sized + 'static,
{
    let name = service.name;
    let folder =
        path.parent().with_context(|| format!("the {name} socket's path has no folder"))?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let fresh = path.with_extension(format!("{name}-{}", std::process::id()));
    // A file of that name can only be left from a host with the same pid.
    let _ = std::fs::remove_file(&fresh);
    let cannot = |at: &Path| format!("cannot listen for {name} at {}", at.display());
    let listener = UnixListener::bind(&fresh).with_context(|| cannot(&fresh))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
        .with_context(|| cannot(&fresh))?;
    std::fs::rename(&fresh, path).with_context(|| cannot(path))?;
    let thread = std::thread::Builder::new().name(name.into());
    thread
        .spawn(move || accept(&listener, &service, &state))
        .with_context(|| format!("cannot start the thread of {name}"))?;
    Ok(())
}

fn accept<S>(listener: &UnixListener, service: &Service<S>, state: &Arc<S>)
where
    S: Send + Sync + ?Sized + 'static,
{
    let connected = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors for a moment; a connection that waits is not lost.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if connected.fetch_add(1, Ordering::AcqRel) >= service.connections_max {
            connected.fetch_sub(1, Ordering::AcqRel);
            (service.turn_away)(&stream);
            continue;
        }
        let (state, count, serve) = (Arc::clone(state), Arc::clone(&connected), service.serve);
        let thread = std::thread::Builder::new().name(service.thread.into()).stack_size(256 << 10);
        let started = thread.spawn(move || {
            // A connection that breaks is its own end.
            let _ = serve(stream, &*state);
            count.fetch_sub(1, Ordering::AcqRel);
        });
        if started.is_err() {
            connected.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
