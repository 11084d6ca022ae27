//! How much of a file is scanned and for how long: the engine's arguments.

use std::path::PathBuf;
use std::time::Duration;

use outrigger_sdk::{CONTENT_DIR, READ_AHEAD_MAX};

/// Most bytes of a file that may be asked for: every scan that is late holds as many.
const SCAN_BYTES_MAX: usize = 64 << 20;
/// Longest scan that may be asked for, in milliseconds.
const SCAN_MS_MAX: u64 = 10_000;

/// What a scan may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a file that are scanned: 1 to 64 MiB.
    pub scan_bytes: usize,
    /// Longest time that a question waits for its scan: 1 ms to 10 s.
    pub scan_time: Duration,
    /// What is done about a longer file.
    pub over_size: OverSize,
}

/// What is done about a file that is longer than what is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverSize {
    /// It is judged by its beginning.
    Beginning,
    /// Nothing of it is read, and the engine abstains.
    Abstain,
}

/// What is wrong with the arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An option that there is not.
    #[error("{0:?} is no option: there are --scan-bytes, --scan-ms and --over-size")]
    Unknown(String),
    /// An option without its value.
    #[error("{0} needs a value after it")]
    NoValue(String),
    /// A value that is no number, or out of its range.
    #[error("{option}: {value:?} is no number from 1 to {max}")]
    Number {
        /// The option.
        option: String,
        /// What stands there.
        value: String,
        /// The largest one.
        max: u64,
    },
    /// Not a word of [`OverSize`].
    #[error("--over-size: {0:?} is neither `beginning` nor `abstain`")]
    OverSize(String),
    /// A second folder.
    #[error("{0:?}: one content folder was given already")]
    Folder(String),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // What the SDK reads ahead of a file on a file system that can keep its readers waiting.
            scan_bytes: READ_AHEAD_MAX,
            scan_time: Duration::from_millis(100),
            over_size: OverSize::Beginning,
        }
    }
}

impl Options {
    /// Reads `[--scan-bytes N] [--scan-ms N] [--over-size beginning|abstain] [FOLDER]`; the folder is
    /// [`CONTENT_DIR`] if none is given.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] at the first thing that is wrong.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<(Self, PathBuf), OptionsError> {
        let mut options = Self::default();
        let mut folder = None;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| OptionsError::NoValue(argument.clone()));
            match argument.as_str() {
                "--scan-bytes" => {
                    let bytes = number(&argument, value()?, SCAN_BYTES_MAX as u64)?;
                    options.scan_bytes = usize::try_from(bytes).unwrap_or(SCAN_BYTES_MAX);
                }
                "--scan-ms" => {
                    let ms = number(&argument, value()?, SCAN_MS_MAX)?;
                    options.scan_time = Duration::from_millis(ms);
                }
                "--over-size" => {
                    options.over_size = match value()?.as_str() {
                        "beginning" => OverSize::Beginning,
                        "abstain" => OverSize::Abstain,
                        other => return Err(OptionsError::OverSize(other.to_owned())),
                    }
                }
                _ if argument.starts_with('-') => return Err(OptionsError::Unknown(argument)),
                _ if folder.is_some() => return Err(OptionsError::Folder(argument)),
                _ => folder = Some(PathBuf::from(argument)),
            }
        }
        Ok((options, folder.unwrap_or_else(|| PathBuf::from(CONTENT_DIR))))
    }
}

fn number(option: &str, value: String, max: u64) -> Result<u64, OptionsError> {
    match value.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(OptionsError::Number { option: option.to_owned(), value, max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Options, PathBuf), String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_arguments_the_defaults_hold() {
        assert_eq!(parse(""), Ok((Options::default(), PathBuf::from(CONTENT_DIR))));
    }

    #[test]
    fn every_option_is_taken() {
        let (options, folder) =
            parse("--scan-bytes 4096 --scan-ms 20 --over-size abstain /rules").expect("right");

        let want = Options {
            scan_bytes: 4096,
            scan_time: Duration::from_millis(20),
            over_size: OverSize::Abstain,
        };
        assert_eq!((options, folder), (want, PathBuf::from("/rules")));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let told = |line: &str| parse(line).expect_err("wrong");

        assert_eq!(told("--scan-ms"), "--scan-ms needs a value after it");
        assert_eq!(told("--scan-ms 0"), "--scan-ms: \"0\" is no number from 1 to 10000");
        assert_eq!(told("--scan-bytes 1G"), "--scan-bytes: \"1G\" is no number from 1 to 67108864");
        assert_eq!(
            told("--over-size allow"),
            "--over-size: \"allow\" is neither `beginning` nor `abstain`"
        );
        assert!(told("--fast").starts_with("\"--fast\" is no option"));
        assert_eq!(told("/a /b"), "\"/b\": one content folder was given already");
    }
}
