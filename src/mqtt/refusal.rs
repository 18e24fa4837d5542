//! Whether a connection failed for a reason that waiting does not mend.

use rumqttc::{ConnectReturnCode, ConnectionError};
use rustls::{AlertDescription, Error as TlsError};

use crate::error::{Error, cause};
use crate::mqtt::BrokerAddress;

/// The error, if the broker refused the connection, or a certificate is not trusted.
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
