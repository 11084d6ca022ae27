//! What the measuring programs have in common: the report, and the eight openers.
//!
//! Threat position: none. Run by developers and never by the product.

pub mod rate;
pub mod report;
