//! What the coordinator refuses, as an error.

use crate::delivery::rules::MAX_WATCHED;
use crate::delivery::rules::request::{Origin, Refusal};
use crate::delivery::rules::schedule::Limits;
use crate::delivery::rules::versions::MAX_APPS;
use crate::error::Error;
use crate::mqtt::topic::App;

/// The error of requests for `app` that are refused.
pub(super) fn error_of(refusal: Refusal, app: &App, limits: &Limits) -> Error {
    let app_name = app.name.to_string();
    let (limit, what) = match refusal {
        Refusal::OpenRequests => (limits.open_requests, "requests are open"),
        Refusal::Watched => (MAX_WATCHED, "requests wait for other replicas"),
        Refusal::TooManyApps => (MAX_APPS, "apps were sent lately"),
        Refusal::Repeats => return Error::OverBudget { app_name, limit: limits.repeats.unwrap_or(u64::MAX) },
        Refusal::TooLate(Origin::Disk) => {
            let reason = "it was open when the proxy ended, and the proxy was away for too long";
            return Error::TooLate { app_name, reason };
        }
        Refusal::TooLate(_) => {
            let reason = "it waited at the broker, and the proxy was away for too long";
            return Error::TooLate { app_name, reason };
        }
        Refusal::NoTotal => return Error::TagMoves { app_name },
        Refusal::ClaimLost => return Error::Unheard { app_name },
    };
    Error::Overloaded { app_name, limit, what }
}
