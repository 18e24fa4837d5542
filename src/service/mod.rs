//! The service: it takes requests from its channels and delivers modules.
//!
//! [`Service`] is the handle for the program around it, and [`Task`] is what runs. `pipeline` is the path of a module in
//! reading order; `inbox` is what the broker sends; `readiness` says how the proxy is. It knows every domain below
//! it. It must never know a command line, an HTTP endpoint or Python.

mod connections;
mod delivery;
mod drive;
mod fetch;
mod handle;
mod inbox;
mod options;
mod pipeline;
mod presences;
mod readiness;
mod refusal;
mod shares;
mod task;

pub use self::handle::Service;
pub use self::options::ServiceOptions;
pub use self::readiness::{Check, Checked};
pub use self::task::Task;
