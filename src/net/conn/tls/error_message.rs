//! Error messages for the errors of rustls.

use rustls::{AlertDescription, CertificateError, PeerIncompatible};
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
            CertificateError::NotValidForName => {
                certificate("is valid for another name only (see tls_server_name)")
            }
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
                problem += " (see tls_server_name)";
                certificate(&problem)
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                certificate("is not a server certificate")
            }
            CertificateError::BadSignature => certificate("has an invalid signature"),
            CertificateError::Revoked => certificate("has been revoked"),
            // This includes a CA certificate that is used as a server certificate.
            other => certificate(&format!("cannot be used: {}", words(other))),
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
                let alert = words(alert);
                format!("does not accept the client certificate ({alert}; see tls_cert_file)")
            }
            // Among other causes, OpenSSL sends it with TLS 1.2 if a required client certificate is missing.
            AlertDescription::HandshakeFailure => {
                "refused the TLS handshake: it may require a client certificate (see tls_cert_file)"
                    .to_owned()
            }
            AlertDescription::ProtocolVersion => NO_COMMON_VERSION.to_owned(),
            other => format!("ended the TLS session with the alert \"{}\"", words(other)),
        },
        E::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => NO_COMMON_VERSION.to_owned(),
        E::PeerIncompatible(why) => {
            format!(
                "has no TLS parameters in common with this client ({})",
                words(why)
            )
        }
        E::PeerMisbehaved(why) => format!("violated the TLS protocol ({})", words(why)),
        E::InappropriateMessage { got_type, .. } => {
            format!("sent an unexpected TLS message ({})", words(got_type))
        }
        E::InappropriateHandshakeMessage { got_type, .. } => {
            format!(
                "sent an unexpected TLS handshake message ({})",
                words(got_type)
            )
        }
        E::InvalidMessage(_) => "did not send TLS (is it a plain-text port?)".to_owned(),
        E::DecryptError => "sent a TLS record that cannot be decrypted".to_owned(),
        E::NoCertificatesPresented => "showed no certificate".to_owned(),
        other => format!("failed the TLS handshake: {}", words(other)),
    }
}

const NO_COMMON_VERSION: &str = "supports neither TLS 1.2 nor TLS 1.3";

/// What a value of rustls is called, in words: "ca used as end entity" for `Other(OtherError(CaUsedAsEndEntity))`. Only
/// its innermost name: its fields are for developers.
pub(super) fn words(value: &impl std::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    let is_name = |part: &&str| part.starts_with(|c: char| c.is_ascii_uppercase());
    let fields = debug.find([' ', '{', '[']).unwrap_or(debug.len());
    let mut names = debug[..fields].split(['(', ')']).filter(is_name);
    let name = names.next_back().unwrap_or("unknown error");
    let mut words = String::new();
    let mut last = ' ';
    for c in name.chars().take(MAX_WORDS) {
        if c.is_ascii_uppercase() && !last.is_ascii_uppercase() && last != ' ' {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
        last = c;
    }
    words
}

/// The longest text of [`words`], before spaces are added.
const MAX_WORDS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ContentType, OtherError, PeerMisbehaved};
    use std::sync::Arc;

    #[derive(Debug)]
    struct CaUsedAsEndEntity;
    impl std::fmt::Display for CaUsedAsEndEntity {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{self:?}")
        }
    }
    impl std::error::Error for CaUsedAsEndEntity {}

    #[test]
    fn tls_errors_are_sentences_without_debug_output() {
        use rustls::Error as E;
        let other = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        for (error, expected) in [
            (
                E::InvalidCertificate(other),
                "showed a certificate that cannot be used: ca used as end entity",
            ),
            (
                E::InvalidCertificate(CertificateError::BadSignature),
                "showed a certificate that has an invalid signature",
            ),
            (
                E::InvalidCertificate(CertificateError::UnhandledCriticalExtension),
                "showed a certificate that cannot be used: unhandled critical extension",
            ),
            (
                E::AlertReceived(AlertDescription::UnknownCA),
                "does not accept the client certificate (unknown ca; see tls_cert_file)",
            ),
            (
                E::AlertReceived(AlertDescription::InternalError),
                "ended the TLS session with the alert \"internal error\"",
            ),
            (
                E::AlertReceived(AlertDescription::ProtocolVersion),
                "supports neither TLS 1.2 nor TLS 1.3",
            ),
            (
                E::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "supports neither TLS 1.2 nor TLS 1.3",
            ),
            (
                E::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon),
                "has no TLS parameters in common with this client (no kx groups in common)",
            ),
            (
                E::PeerMisbehaved(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec),
                "violated the TLS protocol (illegal middlebox change cipher spec)",
            ),
            (
                E::InappropriateMessage {
                    expect_types: vec![ContentType::Handshake],
                    got_type: ContentType::ApplicationData,
                },
                "sent an unexpected TLS message (application data)",
            ),
            (E::NoCertificatesPresented, "showed no certificate"),
            (
                E::General("anything { a: 1 }".to_owned()),
                "failed the TLS handshake: general",
            ),
        ] {
            assert_eq!(error_message(&error), expected, "{error:?}");
        }
    }
}
