use std::{fs, io, path::Path};

use futures_rustls::rustls::{
    self, InconsistentKeys,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use thiserror::Error;

use crate::error::BoxError;

/// Why a [`Tls`](crate::Tls) cannot be made.
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{Tls, TlsError};
///
/// let error = Tls::from_pem_files("/no/such/file.pem", "/no/such/key.pem").unwrap_err();
/// assert!(matches!(&error, TlsError::Read { name, .. } if name == "/no/such/file.pem"));
/// assert_eq!(error.to_string(), "cannot read /no/such/file.pem");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {name}")]
    Read {
        /// The path of the file.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file, or what was given instead, is not PEM.
    #[error("{name} is not PEM")]
    Pem {
        /// The path of the file, or what was given.
        name: String,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A PEM file has nothing between `BEGIN CERTIFICATE` and `END CERTIFICATE`.
    #[error("there is no certificate in {name}")]
    NoCertificate {
        /// The path of the file, or what was given.
        name: String,
    },
    /// A PEM file has no private key of a kind that is known: PKCS #1, PKCS #8 or SEC 1, without a
    /// password.
    #[error("there is no private key in {name}, or only one with a password")]
    NoKey {
        /// The path of the file, or what was given.
        name: String,
    },
    /// The private key is not that of the first certificate.
    #[error("the key in {key} is not that of the first certificate in {certificates}")]
    Mismatch {
        /// The path of the file with the key, or what was given.
        key: String,
        /// The path of the file with the certificates, or what was given.
        certificates: String,
    },
    /// A certificate or a key cannot be used.
    #[error("{name} cannot be used")]
    Unusable {
        /// The path of the file, or what was given.
        name: String,
        /// What rustls says of it.
        source: BoxError,
    },
}

/// PEM, and where it is from.
pub(super) struct Source {
    name: String,
    pem: Vec<u8>,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(pem) => Ok(Self { name, pem }),
            Err(source) => Err(TlsError::Read { name, source }),
        }
    }

    pub(super) fn memory(name: &str, pem: &[u8]) -> Self {
        Self { name: name.to_owned(), pem: pem.to_owned() }
    }

    /// At least one certificate.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.pem).collect();
        let found = found.map_err(|error| self.not_pem(error))?;
        if found.is_empty() {
            return Err(TlsError::NoCertificate { name: self.name.clone() });
        }
        Ok(found)
    }

    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey { name: self.name.clone() },
            error => self.not_pem(error),
        })
    }

    fn not_pem(&self, source: pem::Error) -> TlsError {
        TlsError::Pem { name: self.name.clone(), source }
    }

    pub(super) fn unusable(&self, error: impl Into<BoxError>) -> TlsError {
        TlsError::Unusable { name: self.name.clone(), source: error.into() }
    }
}

impl TlsError {
    /// What rustls says of certificates together with a key.
    pub(super) fn rejected(certificates: &Source, key: &Source, error: rustls::Error) -> Self {
        match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Self::Mismatch { key: key.name.clone(), certificates: certificates.name.clone() }
            }
            error @ rustls::Error::InvalidCertificate(_) => certificates.unusable(error),
            error => key.unusable(error),
        }
    }
}
