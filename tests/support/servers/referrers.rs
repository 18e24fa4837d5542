//! A registry that lists what refers to a manifest, as those of version 1.1 of the distribution specification do.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::support::clients::artifacts::Artifact;
use crate::support::clients::push::Pusher;
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::front::Front;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry with the API of referrers before it.
pub struct ReferrersRegistry {
    host: String,
    registry: DockerRegistry,
    _front: JoinSet<()>,
}

impl ReferrersRegistry {
    /// Starts a registry for everyone.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the front");
        let host = listener.local_addr().expect("the front's address").to_string();
        let registry = DockerRegistry::start().await;
        let router = Router::new().fallback(answer).with_state(Arc::new(Front::before(&registry)));
        let mut front = JoinSet::new();
        front.spawn(async { axum::serve(listener, router).await.expect("serve the registry") });
        Self { host, registry, _front: front }
    }

    /// Returns `127.0.0.1:PORT`, as in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns someone who may push here.
    pub fn pusher(&self) -> &Pusher {
        self.registry.pusher()
    }

    /// Returns the tag under which the list of what refers to `subject` is kept; clients do not know it.
    pub fn tag_of_list(subject: &Artifact) -> String {
        subject.digest().replace("sha256:", LISTED)
    }
}

const LISTED: &str = "listed-";

async fn answer(State(front): State<Arc<Front>>, mut request: Request) -> Response {
    let path = request.uri().path();
    if !path.contains("/referrers/sha256:") {
        return front.forward(request).await;
    }
    let path = path.replace("/referrers/sha256:", &format!("/manifests/{LISTED}"));
    *request.uri_mut() = path.parse().expect("a path");
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(INDEX));
    let answer = front.forward(request).await;
    if answer.status() == StatusCode::NOT_FOUND {
        let nothing = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
        return ([(CONTENT_TYPE, INDEX)], nothing).into_response();
    }
    answer
}
