//! The files TLS needs, read and put together.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hivemind_shared::bounded_file::{self, Bounds, Deadline, ReadError};
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::client_name::NamedClientVerifier;
use crate::config;
use crate::reload::READ_TIME_MAX;
use crate::secret_file::{self, Readers};

/// Bytes of one file: room for every certificate authority a system knows.
const FILE_BYTES_MAX: u64 = 4 << 20;

const CERT_KEY: &str = "server.tls_cert_file";
const KEY_KEY: &str = "server.tls_key_file";
const CLIENT_CA_KEY: &str = "server.tls_client_ca_file";

/// Where the files are, and what is asked of clients.
#[derive(Clone, Debug)]
pub(super) struct Files {
    cert: PathBuf,
    key: PathBuf,
    /// Client certificates are wanted when there is one.
    client_ca: Option<PathBuf>,
    /// The name a client certificate must carry.
    client_san: Option<String>,
}

/// What the files say.
#[derive(Debug)]
pub(super) struct Loaded {
    /// What connections are served with.
    pub(super) config: Arc<ServerConfig>,
    /// When the certificate ends, in Unix seconds.
    pub(super) expiry_unix_s: u64,
    /// What is odd but no reason to stop.
    pub(super) warnings: Vec<String>,
    /// Digest of all files.
    pub(super) digest: u64,
}

/// A file that cannot be used.
#[derive(Debug)]
pub(super) struct FileError {
    /// The setting that names it.
    pub(super) key: &'static str,
    pub(super) path: PathBuf,
    pub(super) cause: Cause,
}

impl FileError {
    /// Whether the same file may be usable soon, without being changed.
    pub(super) const fn is_transient(&self) -> bool {
        matches!(&self.cause, Cause::Read(error) if error.is_transient())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, path, cause } = self;
        write!(f, "{} ({key}): {cause}", path.display())
    }
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("cannot read: {0}")]
    Read(#[from] ReadError),
    #[error("not PEM: {0}")]
    Pem(pem::Error),
    #[error("there is no certificate in it (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    #[error("certificate {number} in it cannot be read: {what}")]
    Certificate { number: usize, what: String },
    #[error(
        "there is no private key in it (-----BEGIN PRIVATE KEY-----, RSA or EC as well); one with a \
         passphrase cannot be used"
    )]
    NoKey,
    #[error("the key is not the one of the certificate in {}", .0.display())]
    OtherKey(PathBuf),
    #[error("TLS cannot be done with it: {0}")]
    Unusable(String),
}

impl Files {
    /// The files of the configuration; `None` when no TLS is wanted.
    pub(super) fn of(server: &config::Server) -> Option<Self> {
        // One without the other is a contradiction that was reported before.
        Some(Self {
            cert: server.tls_cert_file.clone()?,
            key: server.tls_key_file.clone()?,
            client_ca: server.tls_client_ca_file.clone(),
            client_san: server.tls_client_san.clone(),
        })
    }

