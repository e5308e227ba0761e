//! The policy image: what the kernel reads, and beside it what the agent must know to tell people about it.
//!
//! A container file is a head of [`HEAD_BYTES`], the kernel's half, the metadata:
//!
//! ```text
//! magic "IDCTPOL\0", version: u32, reserved: u32, kernel bytes: u64, metadata bytes: u64, SHA-256 of all that follows
//! ```
//! Same rules, same bytes. A decoded image has been verified: see [`verify`].

pub(crate) mod arena;
pub(crate) mod expected;
pub(crate) mod front;
pub(crate) mod page;
pub mod verify;

use sha2::{Digest as _, Sha256};

pub use self::verify::ImageError;
use crate::meta::Metadata;
use interdict_abi::limits::SLOT_BYTES_MAX;

/// First bytes of a container file.
pub const MAGIC: [u8; 8] = *b"IDCTPOL\0";

/// Version of the container.
pub const VERSION: u32 = 1;

/// Bytes before the kernel's half.
pub const HEAD_BYTES: usize = 64;

/// Bytes of metadata a container may hold.
pub const METADATA_BYTES_MAX: usize = 64 << 20;

/// A policy image whose every offset has been checked. Only made by `lower` and by [`PolicyImage::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyImage {
    kernel: Vec<u8>,
    metadata: Metadata,
}

/// Why a container is not one.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It ends before its head does.
    #[error("{length_bytes} bytes, a policy image has at least {HEAD_BYTES}")]
    Short {
        /// Bytes there are.
        length_bytes: usize,
    },
    /// Something else.
    #[error("not a policy image: it does not start with the magic bytes")]
    Magic,
    /// Another version.
    #[error("policy image of version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Lengths that do not add up.
    #[error(
        "the head names {kernel_bytes} and {metadata_bytes} bytes, the file has {rest_bytes} after it"
    )]
    Lengths {
        /// Bytes of the kernel's half, as named.
        kernel_bytes: u64,
        /// Bytes of metadata, as named.
        metadata_bytes: u64,
        /// Bytes after the head.
        rest_bytes: usize,
    },
    /// More than this program accepts.
    #[error("the {part} takes {bytes} bytes, at most {limit} are accepted")]
    Large {
        /// What is too large.
        part: &'static str,
        /// Its bytes.
        bytes: u64,
        /// What is accepted.
        limit: usize,
    },
    /// Damaged.
    #[error("the digest does not match: the file is damaged")]
    Digest,
    /// The kernel's half is not an image.
    #[error("the kernel's half: {0}")]
    Image(#[from] ImageError),
    /// The metadata is none.
    #[error("the metadata: {0}")]
    Metadata(#[from] rmp_serde::decode::Error),
    /// Something follows the metadata inside its length.
    #[error("{bytes} bytes follow the metadata")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Clause tables of metadata and image differ.
    #[error("the metadata does not describe the clauses of the image: {reason}")]
    Mismatch {
        /// In what.
        reason: &'static str,
    },
}

impl PolicyImage {
    /// What `lower` made.
    pub(crate) fn assembled(kernel: Vec<u8>, metadata: Metadata) -> Self {
        debug_assert_eq!(verify::verify(&kernel), Ok(()));
        Self { kernel, metadata }
    }

    /// The bytes the kernel reads.
    pub fn kernel(&self) -> &[u8] {
        &self.kernel
    }

    /// What the agent must know.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same metadata with other bytes for the kernel, if they are an image that the metadata describes.
    pub fn with_kernel(&self, kernel: Vec<u8>) -> Result<Self, DecodeError> {
        verify::verify(&kernel)?;
        verify::verify_metadata(&kernel, &self.metadata)
            .map_err(|reason| DecodeError::Mismatch { reason })?;
        Ok(Self { kernel, metadata: self.metadata.clone() })
    }

    /// SHA-256 of the kernel's half.
    pub fn kernel_digest(&self) -> [u8; 32] {
        Sha256::digest(&self.kernel).into()
    }

    /// The container file.
    pub fn encode(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        let metadata = rmp_serde::to_vec_named(&self.metadata)?;
        let mut file = Vec::with_capacity(HEAD_BYTES + self.kernel.len() + metadata.len());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&0u32.to_le_bytes());
        file.extend_from_slice(&(self.kernel.len() as u64).to_le_bytes());
        file.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
        let mut digest = Sha256::new();
        digest.update(&self.kernel);
        digest.update(&metadata);
        file.extend_from_slice(&digest.finalize());
        file.extend_from_slice(&self.kernel);
        file.extend_from_slice(&metadata);
        Ok(file)
    }

    /// Reads a container file and checks all of it.
    pub fn decode(file: &[u8]) -> Result<Self, DecodeError> {
        let short = DecodeError::Short { length_bytes: file.len() };
        let Some((head, rest)) = file.split_at_checked(HEAD_BYTES) else { return Err(short) };
        if head[..8] != MAGIC {
            return Err(DecodeError::Magic);
        }
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(8) != VERSION {
            return Err(DecodeError::Version { found: word(8) });
        }
        let (kernel_bytes, metadata_bytes) = (long(16), long(24));
        for (part, bytes, limit) in [
            ("kernel's half", kernel_bytes, SLOT_BYTES_MAX),
            ("metadata", metadata_bytes, METADATA_BYTES_MAX),
        ] {
            if bytes > limit as u64 {
                return Err(DecodeError::Large { part, bytes, limit });
            }
        }
        if kernel_bytes + metadata_bytes != rest.len() as u64 || word(12) != 0 {
            let rest_bytes = rest.len();
            return Err(DecodeError::Lengths { kernel_bytes, metadata_bytes, rest_bytes });
        }
        if Sha256::digest(rest)[..] != head[32..] {
            return Err(DecodeError::Digest);
        }
        let (kernel, encoded) = rest.split_at(kernel_bytes as usize);
        verify::verify(kernel)?;
        let mut reader = encoded;
        let metadata: Metadata = rmp_serde::from_read(&mut reader)?;
        if !reader.is_empty() {
            return Err(DecodeError::Trailing { bytes: reader.len() });
        }
        verify::verify_metadata(kernel, &metadata)
            .map_err(|reason| DecodeError::Mismatch { reason })?;
        Ok(Self { kernel: kernel.to_vec(), metadata })
    }
}
