//! The reference to a module.

use reqwest::Url;

use super::text::{check_error, check_text};
use crate::oci::host::RegistryUrl;
use crate::oci::name::{is_repository, is_tag};
use crate::oci::reference::{MAX_REFERENCE_SIZE, Reference, Version};
use crate::util::authority::split_authority;

/// Registries that short names resolve against.
const DEFAULTS: [&str; 4] = ["localhost:5000", "ghcr.io/acme", "docker.io", "http://[::1]:80"];

/// A reference keeps to the grammar of its parts, means one URL, and displays as what is parsed to the same reference.
pub fn reference(data: &[u8]) {
    let Ok(app_name) = str::from_utf8(data) else { return };
    for default in DEFAULTS {
        check(app_name, &default.parse().expect("an address of a registry"));
    }
}

fn check(app_name: &str, default: &RegistryUrl) {
    let parsed = match Reference::parse(app_name, default) {
        Ok(parsed) => parsed,
        Err(error) => return check_error(&error),
    };
    let Reference { registry, repository, version, selector } = &parsed;
    assert!(app_name.len() <= MAX_REFERENCE_SIZE);
    assert!(is_repository(repository), "{repository:?}");
    let version = match version {
        Version::Tag(tag) => {
            assert!(is_tag(tag), "{tag:?}");
            tag.clone()
        }
        Version::Digest(digest) => digest.to_string(),
    };
    check_text(selector.as_deref().unwrap_or_default(), MAX_REFERENCE_SIZE);

    // No part of it is another part of the URL.
    let (host, port) = split_authority(registry).expect("a host and port");
    let path = format!("/v2/{repository}/manifests/{version}");
    let url = Url::parse(&format!("http://{registry}{path}")).expect("a URL");
    assert_eq!((url.host_str(), url.port_or_known_default()), (Some(host), Some(port.unwrap_or(80))), "{registry:?}");
    assert_eq!((url.path(), url.query(), url.fragment(), url.username()), (&*path, None, None, ""));

    let shown = parsed.to_string();
    // What was short may be too long in full, and a name like `registry` is a host by the settings or by its port only.
    if shown.len() <= MAX_REFERENCE_SIZE && Reference::named_host(&shown) == Some(registry) {
        let again = Reference::parse(&shown, default);
        assert_eq!(again.ok().as_ref(), Some(&parsed), "{shown:?}");
    }
}
