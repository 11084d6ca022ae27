//! A recording as evidence: its samples with what there is of their objects.

use std::fs::File;

use anyhow::Result;
use outrigger_sensor::recording::{Corpus, Samples};
use outrigger_update::preflight::{Evidence, Material};

/// The events of a corpus, or of none.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    samples: Option<Samples<'a>>,
    known_good: bool,
}

impl<'a> Events<'a> {
    /// Those of `corpus`; with `known_good`, all of its objects are taken to be.
    ///
    /// # Errors
    ///
    /// If it cannot be read any more.
    pub(crate) fn of(
        corpus: Option<&'a Corpus>,
        with_content: bool,
        known_good: bool,
    ) -> Result<Self> {
        let samples = corpus.map(|corpus| corpus.samples(with_content)).transpose()?;
        Ok(Self { samples, known_good })
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Evidence, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let samples = self.samples.as_mut()?;
        let Some((mut sample, object)) = samples.next() else {
            let failure = samples.take_failure();
            self.samples = None;
            return failure.map(|error| Err(error.to_string()));
        };
        sample.standing.known_good |= self.known_good;
        let material = match (object, sample.content) {
            (Some(object), _) => Material::File(File::from(object)),
            (None, Ok(_)) => Material::Gone("neither in the corpus nor where it lay, unchanged"),
            (None, Err(_)) => Material::NotGiven,
        };
        Some(Ok(Evidence { sample, material }))
    }
}
