//! The PEM files that the options name.

use crate::config::{Config, Secret};
use crate::error::{Error, Result};
use crate::net::conn::text_file::{bad_file, read_text};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore};
use zeroize::Zeroize;

/// The largest file that is read.
const MAX_FILE_KIB: u64 = 16 * 1024;

fn read(option: &str, path: &str) -> Result<Secret> {
    read_text(option, path, MAX_FILE_KIB)
}

/// Reads the certificates of a PEM file.
fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(option, path)?;
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(text.reveal().as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad_file(option, path, "contains no PEM certificate")),
        Ok(found) => Ok(found),
        Err(_) => Err(bad_file(option, path, "is a damaged PEM file")),
    }
}

/// Reads the certificate of this client and its key.
pub(super) fn identity(chain_path: &str, key_path: &str) -> Result<SingleCertAndKey> {
    const OPTION: &str = "tls_key_file";
    let chain = certificates("tls_cert_file", chain_path)?;
    let text = read(OPTION, key_path)?;
    let mut key = PrivateKeyDer::from_pem_slice(text.reveal().as_bytes()).map_err(|e| {
        let why = match e {
            pem::Error::NoItemsFound => {
                "contains no PEM private key (encrypted keys are not supported)"
            }
            _ => "is a damaged PEM file",
        };
        bad_file(OPTION, key_path, why)
    })?;
    let signing = ring::sign::any_supported_type(&key);
    key.zeroize();
    // The text of the error is dropped: it could contain parts of the key.
    let signing = signing.map_err(|_| {
        let why = "contains an unsupported key (supported: RSA of at least 2048 bits, P-256, P-384, Ed25519)";
        bad_file(OPTION, key_path, why)
    })?;
    let identity = CertifiedKey::new(chain, signing);
    match identity.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(bad_file(
            OPTION,
            key_path,
            "is not the key of the certificate in tls_cert_file",
        )),
        // `Unknown`: keys of this type cannot be compared here, so the node checks them.
        Ok(()) | Err(rustls::Error::InconsistentKeys(_)) => Ok(SingleCertAndKey::from(identity)),
        Err(_) => Err(bad_file(
            "tls_cert_file",
            chain_path,
            "begins with an invalid certificate",
        )),
    }
}

/// The authorities that may sign the nodes' certificates.
pub(super) fn authorities(config: &Config) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &config.tls_ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(Error::invalid(
                "this system has no CA certificates: set tls_ca_file",
            ));
        }
        return Ok(roots);
    };
    for (at, certificate) in certificates("tls_ca_file", path)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|_| {
            let why = format!("contains an invalid certificate (number {})", at + 1);
            bad_file("tls_ca_file", path, why)
        })?;
    }
    Ok(roots)
}
