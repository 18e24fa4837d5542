//! Credential helpers, as docker and podman run them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{path, write};

/// A helper, `docker-credential-tests`, on a path of its own. It notes its process, argument and input.
pub struct Helper {
    folder: TempDir,
    /// The value of `PATH` with which it is found.
    pub path: String,
}

impl Helper {
    /// Makes a helper that goes on with these lines of shell.
    pub fn new(lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("#!/bin/sh\necho \"$1 $(cat)\" >> \"$0.asked\"\necho $$ > \"$0.id\"\n{lines}\n");
        let program = write(folder.path(), "docker-credential-tests", &script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("make the helper executable");
        let path = format!("{}:/usr/bin:/bin", path(folder.path()));
        Self { folder, path }
    }

    /// Makes a helper that gives one answer.
    pub fn answering(username: &str, secret: &str) -> Self {
        let answer = json!({ "ServerURL": "https://registry.example", "Username": username, "Secret": secret });
        Self::new(&format!("echo '{answer}'"))
    }

    /// Writes a docker configuration file beside it, and returns its path.
    pub fn config(&self, text: &str) -> String {
        write(self.folder.path(), "config.json", text)
    }

    /// Writes one that names it for every registry.
    pub fn config_for_all(&self) -> String {
        self.config(r#"{"credsStore":"tests"}"#)
    }

    /// Returns a line for each time that it ran: its argument and its input.
    pub fn requests(&self) -> String {
        self.noted("asked")
    }

    /// Returns the id of its last process.
    pub fn id(&self) -> String {
        self.noted("id").trim().to_owned()
    }

    fn noted(&self, what: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("docker-credential-tests.{what}"))).unwrap_or_default()
    }
}
