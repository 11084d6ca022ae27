//! Denies every file that begins with a given marker.

use std::process::ExitCode;

use outrigger_sdk::{Engine, Judgement, Question, run};

struct Tiny {
    marker: Vec<u8>,
}

impl Engine for Tiny {
    fn name(&self) -> &str {
        "tiny"
    }

    fn version(&self) -> &str {
        "0.1.0"
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        let content = match question.content() {
            Ok(content) => content,
            Err(absent) => return Judgement::abstain(absent.to_string()),
        };
        let mut start = vec![0; self.marker.len()];
        match content.read_at(&mut start, 0) {
            Ok(_) if start == self.marker => Judgement::deny("begins with the marker"),
            Ok(_) => Judgement::allow(),
            Err(error) => Judgement::abstain(error.to_string()),
        }
    }
}

fn main() -> ExitCode {
    let marker = std::env::args().nth(1).unwrap_or_else(|| "EVIL".to_owned());
    run(Tiny { marker: marker.into_bytes() })
}
