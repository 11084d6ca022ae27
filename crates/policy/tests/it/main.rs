//! What reading policies promises: the rules that it makes decide as Cedar does, what is no rule is refused
//! with its place, and the program that does it survives what it is given.

mod compiler;
mod examples;
mod oracle;
mod refusals;
mod shipped;
mod subset;
