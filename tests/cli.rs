//! The command line as people meet it.

mod check;
mod deliveries;
mod help;
mod interrupts;
mod modules;
mod transfers;
