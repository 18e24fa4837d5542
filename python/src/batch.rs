//! Many deliveries as one [`Job`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::failure::Failure;
use crate::job::{Job, Reply};

enum Outcome {
    Delivered(Reply),
    Failed(Failure),
    TimedOut,
}

/// Starts a job that calls `deliver` for every name, `concurrency` at once, at least 1; each may take `timeout`.
///
/// Its result is a list in the order of the names: what the reply makes, the exception, or `None` after the timeout. Its
/// progress counts the deliveries that have ended. If the job is cancelled, so are the deliveries that have not.
pub(crate) fn start<D>(
    names: Vec<Result<String, Failure>>,
    concurrency: usize,
    timeout: Option<Duration>,
    deliver: impl Fn(String) -> D + Send + Sync + 'static,
) -> Result<Job, Failure>
where
    D: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    let (ended, total) = (Arc::<AtomicU64>::default(), names.len() as u64);
    let counted = Arc::clone(&ended);
    Job::start_with_progress(move || (counted.load(Ordering::Relaxed), total), async move {
        let deliveries = names.into_iter().enumerate().map(|(index, name)| {
            let (delivery, ended) = (name.map(&deliver), Arc::clone(&ended));
            async move {
                let outcome = match delivery {
                    Ok(delivery) => within(timeout, delivery).await,
                    Err(failure) => Outcome::Failed(failure),
                };
                ended.fetch_add(1, Ordering::Relaxed);
                (index, outcome)
            }
        });
        let mut outcomes: Vec<_> = stream::iter(deliveries).buffer_unordered(concurrency).collect().await;
        outcomes.sort_unstable_by_key(|(index, _)| *index);
        Ok(Box::new(move |py: Python<'_>| list(py, outcomes)) as Reply)
    })
}

/// Waits for `delivery`, and drops it after `timeout`.
async fn within(timeout: Option<Duration>, delivery: impl Future<Output = Result<Reply, Failure>>) -> Outcome {
    let result = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, delivery).await,
        None => Ok(delivery.await),
    };
    match result {
        Ok(Ok(reply)) => Outcome::Delivered(reply),
        Ok(Err(failure)) => Outcome::Failed(failure),
        Err(_) => Outcome::TimedOut,
    }
}

fn list(py: Python<'_>, outcomes: Vec<(usize, Outcome)>) -> PyResult<Py<PyAny>> {
    let list = PyList::empty(py);
    for (_, outcome) in outcomes {
        match outcome {
            Outcome::Delivered(reply) => list.append(reply(py)?)?,
            Outcome::Failed(failure) => list.append(PyErr::from(failure).into_value(py))?,
            Outcome::TimedOut => list.append(py.None())?,
        }
    }
    Ok(list.into_any().unbind())
}
