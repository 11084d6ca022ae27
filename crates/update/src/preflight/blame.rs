//! Which instance of its content an engine breaks on, and by which field: by halves.
//!
//! An engine that breaks says no more than that. It is started again on half of the instances and asked the
//! same, until one is left; then on that one with each of its fields in turn replaced by a wildcard, until
//! it does not break. Bounded in starts; what is not found out is not said.

use crate::content::error::quoted;
use crate::content::variants;
use crate::content::{Body, Cell, Content, Instance, Table};
use crate::preflight::course::Course;
use crate::preflight::interpreter::Asked;

/// Most starts that finding out may take.
const STARTS_MAX: u32 = 64;

impl Course<'_, '_> {
    /// The place in `content` that the engine breaks on when it is asked `question`, if one can be found.
    pub(super) fn blame(&mut self, content: &Content, question: &Asked<'_>) -> Option<String> {
        let Body::Table(tables) = content.body() else { return None };
        tables.iter().find_map(|table| self.blame_table(table, question))
    }

    /// As [`Self::blame`], in one table.
    pub(super) fn blame_table(&mut self, table: &Table, question: &Asked<'_>) -> Option<String> {
        let mut starts = STARTS_MAX;
        let mut suspects: Vec<Instance> = table.instances.clone();
        if !self.breaks(table, &suspects, question, &mut starts)? {
            return None;
        }
        while suspects.len() > 1 {
            let second = suspects.split_off(suspects.len() / 2);
            if self.breaks(table, &second, question, &mut starts)? {
                suspects = second;
            } else if !self.breaks(table, &suspects, question, &mut starts)? {
                // It takes instances of both halves.
                return None;
            }
        }
        let instance = suspects.pop()?;
        let place =
            format!("{}:{}: instance {}", table.file, instance.line, quoted(&instance.name));
        // The last field first: what was added last is at fault more often.
        for at in (0..table.columns.len()).rev() {
            if instance.cells[at] == Cell::Any {
                continue;
            }
            let mut without = instance.clone();
            without.cells[at] = Cell::Any;
            match self.breaks(table, &[without], question, &mut starts) {
                Some(false) => {
                    let field = &table.columns[at];
                    return Some(format!("{place}, field {} `{field}`", at + 1));
                }
                Some(true) => {}
                None => break,
            }
        }
        Some(place)
    }

    /// Whether the engine breaks on `question` with these instances; `None` if that cannot be found out.
    fn breaks(
        &mut self,
        table: &Table,
        instances: &[Instance],
        question: &Asked<'_>,
        starts: &mut u32,
    ) -> Option<bool> {
        *starts = starts.checked_sub(1)?;
        let table = Table { instances: instances.to_vec(), ..table.clone() };
        self.fresh_scratch().ok()?;
        variants::write_table(self.candidate.scratch, &table).ok()?;
        self.interpreter.start(Some(self.candidate.scratch)).ok()?;
        Some(self.interpreter.ask(question).is_err())
    }
}
