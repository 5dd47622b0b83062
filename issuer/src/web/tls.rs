//! TLS for a listener: the certificate that it shows, and whose clients it takes. Read again while it runs; what cannot be used
//! never replaces what can.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use crate::config;

/// What a listener speaks TLS with.
pub struct Tls {
    files: config::Tls,
    current: ArcSwap<ServerConfig>,
    /// Of the contents of the files that are in force.
    digest: Mutex<[u8; 32]>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Why files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}", file = .file.display())]
pub struct InvalidTls {
    /// The key of the configuration that names the file.
    pub key: &'static str,
    file: PathBuf,
    reason: String,
}

impl Tls {
    /// # Errors
    /// [`InvalidTls`].
    pub fn load(files: &config::Tls) -> Result<Self, InvalidTls> {
        let contents = Contents::read(files)?;
        let config = contents.config(files)?;
        let digest = Mutex::new(contents.digest());
        Ok(Self { files: files.clone(), current: ArcSwap::from_pointee(config), digest })
    }

    /// Reads the files again; answers whether they have changed. Connections that are open stay as they are.
    ///
    /// # Errors
    /// [`InvalidTls`]; what is in force stays so.
    pub fn renew(&self) -> Result<bool, InvalidTls> {
        let contents = Contents::read(&self.files)?;
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        if *digest == contents.digest() {
            return Ok(false);
        }
        self.current.store(Arc::new(contents.config(&self.files)?));
        *digest = contents.digest();
        Ok(true)
    }

    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let config::Tls { cert_file, key_file, client_ca_file } = &self.files;
        [cert_file, key_file].into_iter().chain(client_ca_file).map(PathBuf::as_path)
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current.load_full()).accept(stream).await
    }
}

/// The files, as they were at one moment.
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

const CERT: &str = "internal.tls.cert_file";
const KEY: &str = "internal.tls.key_file";
const CLIENT_CA: &str = "internal.tls.client_ca_file";

fn invalid(key: &'static str, file: &Path, reason: impl fmt::Display) -> InvalidTls {
    InvalidTls { key, file: file.to_owned(), reason: reason.to_string() }
}

impl Contents {
    fn read(files: &config::Tls) -> Result<Self, InvalidTls> {
        let read = |key, file: &Path| {
            std::fs::read(file).map_err(|error| invalid(key, file, format_args!("cannot be read: {error}")))
        };
        let client_ca = files.client_ca_file.as_deref().map(|file| read(CLIENT_CA, file)).transpose()?;
        let key = Zeroizing::new(read(KEY, &files.key_file)?);
        Ok(Self { cert: read(CERT, &files.cert_file)?, key, client_ca })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [Some(&self.cert), Some(&*self.key), self.client_ca.as_ref()];
        let mut whole = Sha256::new();
        for part in parts.into_iter().flatten() {
            whole.update(Sha256::digest(part));
        }
        whole.finalize().into()
    }

    fn config(&self, files: &config::Tls) -> Result<ServerConfig, InvalidTls> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.cert, CERT, &files.cert_file)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| invalid(KEY, &files.key_file, "is no private key in PEM"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(CERT, &files.cert_file, error))?;
        let builder = match (&self.client_ca, &files.client_ca_file) {
            (Some(roots), Some(file)) => builder.with_client_cert_verifier(clients(roots, file, provider)?),
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            invalid(KEY, &files.key_file, format_args!("does not fit the certificate: {error}"))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(
    pem: &[u8],
    key: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, InvalidTls> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(invalid(key, file, "has no certificate in PEM (\"BEGIN CERTIFICATE\")")),
    }
}

/// Whoever shows no certificate below one of these roots is refused in the handshake.
fn clients(
    roots: &[u8],
    file: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, InvalidTls> {
    let mut store = RootCertStore::empty();
    for root in certificates(roots, CLIENT_CA, file)? {
        store.add(root).map_err(|error| invalid(CLIENT_CA, file, error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
    verifier.map_err(|error| invalid(CLIENT_CA, file, error))
}
