//! What an engine's author writes.

use std::fmt;
use std::path::Path;

use outrigger_api::record::Detail;
use outrigger_api::{Loss, Verdict};

use crate::notice::{Notice, Pressure};
use crate::question::Question;
use crate::shift::Judges;

/// An engine. All methods are called by one thread, one at a time.
pub trait Engine: 'static {
    /// The engine's name, as in its manifest.
    fn name(&self) -> &str;

    /// The engine's version, as in its manifest.
    fn version(&self) -> &str;

    /// Reads the content folder, at the start and whenever the host says that it changed. Gives a
    /// description of what is in force now, for the operator: `12 deny, 3 allow`.
    ///
    /// # Errors
    ///
    /// What is wrong, where, and what it should be. The engine must then judge as it did before; at the
    /// start, it does not dock.
    fn load(&mut self, content: &Path) -> Result<String, String> {
        let _ = content;
        Ok("no content".to_owned())
    }

    /// For content that takes long to read: what reads it in place of [`Self::load`]. At the start it is
    /// waited for; afterwards it works on a thread of its own while the engine judges as before, and what
    /// it read is put in force between two questions.
    fn loader(&self) -> Option<Loader<Self>>
    where
        Self: Sized,
    {
        None
    }

    /// Judges one question. Somebody waits for the answer, until [`Question::remaining`] is over.
    fn judge(&mut self, question: &Question<'_>) -> Judgement;

    /// For an engine whose judgement of one question can take longer than anybody waits, and cannot be stopped:
    /// what judges in place of [`Self::judge`], on threads of its own, so that one that is late is answered for
    /// and left behind, and others go on. Asked for at the start and after each load, whose content the judges
    /// judge by. Such an engine is asked and not told: [`Self::notice`] and what belongs to it are not called.
    fn judges(&self) -> Option<Judges> {
        None
    }

    /// Is told of something that has happened. Notices come in their order; questions overtake them, so
    /// that one waits for one call of this at most.
    fn notice(&mut self, notice: &Notice<'_>) {
        let _ = notice;
    }

    /// Is told that notices are missing between the one before and the one after this. What was dropped
    /// because this engine took too little is counted exactly, per event.
    fn gap(&mut self, gap: &Loss) {
        let _ = gap;
    }

    /// Is told that notices gather, and that soon some will be dropped. Said at once, and once until half of
    /// the room is free again: what waits is still to come.
    fn pressure(&mut self, pressure: &Pressure) {
        let _ = pressure;
    }
}

/// Reads a content folder without the engine.
///
/// # Errors
///
/// As [`Engine::load`]; the engine judges as before.
pub type Loader<E> = Box<dyn FnOnce(&Path) -> Result<Loaded<E>, String> + Send>;

/// Content that was read and is not in force yet.
#[must_use]
pub struct Loaded<E> {
    description: String,
    put: Box<dyn FnOnce(&mut E) + Send>,
}

impl<E> Loaded<E> {
    /// Content that `put` puts in force, while questions wait; its description is as in
    /// [`Engine::load`].
    pub fn new(description: impl Into<String>, put: impl FnOnce(&mut E) + Send + 'static) -> Self {
        Self { description: description.into(), put: Box::new(put) }
    }

    /// Has `engine` judge by it; its description.
    pub(crate) fn put_in_force(self, engine: &mut E) -> String {
        (self.put)(engine);
        self.description
    }
}

impl<E> fmt::Debug for Loaded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("description", &self.description).finish_non_exhaustive()
    }
}

/// An engine's answer to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) detail: Detail,
}

impl Judgement {
    /// No objection.
    pub fn allow() -> Self {
        Self { verdict: Verdict::Allow, detail: Detail::default() }
    }

    /// An objection, which is enough to refuse; `detail` says why, in up to 64 bytes of UTF-8 (a longer
    /// one is cut).
    pub fn deny(detail: impl AsRef<str>) -> Self {
        Self { verdict: Verdict::Deny, detail: Detail::new(detail.as_ref()) }
    }

    /// No opinion, because the question could not be judged; `detail` says why, as in [`Self::deny`].
    /// Not an Allow: if the engine is required, the policy's fallback decides.
    pub fn abstain(detail: impl AsRef<str>) -> Self {
        Self { verdict: Verdict::Abstain, detail: Detail::new(detail.as_ref()) }
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// What the engine says of it.
    pub fn detail(&self) -> &str {
        self.detail.as_str()
    }
}
