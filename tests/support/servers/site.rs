//! A broker with a daemon and a proplet: enough to request modules and to see the outcome of each request.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use propeller_proxy::device::Proplet;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::clients::daemon::{BINARY, Daemon, environment, owned};
use crate::support::clients::log;
use crate::support::clients::proplet::connect;
use crate::support::clients::task::Task;
use crate::support::faults::relay::Relay;
use crate::support::servers::mosquitto::Mosquitto;

/// A daemon that can be killed and started again on the same store and state. Its own proplet requests, as
/// [`Site::delivers`] and the like, for one module at a time.
pub struct Site {
    daemon: Daemon,
    proplet: Arc<Proplet>,
    relay: Option<Relay>,
    mosquitto: Mosquitto,
    variables: Vec<(&'static str, String)>,
    store: TempDir,
    state: TempDir,
}

impl Site {
    /// Starts a broker, and a daemon between it and the registry at `registry`, with further `variables`.
    pub async fn start(registry: &str, variables: &[(&'static str, &str)]) -> Self {
        Self::start_by(Command::new(BINARY), registry, variables).await
    }

    /// Starts a broker, and a daemon by a command that becomes it.
    pub async fn start_by(command: Command, registry: &str, variables: &[(&'static str, &str)]) -> Self {
        let mosquitto = Mosquitto::start().await;
        let address = mosquitto.address();
        Self::with(command, mosquitto, None, &address, registry, variables).await
    }

    /// Starts a broker, and a daemon with a relay before it that takes so many bytes a second from the daemon.
    pub async fn behind_relay(registry: &str, up: u32, variables: &[(&'static str, &str)]) -> Self {
        let mosquitto = Mosquitto::start().await;
        let relay = Relay::before(&mosquitto, up).await;
        Self::behind(relay, mosquitto, registry, variables).await
    }

    /// Starts a daemon between a relay before the broker and the registry at `registry`.
    pub async fn behind(
        relay: Relay,
        mosquitto: Mosquitto,
        registry: &str,
        variables: &[(&'static str, &str)],
    ) -> Self {
        let address = relay.host();
        Self::with(Command::new(BINARY), mosquitto, Some(relay), &address, registry, variables).await
    }

    async fn with(
        command: Command,
        mosquitto: Mosquitto,
        relay: Option<Relay>,
        broker: &str,
        registry: &str,
        variables: &[(&'static str, &str)],
    ) -> Self {
        let folder = || tempfile::tempdir().expect("a folder of the daemon");
        let (store, state) = (folder(), folder());
        let mut all = environment(broker, registry);
        all.push(("PROXY_CACHE_DIR", store.path().display().to_string()));
        all.push(("PROXY_STATE_DIR", state.path().display().to_string()));
        all.extend(owned(variables));
        let daemon = Daemon::spawn_by(command, &all);
        daemon.event("subscribed").await;
        let proplet = Arc::new(connect(&mosquitto).await);
        Self { daemon, proplet, relay, mosquitto, variables: all, store, state }
    }

    /// Kills the daemon with SIGKILL.
    pub async fn kill(&mut self) {
        self.daemon.signal("KILL").await;
        self.daemon.ended().await;
    }

    /// Ends the daemon with SIGTERM.
    pub async fn stop(&mut self) {
        self.daemon.signal("TERM").await;
        assert!(self.daemon.ended().await.success(), "{}", self.log());
    }

    /// Starts the daemon again after a kill, with `variables` over those that it had.
    pub async fn restart(&mut self, variables: &[(&'static str, &str)]) {
        self.variables.extend(owned(variables));
        self.daemon = Daemon::start(&self.variables).await;
    }

    /// Removes the state, while the daemon does not run.
    pub fn lose_state(&self) {
        fs::remove_dir_all(self.state()).expect("remove the folder of the state");
    }

    /// Starts a task on the site's proplet.
    pub fn task(&self, app_name: &str) -> Task {
        Task::start(&self.proplet, app_name)
    }

    /// Requests, and gets these bytes; returns when the daemon has done with the request.
    pub async fn delivers(&self, app_name: &str, module: &[u8]) {
        match self.request(app_name).await {
            Ok(assembled) => {
                let size = assembled.len();
                assert!(assembled == module, "{app_name} came as {size} other bytes\n{}", self.log());
            }
            Err(failure) => panic!("{app_name} failed: {failure}\n{}", self.log()),
        }
    }

    /// Requests, and gets nothing but this code in the log.
    pub async fn rejects(&self, app_name: &str, code: &str) {
        let heard = self.proplet.tally();
        let Err(failure) = self.request(app_name).await else { panic!("{app_name} was delivered\n{}", self.log()) };
        assert_eq!(failure["code"], code, "{app_name}: {failure}\n{}", self.log());
        // The broker's answer to this comes after everything that the daemon had published before.
        self.proplet.publish(Bytes::from_static(b"{}")).await;
        assert_eq!(self.proplet.tally(), heard, "{app_name} was answered\n{}", self.log());
    }

    /// Requests, and returns what arrived or the line of the failure.
    pub async fn request(&self, app_name: &str) -> Result<Vec<u8>, Value> {
        // Without that of the empty request.
        let failures =
            |log: &str| log::failures(log).filter(|failure| failure["code"] != "bad-request").collect::<Vec<_>>();
        let (delivered, failed) = (self.events("delivered").len(), failures(&self.log()).len());
        tokio::select! {
            module = self.proplet.request(app_name) => {
                let module = module.unwrap_or_else(|| panic!("{app_name} did not arrive\n{}", self.log()));
                self.daemon.nth_event("delivered", delivered + 1).await;
                Ok(module)
            }
            failure = self.daemon.finds("failure", |log| failures(log).into_iter().nth(failed)) => Err(failure),
        }
    }

    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub fn proplet(&self) -> &Proplet {
        &self.proplet
    }

    pub fn mosquitto(&self) -> &Mosquitto {
        &self.mosquitto
    }

    /// Returns the broker, to do something to it.
    pub fn mosquitto_mut(&mut self) -> &mut Mosquitto {
        &mut self.mosquitto
    }

    /// Returns the relay of a site that has one.
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("a relay before the broker")
    }

    /// Returns what the daemon has logged since its last start.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Returns the events of this name that the daemon has logged since its last start.
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.daemon.events(name)
    }

    /// Returns the folder of the store, unless the variables named another one.
    pub fn store(&self) -> &Path {
        self.store.path()
    }

    /// Returns the folder of the state, unless the variables named another one.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Returns a path in the folder of the store.
    pub fn in_store(&self, path: &str) -> PathBuf {
        self.store().join(path)
    }
}
