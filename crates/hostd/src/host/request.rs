//! One request of an operator's connection: the only place where its bytes are read.
//!
//! Threat position: only root may connect, but a script of root's can send anything. A line is bounded
//! before it is looked at, and so is what is said of one that is no request.

use std::io::{self, BufRead, Read as _};

use outrigger_api::control::{REQUEST_MAX, Request};

/// Most characters of a parser's complaint that are passed on; it can quote the whole line.
const COMPLAINT_MAX: usize = 300;

/// What came next on a connection.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request.
    Request(Request),
    /// A line that is no request, and what to say of it; the next may be one.
    Refused(String),
    /// A line over the limit, and what to say of it. Where it ends is not known: nothing after it is
    /// to be read.
    TooLong(String),
    /// The peer has nothing more to say.
    End,
}

/// Reads the next line.
///
/// # Errors
///
/// Those of `reader`.
pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Incoming> {
    let mut line = Vec::new();
    reader.take(REQUEST_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(Incoming::End);
    }
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    if text.len() > REQUEST_MAX {
        return Ok(Incoming::TooLong(format!("request over the limit of {REQUEST_MAX} bytes")));
    }
    Ok(match serde_json::from_slice(text) {
        Ok(request) => Incoming::Request(request),
        Err(error) => Incoming::Refused(refusal(&error)),
    })
}

fn refusal(error: &serde_json::Error) -> String {
    let complaint = error.to_string();
    let shown: String =
        complaint.chars().take(COMPLAINT_MAX).flat_map(char::escape_debug).collect();
    let cut = if complaint.chars().nth(COMPLAINT_MAX).is_some() { "…" } else { "" };
    format!("not a request this host knows: {shown}{cut}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that `bytes` are read as, up to the end.
    fn all(mut bytes: &[u8]) -> Vec<String> {
        let next = || match read(&mut bytes).expect("a slice is read") {
            Incoming::End => None,
            Incoming::Request(request) => Some(format!("{request:?}")),
            Incoming::Refused(message) | Incoming::TooLong(message) => Some(message),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn requests_are_read_line_by_line_and_the_last_needs_no_end() {
        let lines = b"{\"request\":\"status\"}\n{\"request\":\"explain\",\"case\":7}";

        assert_eq!(all(lines), ["Status", "Explain { case: 7 }"]);
    }

    #[test]
    fn a_trial_names_the_releases_that_it_is_of_and_a_swap_none() {
        let lines = b"{\"request\":\"swap\",\"engine\":\"yara\"}\n{\"request\":\"trial\",\
            \"engine\":\"yara\",\"releases\":[{\"part\":\"content\",\"version\":\"1.2.0\"}]}\n\
            {\"request\":\"trial\",\"engine\":\"yara\",\"releases\":[{\"part\":\"rules\"}]}\n";

        let said = all(lines);

        assert_eq!(said[0], "Swap { engine: yara }");
        let releases = "releases: [ReleaseName { part: Content, version: \"1.2.0\" }]";
        assert!(said[1].contains(releases), "{said:?}");
        assert!(said[2].starts_with("not a request this host knows: unknown variant"), "{said:?}");
    }

    #[test]
    fn after_a_line_that_is_no_request_the_next_is_read() {
        let said = all(b"status\n\n{\"request\":\"flush\"}\n");

        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("not a request this host knows: expected value"), "{said:?}");
        assert_eq!(said[2], "Flush");
    }

    #[test]
    fn a_request_may_be_as_long_as_the_limit_and_no_longer() {
        let request = "{\"request\":\"flush\"}";
        let longest = format!("{request:REQUEST_MAX$}\n");

        assert_eq!(all(longest.as_bytes()), ["Flush"]);
        let said = all(format!(" {longest}").as_bytes());
        assert_eq!(said[0], "request over the limit of 4096 bytes");
    }

    #[test]
    fn what_is_said_of_a_bad_request_is_short_and_moves_no_cursor() {
        let request = format!("{{\"request\":\"\\u001b[2J{}\"}}", "x".repeat(4000));

        let said = all(request.as_bytes());

        assert!(said[0].starts_with("not a request this host knows: unknown variant"), "{said:?}");
        assert!(said[0].len() < 500 && !said[0].contains(char::is_control), "{said:?}");
    }
}
