//! Pages of the documentation that are written from the code.

pub mod cli;
pub mod configuration;
