//! A reverse proxy before a registry.

use axum::{
    body::Body,
    extract::Request,
    http::{self, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use reqwest::Client;

use crate::support::clients::push;
use crate::support::servers::docker_registry::DockerRegistry;

/// The way to the registry behind.
pub struct Front {
    url: String,
    client: Client,
}

impl Front {
    pub fn before(registry: &DockerRegistry) -> Self {
        Self { url: registry.url(), client: push::client(None) }
    }

    /// Hands a request to the registry behind, under the host name that the client used.
    pub async fn forward(&self, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        parts.uri = format!("{}{}", self.url, parts.uri).parse::<Uri>().expect("a URL of the registry");
        let body = reqwest::Body::wrap_stream(body.into_data_stream());
        let request = http::Request::from_parts(parts, body).try_into().expect("a request for the registry");
        match self.client.execute(request).await {
            Ok(response) => http::Response::from(response).map(Body::new),
            Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }
}
