//! Inputs that the parsers accept, from which others are made.

use serde_json::json;

use super::archives;
use crate::delivery::plan::ChunkPlan;
use crate::mqtt::status::{DeliveryState, Failure, Presence, Status};
use crate::oci::artifact::{Artifact, Shape};
use crate::oci::digest::Digest;
use crate::util::clock::Time;
use crate::util::json;

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "archive" => archives::seeds(),
        "challenge" => texts(&CHALLENGES),
        "docker_config" => texts(&DOCKER_CONFIGS),
        "manifest" => manifests(),
        "reference" => texts(&REFERENCES),
        "request" => texts(&REQUESTS),
        "state_record" => records(),
        "status_message" => messages(),
        _ => Vec::new(),
    }
}

const CHALLENGES: [&str; 6] = [
    r#"Bearer realm="https://r.example/token",service="r.example",scope="repository:team/add:pull""#,
    r#"bearer realm="https://user:word@r.example:443/token?a=b#c", error="invalid_token""#,
    "Basic realm=\"registry\"\nBearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"",
    r#"Basic realm="a \"quoted\" realm", Bearer realm="http://r.example/\"",scope="a b c""#,
    "Negotiate dG9rZW4=",
    r#"Bearer realm="https://[::1]:5000/token", service=plain, scope="""#,
];

const DOCKER_CONFIGS: [&str; 4] = [
    r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YWRhOjE4MTU="},"r.example":{"username":"all","password":"pass"}}}"#,
    r#"{"auths":{"r.example/team":{"identitytoken":"token"},"https://r.example/team/":{"auth":"PHRva2VuPjpp"}},"credsStore":"store"}"#,
    r#"{"auths":{"localhost:5000":{"registrytoken":"token","auth":""},"r.example:443":{}},"credHelpers":{"r.example":"one","https://r.example/":"two"}}"#,
    r#"{"HttpHeaders":{"User-Agent":"docker"},"credHelpers":{"docker.io":"desktop"},"auths":{"r.example":{"auth":"not base64"}}}"#,
];

const REFERENCES: [&str; 12] = [
    "add",
    "add:1.0",
    "acme/add.wasm",
    "oci://ghcr.io/acme/add:v1",
    "docker.io/add",
    "INDEX.docker.io/mrstevenyaga/add.wasm:latest",
    "[::1]:5000/add",
    "localhost:05000/a__b/c---d",
    "ghcr.io.:0443/add#dir/add.wasm",
    "localhost:5000/add:1.0@sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476",
    "127.0.0.1/add@sha256:93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476#sha256:93a4",
    "xn--bcher-kva.example:65535/add",
];

const REQUESTS: [&str; 4] = [
    r#"{"app_name":"localhost:5000/add:1.0"}"#,
    r#"{"app_name":"a\u00e9\"b\\\u0000","task":7,"app":{"a":[1,2,{}]}}"#,
    r#"{"app_name":"add","app_name":"twice"}"#,
    r#"["app_name"]"#,
];

fn manifests() -> Vec<Vec<u8>> {
    let digest = |number: u64| format!("sha256:{number:064x}");
    let entry = |number: u64, media_type: &str, title: &str| {
        json!({"mediaType": media_type, "digest": digest(number), "size": number + 1,
               "annotations": {"org.opencontainers.image.title": title}})
    };
    let platform = |os: &str, architecture: &str, number: u64| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(number), "size": 7,
               "platform": {"os": os, "architecture": architecture}})
    };
    let image = "application/vnd.oci.image.config.v1+json";
    let others = [
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "annotations": {"a": "b"},
               "manifests": [platform("linux", "amd64", 1), platform("wasi", "wasm", 2), platform("unknown", "unknown", 3)]}),
        json!({"schemaVersion": 2, "config": entry(9, image, ""), "annotations": {"module.wasm.image/variant": "compat"},
               "layers": [entry(1, "application/vnd.oci.image.layer.v1.tar+gzip", ""), entry(2, "application/vnd.oci.image.layer.v1.tar", "add.wasm")]}),
        json!({"config": null, "layers": [entry(1, "application/wasm", "add.wasm"), entry(2, "application/wasm", "b.wasm")]}),
        json!({"layers": [entry(1, "text/plain", "readme"), entry(2, "application/octet-stream", "add.wasm")]}),
        json!({"config": {"Entrypoint": ["wasmtime", "/add.wasm"], "Cmd": ["--help"]}, "layers": [entry(1, "a+encrypted", "")]}),
    ];
    let packed =
        Shape::ALL.map(|shape| Artifact::pack(&b"\0asm\x01\0\0\0"[..], shape, "add.wasm").manifest.bytes.to_vec());
    packed.into_iter().chain(others.map(|manifest| manifest.to_string().into_bytes())).collect()
}

fn messages() -> Vec<Vec<u8>> {
    let digest = Some(Digest::of(b"module"));
    let status = |state, instance: &str, size, total_chunks, code: Option<&str>| {
        json(&Status {
            app_name: "add".into(),
            state,
            digest: digest.filter(|_| size > 0),
            size: Some(size),
            chunk_size: Some(10),
            total_chunks: Some(total_chunks),
            sent_chunks: 1,
            error: code.map(|code| Failure { code: code.into(), message: "no".into() }),
            instance: instance.into(),
            time: Time::default().to_string(),
        })
    };
    let claimed = status(DeliveryState::Fetching, "two", 25, 3, None);
    let objected = status(DeliveryState::Objected, "two", 1000, 100, None);
    let own = status(DeliveryState::Fetching, "one", 1000, 100, None);
    let failed = status(DeliveryState::Failed, "two", 0, 1, Some("stopping"));
    let sent = status(DeliveryState::Sent, "two", 25, 25, None);
    let present = Presence::message(true, Time::default(), Some("group".into()));
    vec![[claimed.clone(), objected, own].join(&b'\n'), [present.clone(), sent, failed].join(&b'\n'), claimed, present]
}

fn records() -> Vec<Vec<u8>> {
    let app = json!({"channel": {"domain": "d", "id": "c"}, "layout": "plain", "name": "add"});
    let plan = ChunkPlan::new(25, std::num::NonZeroU32::MIN);
    let digest = Digest::of(b"module");
    let version = |open: serde_json::Value| {
        json!({"version": {"root": digest, "digest": digest, "plan": plan}, "since": 1_789_999_999_000_u64,
               "last": 1_789_999_999_500_u64, "is_open": open})
    };
    let old = json!({"version": {"root": null, "digest": digest, "plan": {"size": 25, "chunk_size": 10, "total_chunks": 7}},
                     "since": 7, "last": 8, "open": 2});
    vec![
        json!({"app": app, "arrived": 1_790_000_000_000_u64}).to_string().into_bytes(),
        format!("{app}\n{}", json!([version(false.into()), version(true.into())])).into_bytes(),
        format!("{app}\n{}", json!([old])).into_bytes(),
    ]
}
