//! The engine: hashes a file and looks the hash up.

use std::path::Path;

use outrigger_sdk::{Content, Engine, Judgement, Question};
use sha2::{Digest, Sha256};

use crate::line::Hash;
use crate::lists::Lists;

/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The engine and the lists that it judges by.
#[derive(Debug)]
pub struct Hashlist {
    lists: Lists,
    /// Used for every file, so that none costs an allocation.
    buffer: Box<[u8]>,
}

impl Default for Hashlist {
    fn default() -> Self {
        Self { lists: Lists::default(), buffer: vec![0; BUFFER_BYTES].into() }
    }
}

impl Engine for Hashlist {
    fn name(&self) -> &str {
        "hashlist"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn load(&mut self, content: &Path) -> Result<String, String> {
        self.lists = Lists::read(content).map_err(|error| error.to_string())?;
        let (denied, allowed) = self.lists.counts();
        Ok(format!("{denied} deny, {allowed} allow"))
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        if self.lists.deny_nothing() {
            return Judgement::allow();
        }
        let content = match question.content() {
            Ok(content) => content,
            Err(absent) => return Judgement::abstain(absent.to_string()),
        };
        let hash = match self.hash(content) {
            Ok(hash) => hash,
            Err(error) => return Judgement::abstain(format!("cannot read: {error}")),
        };
        match self.lists.denied(&hash) {
            None => Judgement::allow(),
            Some("") => Judgement::deny(format!("deny list: {}", hex::encode(&hash[..8]))),
            Some(name) => Judgement::deny(format!("deny list: {name}")),
        }
    }
}

impl Hashlist {
    fn hash(&mut self, content: &Content) -> std::io::Result<Hash> {
        let mut hasher = Sha256::new();
        content.each_chunk(&mut self.buffer, |chunk| hasher.update(chunk))?;
        Ok(hasher.finalize().into())
    }
}
