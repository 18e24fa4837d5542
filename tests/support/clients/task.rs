//! A device's task that goes on while servers come and go.

use std::sync::Arc;

use propeller_proxy::device::Proplet;
use tokio::{sync::watch, task::JoinSet};

/// A task that has requested a module and waits for it; cancelled when dropped.
pub struct Task {
    app_name: String,
    /// The chunks that are there and all of them, once the broker has the request.
    progress: watch::Receiver<Option<(u64, u64)>>,
    request: JoinSet<Option<Vec<u8>>>,
}

impl Task {
    pub fn start(proplet: &Arc<Proplet>, app_name: &str) -> Self {
        let (sender, progress) = watch::channel(None);
        let mut request = JoinSet::new();
        let (proplet, name) = (Arc::clone(proplet), app_name.to_owned());
        request.spawn(async move {
            let tell = |chunks, total_chunks| {
                sender.send_replace(Some((chunks, total_chunks)));
            };
            proplet.request_with(&name, tell).await
        });
        Self { app_name: app_name.to_owned(), progress, request }
    }

    /// Waits until the broker has the request.
    pub async fn requested(&mut self) {
        self.has(0).await;
    }

    /// Waits until so many chunks are there.
    pub async fn has(&mut self, chunks: u64) {
        let reached = self.progress.wait_for(|progress| progress.is_some_and(|(there, _)| there >= chunks)).await;
        assert!(reached.is_ok(), "{} never had {chunks} chunks", self.app_name);
    }

    /// Returns the chunks that are there and all of them.
    pub fn progress(&self) -> (u64, u64) {
        self.progress.borrow().unwrap_or_default()
    }

    /// Waits for the module; `None` if it does not come in the time of a task.
    pub async fn module(&mut self) -> Option<Vec<u8>> {
        self.request.join_next().await.expect("a task has one end").expect("a task does not panic")
    }

    /// Returns the module if it is there by now.
    pub fn module_so_far(&mut self) -> Option<Vec<u8>> {
        self.request.try_join_next()?.expect("a task does not panic")
    }
}
