//! Failures that a retry cannot help: the broker refuses the connection or a subscription, or a certificate is not
//! trusted.

use rumqttc::{ConnectReturnCode, ConnectionError, SubscribeReasonCode};
use rustls::{AlertDescription, Error as TlsError};
use tracing::warn;

use super::address::BrokerAddress;
use super::options::Subscription;
use crate::error::{Error, cause};

/// The error, if the broker refused the connection (MQTT 3.1.1, section 3.2.2.3), or a certificate is not trusted.
pub(super) fn of(address: &BrokerAddress, error: &ConnectionError) -> Option<Error> {
    if let Some(detail) = cause(error).and_then(distrust) {
        return Some(Error::BrokerUntrusted { object: address.to_string(), detail });
    }
    let ConnectionError::ConnectionRefused(code) = error else { return None };
    let detail = match code {
        ConnectReturnCode::RefusedProtocolVersion => "MQTT 3.1.1 is not accepted (return code 1)",
        ConnectReturnCode::BadClientId => "the client identifier is not accepted (return code 2)",
        ConnectReturnCode::BadUserNamePassword => "bad user name or password (return code 4)",
        ConnectReturnCode::NotAuthorized => "not authorized (return code 5)",
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::Success => return None,
    };
    Some(Error::BrokerRefused { object: address.to_string(), detail: detail.into() })
}

/// Checks that the broker granted the required ones of `subscriptions` (MQTT 3.1.1, section 3.9.3), and warns about the
/// others.
///
/// # Errors
/// [`Error::BrokerRefused`] that lists the refused ones.
pub(super) fn of_subscriptions(
    address: &BrokerAddress,
    subscriptions: &[Subscription],
    codes: &[SubscribeReasonCode],
) -> Result<(), Error> {
    let (required, optional): (Vec<_>, Vec<_>) = subscriptions
        .iter()
        .zip(codes)
        .filter(|(_, code)| **code == SubscribeReasonCode::Failure)
        .map(|(subscription, _)| subscription)
        .partition(|subscription| subscription.is_required);
    let list = |refused: &[&Subscription]| {
        refused.iter().map(|subscription| &*subscription.filter).collect::<Vec<_>>().join(" and ")
    };
    if !required.is_empty() {
        let detail = format!("no permission to subscribe to {}", list(&required));
        return Err(Error::BrokerRefused { object: address.to_string(), detail });
    }
    if !optional.is_empty() {
        warn!(event = "subscription-refused", broker = %address, "no permission to subscribe to {}", list(&optional));
    }
    Ok(())
}

/// What is wrong with a certificate, if that is why the connection failed.
fn distrust(error: &TlsError) -> Option<String> {
    match error {
        TlsError::InvalidCertificate(reason) => Some(format!("its certificate is not trusted: {reason}")),
        TlsError::AlertReceived(
            alert @ (AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate),
        ) => Some(format!("it does not accept our certificate, or that we have none ({alert:?})")),
        _ => None,
    }
}
