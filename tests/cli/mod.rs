//! The command line: output, exit status, help, signals.

mod check;
mod deliveries;
mod demo;
mod help;
mod interrupts;
mod modules;
mod transfers;
