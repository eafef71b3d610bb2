//! Error messages for the errors of rustls.

use rustls::{AlertDescription, CertificateError};
use std::fmt::Write as _;

/// The error as a predicate of the node: "showed a certificate that has expired".
pub(super) fn error_message(error: &rustls::Error) -> String {
    use rustls::Error as E;
    let certificate = |problem: &str| format!("showed a certificate that {problem}");
    match error {
        E::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                certificate("has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                certificate("is not valid yet")
            }
            CertificateError::UnknownIssuer => {
                certificate("no trusted authority has signed (see tls_ca_file)")
            }
            CertificateError::NotValidForName => certificate("is valid for another name only"),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => {
                let mut problem = format!("is not valid for {}, but for ", expected.to_str());
                match presented.as_slice() {
                    [] => problem += "no name (it has no subjectAltName)",
                    names => {
                        // The node determines the length of the list.
                        let _ = write!(problem, "{:.200}", names.join(", "));
                    }
                }
                certificate(&problem)
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                certificate("is not a server certificate")
            }
            // This includes a CA certificate that is used as a server certificate.
            other => certificate(&format!("cannot be used: {other}")),
        },
        E::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "requires a client certificate (see tls_cert_file)".to_owned()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => {
                format!("does not accept the client certificate ({alert:?}; see tls_cert_file)")
            }
            // Among other causes, OpenSSL sends it with TLS 1.2 if a required client certificate is missing.
            AlertDescription::HandshakeFailure => {
                "refused the TLS handshake: it may require a client certificate (see tls_cert_file)"
                    .to_owned()
            }
            other => format!("ended the TLS session with the alert {other:?}"),
        },
        E::InvalidMessage(_) => "did not send TLS (is it a plain-text port?)".to_owned(),
        E::DecryptError => "sent a TLS record that cannot be decrypted".to_owned(),
        other => format!("failed the TLS handshake: {other}"),
    }
}
