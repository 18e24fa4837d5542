//! The command line as people meet it.

mod check;
mod help;
mod interrupts;
mod modules;
mod transfers;
