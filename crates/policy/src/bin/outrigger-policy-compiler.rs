//! `outrigger-policy-compiler`: reads policies on standard input and writes rules on standard output.
//!
//! The host starts it confined, without files, network and the right to start anything, and writes it one
//! frame ([`Question::frame`](outrigger_decision::rules::reading::Question::frame)); it writes one
//! [`Answer`] and ends. It needs neither arguments nor the environment, and opens nothing.
//!
//! Exit status: 0 if it answered, be it a refusal; 1 if the frame is none; that of a panic (101, or a signal)
//! if reading broke, which the host takes for a refusal of all that it asked about.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::process::ExitCode;

use outrigger_decision::rules::reading::{ANSWER_MAX, Answer, PolicyError, QUESTION_MAX, Question};

fn main() -> ExitCode {
    match run(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even the error stream is closed.
            let _ = writeln!(io::stderr(), "outrigger-policy-compiler: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(input: &mut impl Read, output: &mut impl Write) -> io::Result<()> {
    let mut prefix = [0; 4];
    input.read_exact(&mut prefix)?;
    let length = u32::from_le_bytes(prefix) as usize;
    if length > QUESTION_MAX {
        let what = format!("a question of {length} bytes, over the limit of {QUESTION_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    let question = Question::parse(&body)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut answer = outrigger_policy::answer(question).to_json();
    if answer.len() > ANSWER_MAX {
        let what = "the rules take more room than there is for them";
        let error = PolicyError::of_file("", what).limit(format!("{ANSWER_MAX} bytes in all"));
        answer = Answer::Refused { errors: vec![error] }.to_json();
    }
    output.write_all(&answer)?;
    output.flush()
}
