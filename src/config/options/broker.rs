//! How to reach the broker, and on which channels.

use std::sync::Arc;

use rustls::RootCertStore;

use crate::config::load::FromSettings;
use crate::config::reader::Reader;
use crate::config::setting::{Part, Setting, Typed};
use crate::config::table::{
    CHANNEL_ID, CLIENT_ID, CLIENT_KEY, DOMAIN_ID, MQTT_ADDRESS, MQTT_QOS, MQTT_TIMEOUT, MQTT_TLS_CA_CERT,
    MQTT_TLS_CLIENT_CERT, MQTT_TLS_CLIENT_KEY, MQTT_TLS_INSECURE_SKIP_VERIFY,
};
use crate::config::values::pem::{self, Certificates, PrivateKey};
use crate::mqtt::topic::Channels;
use crate::mqtt::{BrokerOptions, Login, TlsOptions};
use crate::read_fields;
use crate::tls::{self, ClientIdentity};

impl FromSettings for BrokerOptions {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Broker
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self {
            address: reader.required(&MQTT_ADDRESS),
            timeout: reader.required(&MQTT_TIMEOUT),
            qos: reader.required(&MQTT_QOS),
            login: Some(login(reader)),
            tls: read_fields!(TlsOptions {
                ca_certificates: reader.or_default(&MQTT_TLS_CA_CERT),
                client_identity: Some(identity(reader, &MQTT_TLS_CLIENT_CERT, &MQTT_TLS_CLIENT_KEY)),
                skip_verify: reader.required(&MQTT_TLS_INSECURE_SKIP_VERIFY),
            }),
        })
    }
}

impl FromSettings for Channels {
    fn uses(setting: &Setting) -> bool {
        setting.part == Part::Channels
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        read_fields!(Self { domain: reader.required(&DOMAIN_ID), ids: reader.required(&CHANNEL_ID) })
    }
}

fn login(reader: &mut Reader<'_>) -> Option<Login> {
    reader.pair(&CLIENT_ID, &CLIENT_KEY);
    let username = reader.optional(&CLIENT_ID).flatten();
    let password = reader.optional(&CLIENT_KEY).flatten();
    username.zip(password).map(|(username, password)| Login { username, password })
}

/// A client certificate that is valid now, and its key.
pub(super) fn identity(
    reader: &mut Reader<'_>,
    certificate: &'static Typed<Certificates>,
    key: &'static Typed<PrivateKey>,
) -> Option<ClientIdentity> {
    reader.pair(certificate, key);
    let chain = reader.optional(certificate).flatten();
    let private_key = reader.optional(key).flatten();
    if let Some(given) = chain.as_ref().and_then(|chain| pem::out_of_date(chain)) {
        reader.reject(&certificate.setting, given, "one that is valid now".into());
    }
    let identity = chain.zip(private_key).map(|(chain, key)| ClientIdentity { chain, key });
    let roots = Arc::new(RootCertStore::empty());
    if identity.is_some() && tls::client_config(roots, &[], identity.as_ref()).is_err() {
        let given = format!("not the key of {}", certificate.setting.name);
        reader.reject(&key.setting, given, key.setting.accepts.into());
    }
    identity
}
