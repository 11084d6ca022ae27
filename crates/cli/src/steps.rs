//! What a command that takes its time says meanwhile: a line for each step that is done, and a bar for
//! the one that goes on.
//!
//! Lines go to the output, as text or as JSON; the bar goes to the error stream, and only where that is
//! a terminal.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::text::{FAINT, GOOD, STRONG, WRONG, styled, visible};

/// How often a bar that has nothing to count turns.
const TURN: Duration = Duration::from_millis(120);
const COUNTED: &str = "  {spinner} {msg}  {wide_bar}  {bytes}/{total_bytes}  {eta}";
const EVENTS: &str = "  {spinner} {msg}  {wide_bar}  {human_pos}/{human_len}  {eta}";
const SPAN: &str = "  {spinner} {wide_bar:.green}  {msg}";
const TURNING: &str = "  {spinner} {msg}  {elapsed}";

/// A step that is done.
#[derive(Debug, Serialize)]
pub(crate) struct Step<'a> {
    /// Its name: that of the state that was reached, or of what was done.
    pub(crate) step: &'a str,
    /// What it was done to, as a person calls it.
    pub(crate) of: &'a str,
    /// Whether it went well.
    pub(crate) good: bool,
    /// What came of it.
    pub(crate) detail: &'a str,
}

/// Tells steps, in one of the two forms.
pub(crate) struct Steps<'o> {
    out: &'o mut dyn Write,
    json: bool,
    bar: Option<ProgressBar>,
    /// The form of `bar`.
    form: &'static str,
}

/// The bar of what goes on, if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    /// So much of it is done.
    pub(crate) fn at(&self, done: u64, whole: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(whole);
            bar.set_position(done);
        }
    }
}

impl<'o> Steps<'o> {
    /// Tells `out`.
    pub(crate) fn new(out: &'o mut dyn Write, json: bool) -> Self {
        Self { out, json, bar: None, form: TURNING }
    }

    /// A step is done.
    pub(crate) fn done(&mut self, step: &Step<'_>) -> io::Result<()> {
        self.finish();
        if self.json {
            return self.line(step);
        }
        let style = if step.good { GOOD } else { WRONG };
        // Padded before it is styled: the style's own characters take no place.
        let name = styled(style, format_args!("{:<10}", step.step));
        let of = styled(STRONG, visible(step.of));
        let detail = styled(FAINT, visible(step.detail));
        writeln!(self.out, "  {name} {of}  {detail}")?;
        self.out.flush()
    }

    /// Writes `value` as a line of JSON.
    pub(crate) fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(value).map_err(io::Error::from)?;
        writeln!(self.out, "{}", crate::text::visible_json(&line))?;
        self.out.flush()
    }

    /// Writes `text` as it is; it was made harmless.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.finish();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Whether lines are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Something begins whose bytes are counted.
    pub(crate) fn bytes(&mut self, what: &str) {
        self.begin(what, COUNTED);
    }

    /// Something begins whose events are counted.
    pub(crate) fn events(&mut self, what: &str) {
        self.begin(what, EVENTS);
    }

    /// Something begins that only takes its time.
    pub(crate) fn turning(&mut self, what: &str) {
        self.begin(what, TURNING);
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(TURN);
        }
    }

    /// Something goes on of which so much time of the whole has passed; `what` says how it goes now.
    pub(crate) fn span(&mut self, what: &str, passed: u64, whole: u64) {
        if self.bar.is_none() || self.form != SPAN {
            self.begin(what, SPAN);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(visible(what).into_owned());
            bar.set_length(whole);
            bar.set_position(passed);
        }
    }

    /// So much of what goes on is done.
    pub(crate) fn at(&self, done: u64, whole: u64) {
        self.bar().at(done, whole);
    }

    /// The bar of what goes on, for whoever counts elsewhere.
    pub(crate) fn bar(&self) -> Bar {
        Bar(self.bar.clone())
    }

    fn begin(&mut self, what: &str, form: &'static str) {
        self.finish();
        let style = ProgressStyle::with_template(form).expect("a template that is one");
        // Hidden by the library where the error stream is no terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏·"));
        bar.set_message(visible(what).into_owned());
        (self.bar, self.form) = (Some(bar), form);
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}
