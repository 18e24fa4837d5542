//! The hint of each error: what its reader can do.

use super::{Error, Refusal};

impl Error {
    /// What the reader of the error can do, if there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::BadRequest { .. } => r#"a request is the JSON object {"app_name": "<OCI reference>"}"#,
            Self::NotServed { .. } => "PROXY_DOMAIN_ID and PROXY_CHANNEL_ID name the channels that it serves",
            Self::BadReference { .. } => "a reference is [oci://][host[:port]/]repository[:tag][@sha256:digest][#path]",
            Self::Denied { refusal, .. } => match refusal {
                Refusal::Registry => "PROXY_REGISTRY_ALLOW lists what requests may name beside PROXY_REGISTRY_URL",
                Refusal::Address => "list its host and port in PROXY_REGISTRY_ALLOW if the proxy may reach it",
                Refusal::TokenService => {
                    "list the pair in PROXY_REGISTRY_TOKEN_SERVICES if this service is to be trusted"
                }
                Refusal::Downgrade => {
                    "only a registry that PROXY_REGISTRY_URL or PROXY_REGISTRY_ALLOW names with http:// may lead to http"
                }
            },
            Self::Overloaded { .. } => {
                "ask again when some transfers are done; PROXY_MAX_REQUESTS is the bound on requests"
            }
            Self::OverBudget { .. } => "ask again in a few minutes, or raise PROXY_MAX_REPEATS",
            Self::TooLate { .. } => "ask again: the proxy was away for longer than a device waits",
            Self::Unheard { .. } => {
                "let the proxy subscribe and publish to …/registry/status, or leave PROXY_SHARE_GROUP out"
            }
            Self::TagMoves { .. } => "ask again in a few minutes, or by digest",
            Self::UnknownImage { .. } => {
                "check the repository and the tag; some registries also say this for private ones"
            }
            Self::Unauthorized { .. } => {
                "set PROXY_AUTHENTICATE=true and PROXY_REGISTRY_USERNAME with PROXY_REGISTRY_PASSWORD, or PROXY_REGISTRY_AUTH_FILE"
            }
            Self::Credentials { .. } => {
                "check PROXY_REGISTRY_AUTH_FILE or DOCKER_CONFIG, and the helpers that it names"
            }
            Self::NotCached { .. } => "PROXY_PULL_POLICY=never serves only what was fetched before",
            Self::Unsigned { .. } => "sign it by cosign with the private key that belongs to PROXY_VERIFY_KEY",
            Self::BadSignature { .. } => "PROXY_VERIFY_KEY has the keys of which one must have signed this digest",
            Self::TooLarge { .. } => "PROXY_MAX_MODULE_SIZE bounds modules; manifests and tokens have fixed bounds",
            Self::RegistryUnreachable { .. } => {
                "check the host, PROXY_REGISTRY_CA_CERT if its authority is private, and http:// before it if it has no TLS"
            }
            Self::Ambiguous { .. } => {
                "name one: #title or #path after the reference, or a manifest of an index by its digest"
            }
            Self::SizeMismatch { .. } | Self::DigestMismatch { .. } => {
                "the registry's copy is damaged or was tampered with"
            }
            Self::NotWasm { .. } => "push the output of the compiler, not an archive or source",
            Self::Disk { .. } if self.is_of_busy_folder() => {
                "let that proxy or `deliver` send it, on its broker and channel; stop it; or name another folder by PROXY_STATE_DIR"
            }
            Self::Disk { .. } => {
                "check the free space and permissions of the folder; PROXY_CACHE_DIR and PROXY_STATE_DIR name others"
            }
            Self::BrokerUnreachable { .. } => "check that it runs, its address, and whether it wants TLS (mqtts://)",
            Self::BrokerRefused { .. } => {
                "check PROXY_CLIENT_ID and PROXY_CLIENT_KEY, and what the broker permits them on this channel"
            }
            Self::BrokerUntrusted { .. } => {
                "check PROXY_MQTT_TLS_CA_CERT, that the broker's certificate is valid and for this host name, and \
                 PROXY_MQTT_TLS_CLIENT_CERT if it wants one"
            }
            Self::Timeout { total_chunks: 0, .. } => {
                "check that a proxy serves this channel, and that its broker and topic layout are the same"
            }
            Self::Unanswered { .. } => {
                "the broker must permit these credentials to publish requests on this channel and to read its status; many \
                 brokers drop in silence what they do not permit"
            }
            Self::RegistryAnswer { .. }
            | Self::Unsupported { .. }
            | Self::Setup { .. }
            | Self::Stopping { .. }
            | Self::Withdrawn { .. }
            | Self::GivenWay { .. }
            | Self::Timeout { .. }
            | Self::Irregular { .. }
            | Self::Reported { .. } => return None,
        })
    }
}
