//! Docker's configuration file.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::text::check_text;
use crate::oci::options::Credentials;
use crate::oci::registry::DockerConfig;
use crate::oci::registry::docker::CredentialSource;

const CANARY: &str = "Canary0fASecret";
/// The fields of an entry that are secrets, beside `auth`.
const SECRETS: [&str; 3] = ["password", "identitytoken", "registrytoken"];
/// Characters of the name of a registry and the sentence around it; both its quotes and its backslashes are escaped.
const MAX_MESSAGE: usize = 500;
const REPOSITORIES: [(&str, &str); 4] =
    [("docker.io", "library/add"), ("r.example", "team/add"), ("r.example", "add"), ("localhost:5000", "")];

/// Neither errors nor what is printed of a configuration show a secret of it, and one file always means the same.
pub fn docker_config(data: &[u8]) {
    check(data);
    if let Ok(mut config) = serde_json::from_slice::<Value>(data) {
        for entry in
            config.get_mut("auths").and_then(Value::as_object_mut).into_iter().flat_map(|auths| auths.values_mut())
        {
            plant(entry);
        }
        let shown = check(config.to_string().as_bytes());
        let has_canary = contains_canary(&String::from_utf8_lossy(data));
        assert!(has_canary || !contains_canary(&shown), "{shown}");
    }
}

/// Returns whatever is shown of the configuration.
fn check(json: &[u8]) -> String {
    let config = match DockerConfig::parse(json) {
        Ok(config) => config,
        Err(message) => {
            check_text(&message, MAX_MESSAGE);
            return message;
        }
    };
    let again = DockerConfig::parse(json).expect("it was parsed before");
    let mut shown = vec![format!("{config:?}")];
    for (host, repository) in REPOSITORIES {
        let found = config.find(host, repository);
        assert_eq!(meaning(&found), meaning(&again.find(host, repository)), "for {host}/{repository}");
        shown.push(format!("{found:?}"));
    }
    shown.concat()
}

/// The source and its secret.
fn meaning(source: &CredentialSource) -> String {
    match source {
        CredentialSource::Helper { helper, server } => format!("helper {helper} {server}"),
        CredentialSource::File(Credentials::Anonymous) => "anonymous".into(),
        CredentialSource::File(Credentials::Basic { username, password }) => {
            format!("basic {username} {}", password.expose_secret())
        }
        CredentialSource::File(Credentials::Token(token)) => format!("token {}", token.expose_secret()),
        CredentialSource::File(Credentials::Identity(token)) => format!("identity {}", token.expose_secret()),
    }
}

/// Puts the canary into each secret of an entry. What was base64 stays so.
fn plant(entry: &mut Value) {
    for name in SECRETS {
        if let Some(Value::String(secret)) = entry.get_mut(name) {
            secret.insert_str(0, CANARY);
        }
    }
    if let Some(Value::String(auth)) = entry.get_mut("auth") {
        match base64_simd::STANDARD.decode_to_vec(&*auth) {
            Ok(login) => {
                *auth = base64_simd::STANDARD.encode_to_string([&login, CANARY.as_bytes()].concat());
            }
            Err(_) => auth.insert_str(0, CANARY),
        }
    }
}

fn contains_canary(text: &str) -> bool {
    text.contains(CANARY)
}