    /// The paths, to look at.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.cert, &self.key]
            .into_iter()
            .chain(&self.client_ca)
            .map(PathBuf::as_path)
    }

    /// Reads the files and makes them one configuration.
    ///
    /// # Errors
    ///
    /// Every file that cannot be used.
    pub(super) fn load(&self) -> Result<Loaded, Vec<FileError>> {
        let bounds = Bounds {
            bytes_max: FILE_BYTES_MAX,
            deadline: Deadline::after(READ_TIME_MAX),
            streams: false,
        };
        let mut digest = DefaultHasher::new();
        let mut warnings = Vec::new();
        let chain = self.read_chain(bounds, &mut digest, &mut warnings);
        let key = self.read_key(bounds, &mut digest, &mut warnings);
        let authorities = self
            .client_ca
            .as_deref()
            .map(|path| read_authorities(path, bounds, &mut digest))
            .transpose();
        let (chain, key, authorities) = match (chain, key, authorities) {
            (Ok(chain), Ok(key), Ok(authorities)) => (chain, key, authorities),
            (chain, key, authorities) => {
                let errors = [chain.err(), key.err(), authorities.err()];
                return Err(errors.into_iter().flatten().collect());
            }
        };
        let expiry_unix_s = chain.expiry_unix_s;
        let config = self
            .config(chain.certificates, key, authorities)
            .map_err(|error| vec![error])?;
        Ok(Loaded {
            config: Arc::new(config),
            expiry_unix_s,
            warnings,
            digest: digest.finish(),
        })
    }

    fn read_chain(
        &self,
        bounds: Bounds,
        digest: &mut DefaultHasher,
        warnings: &mut Vec<String>,
    ) -> Result<Chain, FileError> {
        let failed = failed(CERT_KEY, &self.cert);
        let (bytes, _) = bounded_file::read(&self.cert, bounds)
            .map_err(Cause::Read)
            .map_err(&failed)?;
        bytes.hash(digest);
        let certificates = certificates(&bytes).map_err(&failed)?;
        let own = Certificate::from_der(&certificates[0]).map_err(|error| {
            failed(Cause::Certificate {
                number: 1,
                what: error.to_string(),
            })
        })?;
        let validity = own.tbs_certificate().validity();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let path = self.cert.display();
        if validity.not_after.to_unix_duration() < now {
            let not_after = validity.not_after;
            warnings.push(format!(
                "{path} ({CERT_KEY}): the certificate has expired, at {not_after}: clients that \
                 look will refuse it"
            ));
        } else if validity.not_before.to_unix_duration() > now {
            let not_before = validity.not_before;
            warnings.push(format!(
                "{path} ({CERT_KEY}): the certificate is not valid before {not_before}: clients \
                 that look will refuse it until then"
            ));
        }
        Ok(Chain {
            expiry_unix_s: validity.not_after.to_unix_duration().as_secs(),
            certificates,
        })
    }

    fn read_key(
        &self,
        bounds: Bounds,
        digest: &mut DefaultHasher,
        warnings: &mut Vec<String>,
    ) -> Result<PrivateKeyDer<'static>, FileError> {
        let failed = failed(KEY_KEY, &self.key);
        let (bytes, metadata) = bounded_file::read(&self.key, bounds)
            .map_err(Cause::Read)
            .map_err(&failed)?;
        bytes.hash(digest);
        let warning = secret_file::warning(&self.key, &metadata, Readers::Group, "the key of TLS");
        warnings.extend(warning);
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            failed(match error {
                pem::Error::NoItemsFound => Cause::NoKey,
                error => Cause::Pem(error),
            })
        })
    }

    fn config(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authorities: Option<RootCertStore>,
    ) -> Result<ServerConfig, FileError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(CERT_KEY, &self.cert)(Cause::Unusable(error.to_string())))?;
        let asks_clients = authorities.is_some();
        let builder = match (authorities, &self.client_ca) {
            (Some(authorities), Some(path)) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
                        .build()
                        .map_err(|error| {
                            failed(CLIENT_CA_KEY, path)(Cause::Unusable(error.to_string()))
                        })?;
                builder.with_client_cert_verifier(match &self.client_san {
                    Some(name) => Arc::new(NamedClientVerifier::new(verifier, name)),
                    None => verifier,
                })
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    failed(KEY_KEY, &self.key)(Cause::OtherKey(self.cert.clone()))
                }
                rustls::Error::InvalidCertificate(_) => {
                    failed(CERT_KEY, &self.cert)(Cause::Unusable(error.to_string()))
                }
                error => failed(KEY_KEY, &self.key)(Cause::Unusable(error.to_string())),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        if asks_clients {
            // A session that is resumed shows no certificate: one that has expired meanwhile, or whose
            // authority is gone, would get in. Connections live for hours; a handshake is no burden.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// What meshd shows.
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    expiry_unix_s: u64,
}

/// Makes an error of a cause.
fn failed(key: &'static str, path: &Path) -> impl Fn(Cause) -> FileError {
    move |cause| FileError {
        key,
        path: path.to_owned(),
        cause,
    }
}

/// All certificates in PEM text, at least one.
fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(Cause::Pem)?;
    if certificates.is_empty() {
        return Err(Cause::NoCertificate);
    }
    Ok(certificates)
}

fn read_authorities(
    path: &Path,
    bounds: Bounds,
    digest: &mut DefaultHasher,
) -> Result<RootCertStore, FileError> {
    let failed = failed(CLIENT_CA_KEY, path);
    let (bytes, _) = bounded_file::read(path, bounds)
        .map_err(Cause::Read)
        .map_err(&failed)?;
    bytes.hash(digest);
    let mut authorities = RootCertStore::empty();
    for (index, certificate) in certificates(&bytes)
        .map_err(&failed)?
        .into_iter()
        .enumerate()
    {
        authorities.add(certificate).map_err(|error| {
            failed(Cause::Certificate {
                number: index + 1,
                what: error.to_string(),
            })
        })?;
    }
    Ok(authorities)
}
