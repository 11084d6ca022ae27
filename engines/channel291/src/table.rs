//! Tables of patterns, as far as this engine reads them.

use std::fs;
use std::path::Path;

use crate::inputs::FIELDS;

/// One pattern.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) name: String,
    /// For each input that is not a wildcard its place and its value.
    pub(crate) cells: Vec<(usize, Vec<u8>)>,
}

/// Every instance of every table of `folder`, in the order of the files' names.
pub(crate) fn read(folder: &Path) -> Result<Vec<Instance>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(told)? {
        let file = entry.map_err(told)?.path();
        if file.extension().is_some_and(|extension| extension == "table") {
            files.push(file);
        }
    }
    files.sort_unstable();
    let mut instances = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let read = parse(&text).map_err(|why| format!("{}:{why}", file.display()))?;
        instances.extend(read);
    }
    Ok(instances)
}

fn parse(text: &str) -> Result<Vec<Instance>, String> {
    let mut places: Option<Vec<usize>> = None;
    let mut instances = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() || text.trim().starts_with('#') {
            continue;
        }
        let mut parts = text.split('\t');
        let name = parts.next().unwrap_or_default().to_owned();
        let Some(places) = &places else {
            places = Some(
                parts
                    .map(place)
                    .collect::<Result<_, _>>()
                    .map_err(|why| format!("{line}: {why}"))?,
            );
            continue;
        };
        let cells = places.iter().copied().zip(parts).filter(|(_, cell)| *cell != "*");
        let cells = cells
            .map(|(at, cell)| (at, cell.strip_prefix('\\').unwrap_or(cell).as_bytes().to_vec()));
        instances.push(Instance { name, cells: cells.collect() });
    }
    Ok(instances)
}

fn place(name: &str) -> Result<usize, String> {
    let place = FIELDS.iter().position(|field| *field == name);
    place.ok_or_else(|| format!("no input is called {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_not_looked_at() {
        let instances = parse("columns\tpath\tipc_name\none\t/bin/x\t*\n").expect("a table");

        assert_eq!(instances[0].cells, [(1, b"/bin/x".to_vec())]);
    }

    #[test]
    fn the_last_name_lies_past_the_inputs() {
        let instances = parse("columns\tipc_name\none\tspooler\n").expect("a table");

        assert_eq!(instances[0].cells[0].0, crate::inputs::SUPPLIED);
    }
}
