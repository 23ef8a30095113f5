//! Whom HTTPS trusts: the certificates of the system, or those of Mozilla where the system has none, and those that the
//! user adds.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

/// The configuration of every client. Certificates are always verified; there is no switch.
pub(super) fn config(extra: &[Vec<u8>]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = roots();
    for certificate in extra {
        roots.add(CertificateDer::from_slice(certificate))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(feature = "tls")]
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(not(feature = "tls"))]
fn roots() -> RootCertStore {
    RootCertStore::empty()
}
