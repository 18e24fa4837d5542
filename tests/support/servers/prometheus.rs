//! Prometheus, scraping one daemon.

use std::{fs, path::Path, process::Stdio, time::Duration};

use reqwest::Url;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};

use crate::support::clients::push::client;
use crate::support::servers::process::{self, Process};

/// Longest wait for the answer to a query.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Prometheus on 127.0.0.1, killed when dropped.
pub struct Prometheus {
    _process: Process,
    port: u16,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it; it scrapes `target`, a base URL, each second.
    pub async fn scraping(target: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory for Prometheus");
        let (path, target) = (directory.path(), target.trim_start_matches("http://"));
        // Every JSON text is YAML.
        let config = json!({
            "global": { "scrape_interval": "1s" },
            "scrape_configs": [{ "job_name": "propeller-proxy", "static_configs": [{ "targets": [target] }] }],
        });
        fs::write(path.join("prometheus.yml"), config.to_string()).expect("write the configuration");
        let start = |port: u16| {
            let mut command = process::command("prometheus");
            command.arg(format!("--config.file={}", path.join("prometheus.yml").display()));
            command.arg(format!("--storage.tsdb.path={}", path.join("data").display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command
        };
        let ready = "Server is ready to receive web requests";
        let (process, port) = Process::on_free_port(start, &path.join("prometheus.log"), ready).await;
        Self { _process: process, port, _directory: directory }
    }

    /// Returns what a query results in now.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let url = Url::parse_with_params(&url, [("query", query)]).expect("a URL");
        let answer = client(None).get(url).send().await.expect("an answer").bytes().await.expect("all of it");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().expect("a vector").clone()
    }

    /// Waits until a query results in something.
    pub async fn has(&self, query: &str) {
        let found = async {
            while self.query(query).await.is_empty() {
                sleep(POLL).await;
            }
        };
        assert!(timeout(DEADLINE, found).await.is_ok(), "nothing came of {query}");
    }
}

/// Runs promtool with `arguments` in `folder`, gives it `input`, and sees that it finds nothing to object to.
pub async fn promtool(folder: &Path, arguments: &[&str], input: &str) {
    let mut command = process::command("promtool");
    command.current_dir(folder).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("run promtool");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).await.expect("give it its input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("its end");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
}
