//! Why the coordinator rejects a request or gives up a transfer, as errors.

use crate::delivery::rules::MAX_WATCHED;
use crate::delivery::rules::action::{Fault, Rejection};
use crate::delivery::rules::request::Origin;
use crate::delivery::rules::schedule::{Excess, Limits};
use crate::delivery::rules::versions::{MAX_APPS, Unsafe};
use crate::error::Error;
use crate::mqtt::topic::App;

/// The error of a request that is rejected.
pub(super) fn of_rejection(app: &App, origin: Origin, rejection: Rejection, limits: &Limits) -> Error {
    let app_name = app.name.to_string();
    match rejection {
        Rejection::Excess(excess) => of_excess(app, excess, limits),
        Rejection::Watched => {
            Error::Overloaded { app_name, limit: MAX_WATCHED, what: "requests wait for other replicas" }
        }
        Rejection::TooLate => {
            let reason = if origin == Origin::Disk {
                "it was open when the proxy ended, and the proxy was away for too long"
            } else {
                "it waited at the broker, and the proxy was away for too long"
            };
            Error::TooLate { app_name, reason }
        }
    }
}

/// The error of a transfer that cannot be sent.
pub(super) fn of_fault(app: &App, fault: Fault, limits: &Limits) -> Error {
    let app_name = app.name.to_string();
    match fault {
        Fault::Excess(excess) => of_excess(app, excess, limits),
        Fault::Unsafe(Unsafe::NoTotal) => Error::TagMoves { app_name },
        Fault::Unsafe(Unsafe::TooManyApps) => {
            Error::Overloaded { app_name, limit: MAX_APPS, what: "apps were sent lately" }
        }
        Fault::ClaimLost => Error::Unheard { app_name },
    }
}

fn of_excess(app: &App, excess: Excess, limits: &Limits) -> Error {
    let app_name = app.name.to_string();
    match excess {
        Excess::Requests => Error::Overloaded { app_name, limit: limits.open_requests, what: "requests are open" },
        Excess::Repeats => Error::OverBudget { app_name, limit: limits.repeats },
    }
}
