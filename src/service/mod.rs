//! The service: it takes requests from its channels and delivers modules.
//!
//! [`Service`] is the handle for the program around it, and [`Task`] is what runs. `pipeline` is the path of a module in
//! reading order; `inbox` is what the broker sends; `presence` and `readiness` say how the proxy is. It knows every
//! domain below it. It must never know a command line, an HTTP endpoint or Python.

mod call;
mod delivery;
mod drive;
mod faults;
mod fetch;
mod handle;
mod inbox;
mod options;
mod pipeline;
mod presence;
mod readiness;
mod shared;
mod task;

pub use self::handle::Service;
pub use self::options::ServiceOptions;
pub use self::readiness::Checked;
pub use self::task::Task;
