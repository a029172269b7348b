//! The name a client's certificate has to carry, beside being signed by the right authority.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Lets in whom another verifier lets in, if one of the alternative names of the certificate is the
/// wanted one: a DNS name, whatever the case, or a URI, letter by letter.
#[derive(Debug)]
pub(super) struct NamedClientVerifier {
    verifier: Arc<dyn ClientCertVerifier>,
    wanted: String,
}

impl NamedClientVerifier {
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>, wanted: &str) -> Self {
        Self {
            verifier,
            wanted: wanted.to_owned(),
        }
    }

    fn is_named_right(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let bad_encoding = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let certificate = Certificate::from_der(certificate).map_err(|_| bad_encoding())?;
        let names = certificate
            .tbs_certificate()
            .get_extension::<SubjectAltName>()
            .map_err(|_| bad_encoding())?;
        let Some((_, SubjectAltName(names))) = names else {
            return Ok(false);
        };
        Ok(names.iter().any(|name| match name {
            GeneralName::DnsName(name) => name.as_str().eq_ignore_ascii_case(&self.wanted),
            GeneralName::UniformResourceIdentifier(name) => name.as_str() == self.wanted,
            _ => false,
        }))
    }
}

impl ClientCertVerifier for NamedClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.is_named_right(end_entity)? {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
