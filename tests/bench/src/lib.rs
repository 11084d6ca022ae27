//! What the measuring programs have in common: the report.
//!
//! Threat position: none. Run by developers and never by the product.

pub mod report;
