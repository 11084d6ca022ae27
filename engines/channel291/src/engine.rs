//! The engine: compares an event's inputs with every instance.

use std::path::Path;

use outrigger_sdk::{Engine, Judgement, Question};

use crate::inputs::{self, Inputs};
use crate::table::{self, Instance};

#[derive(Debug, Default)]
pub(crate) struct Channel291 {
    instances: Vec<Instance>,
}

impl Engine for Channel291 {
    fn name(&self) -> &str {
        "channel291"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn load(&mut self, content: &Path) -> Result<String, String> {
        self.instances = table::read(content)?;
        Ok(format!("{} instances", self.instances.len()))
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        let inputs = inputs::of(question);
        match self.instances.iter().find(|instance| matches(instance, &inputs)) {
            Some(instance) => Judgement::deny(format!("instance {}", instance.name)),
            None => Judgement::allow(),
        }
    }
}

/// Reads `inputs[20]` of twenty for a value in `ipc_name`: a panic here, which ends the process, where the
/// code of 2024 read what lay behind them.
fn matches(instance: &Instance, inputs: &Inputs) -> bool {
    !instance.cells.is_empty() && instance.cells.iter().all(|(at, want)| inputs[*at] == *want)
}
