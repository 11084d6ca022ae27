//! Keys: Ed25519, in files as OpenSSL writes them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use pem::Pem;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::publish::PublishError;

/// What the file of a private key says it is, and that of a public one.
const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// Longest file that is read as a key, in bytes.
const FILE_MAX: u64 = 16 << 10;
/// What stands before the 32 bytes of a key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A private key, which signs.
pub struct Key {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// A public key: what is known of a signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    raw: [u8; 32],
}

/// What is wrong with the file of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It could not be read or written.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is there already. A key is never written over.
    #[error("{} is there already; a key is never written over", .0.display())]
    Taken(PathBuf),
    /// Others than its owner may read it.
    #[error("{} has mode {mode:04o}: others than its owner may read it; take that away with `chmod 600`, and consider whether somebody has read it", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not a key of this kind.
    #[error("{} is no {expected}: {why}", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// Why it is none.
        why: String,
    },
    /// The system gave no key.
    #[error("the system's cryptography made no key")]
    Generate,
}

impl Key {
    /// A new key, in no file yet.
    ///
    /// # Errors
    ///
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self::of).map_err(|_| KeyError::Generate)
    }

    fn of(pair: Ed25519KeyPair) -> Self {
        let mut raw = [0; 32];
        raw.copy_from_slice(pair.public_key().as_ref());
        Self { pair, public: PublicKey::of(raw) }
    }

    /// Writes the key to `file`, mode 0600 (PKCS#8, PEM), and its public half to `file` with `.pub`
    /// after it. Neither may be there.
    ///
    /// # Errors
    ///
    /// [`KeyError::Taken`], or why they could not be written.
    pub fn write_new(&self, file: &Path) -> Result<PathBuf, KeyError> {
        let public = Self::public_path(file);
        // Both, before either is written.
        for taken in [file, &public] {
            if taken.symlink_metadata().is_ok() {
                return Err(KeyError::Taken(taken.to_owned()));
            }
        }
        let der = self.pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
        write_new(file, 0o600, &pem::encode(&Pem::new(PRIVATE, der.as_ref())))?;
        write_new(&public, 0o644, &self.public.to_pem())?;
        Ok(public)
    }

    /// Where the public half of the key in `file` lies.
    pub fn public_path(file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(".pub");
        PathBuf::from(name)
    }

    /// Reads the private key in `file`, which nobody but its owner may read.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let (text, mode) = read(file)?;
        let expected = "private key of Ed25519 (PKCS#8, PEM)";
        let unfit =
            |why: &str| KeyError::Unfit { path: file.to_owned(), expected, why: why.into() };
        let pem = pem::parse(&text).map_err(|error| unfit(&error.to_string()))?;
        if pem.tag() == PUBLIC {
            return Err(unfit(
                "it is a public one; the private one lies in the file without `.pub`",
            ));
        }
        if pem.tag() != PRIVATE {
            return Err(unfit(&format!("it says it is a {:?}", pem.tag())));
        }
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: file.to_owned(), mode });
        }
        let pair = Ed25519KeyPair::from_pkcs8(pem.contents());
        pair.map(Self::of).map_err(|error| unfit(&error.to_string()))
    }

    /// The id by which metadata names it.
    pub fn id(&self) -> &str {
        &self.public.id
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Its signature of `message`, in hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`PublishError::Signing`].
    pub fn sign(&self, message: &[u8]) -> Result<String, PublishError> {
        let signature = self.pair.try_sign(message).map_err(|_| PublishError::Signing)?;
        Ok(hex::encode(signature.as_ref()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.public.id).finish()
    }
}

impl PublicKey {
    fn of(raw: [u8; 32]) -> Self {
        // As securesystemslib has it: the sum of the canonical form of the key's object.
        let object = json!({
            "keytype": "ed25519",
            "keyval": { "public": hex::encode(raw) },
            "scheme": "ed25519",
        });
        let canonical = sigstore_tuf::canonical_json::to_canonical_bytes(&object);
        let canonical = canonical.expect("an object of texts has a canonical form");
        Self { id: hex::encode(Sha256::digest(canonical)), raw }
    }

    /// Reads the public key in `file`, or the public half of the private key there.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let (text, _) = read(file)?;
        let expected = "public key of Ed25519 (PEM)";
        let unfit = |why: String| KeyError::Unfit { path: file.to_owned(), expected, why };
        let pem = pem::parse(&text).map_err(|error| unfit(error.to_string()))?;
        if pem.tag() == PRIVATE {
            return Key::read(file).map(|key| key.public);
        }
        if pem.tag() != PUBLIC {
            return Err(unfit(format!("it says it is a {:?}", pem.tag())));
        }
        let raw = pem.contents().strip_prefix(&SPKI);
        let raw = raw.and_then(|raw| <[u8; 32]>::try_from(raw).ok());
        raw.map(Self::of).ok_or_else(|| unfit("it is one of another kind".to_owned()))
    }

    /// The public key whose 32 bytes are written in hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut raw = [0; 32];
        hex::decode_to_slice(text, &mut raw).ok()?;
        Some(Self::of(raw))
    }

    /// Its file's text.
    pub fn to_pem(&self) -> String {
        pem::encode(&Pem::new(PUBLIC, [SPKI.as_slice(), &self.raw].concat()))
    }

    /// The id by which metadata names it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its 32 bytes in hexadecimal digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.raw)
    }

    /// Whether `signature`, in hexadecimal digits, is this key's of `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = hex::decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.raw).verify(message, &signature).is_ok()
    }
}

fn write_new(file: &Path, mode: u32, text: &str) -> Result<(), KeyError> {
    let io = |act| move |source| KeyError::Io { act, path: file.to_owned(), source };
    let mut open = match OpenOptions::new().write(true).create_new(true).mode(mode).open(file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyError::Taken(file.to_owned()));
        }
        other => other.map_err(io("make"))?,
    };
    open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(io("write"))
}

/// The text of `file` and its mode.
fn read(file: &Path) -> Result<(String, u32), KeyError> {
    let io = |source| KeyError::Io { act: "read", path: file.to_owned(), source };
    // Asked before it is opened: to open a pipe would wait for its writer.
    if !fs::metadata(file).map_err(io)?.is_file() {
        return Err(io(io::Error::other("not a regular file")));
    }
    let open = File::open(file).map_err(io)?;
    let mode = open.metadata().map_err(io)?.mode() & 0o7777;
    let mut text = String::new();
    open.take(FILE_MAX).read_to_string(&mut text).map_err(io)?;
    Ok((text, mode))
}
