//! The options of each domain, made of its settings.
//!
//! A new setting is a row of the table, a field of the domain's options, and the line here that puts the one into the other.

mod broker;
mod delivery;
mod folders;
mod registry;
mod service;
