//! What is asked of a reference, and for how long: a refusal answers the same question for a while.

use std::pin::pin;
use std::time::{Duration, Instant};

use super::{Pull, Puller};
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;

/// How long a refusal is remembered: who asks again meanwhile is refused without asking the registry.
const REFUSAL_TTL: Duration = Duration::from_secs(10);

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Meaning,
    Module,
    Inspection,
}

impl Question {
    pub(super) const ALL: [Self; 3] = [Self::Meaning, Self::Module, Self::Inspection];
}

impl Pull<'_> {
    /// Does the work in its time, unless it was refused lately.
    pub(super) async fn answer<T>(
        &self,
        question: Question,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Puller { refusals, config, .. } = self.puller;
        let name = (question, self.reference.to_string(), Digest::of(&self.repository.identity()));
        if let Some(refusal) = refusals.get(&name) {
            return Err(refusal);
        }
        let mut work = pin!(work);
        let answer = within(config.fetch_timeout, self.reference, "finding and fetching", work.as_mut()).await;
        // If it is not done now, it ends for want of an answer.
        self.repository.be_late();
        if let Err(error) = &answer
            && !error.retryable()
        {
            refusals.insert(name, error.clone(), Instant::now() + REFUSAL_TTL);
        }
        answer
    }
}

/// Ends what takes too long.
pub(super) async fn within<T>(
    limit: Duration,
    reference: &Reference,
    what: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let detail = format!("{what} it took longer than {} s (PROXY_FETCH_TIMEOUT)", limit.as_secs_f64());
        Err(Error::RegistryUnreachable { object: reference.to_string(), detail })
    })
}
