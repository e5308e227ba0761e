//! Break-glass tokens: a few words, signed, that end self-protection once, on one host, during one boot, for a while.
//!
//! ```text
//! interdict-break-glass-1.<base64url of JSON>.<base64url of the Ed25519 signature over all before the second dot>
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};

use crate::alert::key::{PublicKey, SigningKey};

const PREFIX: &str = "interdict-break-glass-1";

/// Longest time a token may be valid, seconds.
pub const VALID_MAX_S: u64 = 24 * 3600;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Id of the boot it is for.
    pub boot: String,
    /// When it ends, seconds of wall time.
    pub expires: u64,
    /// Name of the host it is for.
    pub host: String,
    /// 32 hex digits that no other token has.
    pub nonce: String,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token.
    #[error("not a break-glass token")]
    Format,
    /// Signed by another key, or altered.
    #[error("the token is not signed by this host's break-glass key, or was altered")]
    Signature,
    /// For another host.
    #[error("the token is for host `{0}`")]
    Host(String),
    /// For another boot.
    #[error("the token is for another boot of this host: boot id {0}")]
    Boot(String),
    /// Too old, or valid for too long.
    #[error("the token ended {0} s ago")]
    Expired(u64),
    /// Valid for longer than tokens may be.
    #[error("the token would be valid for more than {VALID_MAX_S} s")]
    TooLong,
}

/// Makes a token.
pub fn sign(claim: &Claim, key: &SigningKey) -> String {
    let json = serde_json::to_vec(claim).unwrap_or_default();
    let signed = format!("{PREFIX}.{}", BASE64.encode(json));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature))
}

/// Checks a token for this host and boot at this time. Whether it was used before is for the guard to say.
///
/// # Errors
/// It is not accepted.
pub fn check(
    token: &str,
    key: &PublicKey,
    host: &str,
    boot: &str,
    now_s: u64,
) -> Result<(Claim, [u8; 16]), TokenError> {
    let (signed, signature) = token.trim().rsplit_once('.').ok_or(TokenError::Format)?;
    let body = signed.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.'));
    let body = body.ok_or(TokenError::Format)?;
    let signature = BASE64.decode(signature).map_err(|_| TokenError::Format)?;
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(TokenError::Signature);
    }
    let json = BASE64.decode(body).map_err(|_| TokenError::Format)?;
    let claim: Claim = serde_json::from_slice(&json).map_err(|_| TokenError::Format)?;
    let nonce = nonce(&claim.nonce).ok_or(TokenError::Format)?;
    if claim.host != host {
        return Err(TokenError::Host(claim.host));
    }
    if claim.boot != boot {
        return Err(TokenError::Boot(claim.boot));
    }
    if claim.expires <= now_s {
        return Err(TokenError::Expired(now_s - claim.expires));
    }
    if claim.expires - now_s > VALID_MAX_S {
        return Err(TokenError::TooLong);
    }
    Ok((claim, nonce))
}

fn nonce(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            boot: "boot-1".to_owned(),
            expires: 1_000,
            host: "db1".to_owned(),
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
        }
    }

    fn checked(token: &str, key: &SigningKey) -> Result<(Claim, [u8; 16]), TokenError> {
        check(token, &key.public(), "db1", "boot-1", 900)
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let key = SigningKey::generate().unwrap();
        let (said, nonce) = checked(&sign(&claim(), &key), &key).unwrap();
        assert_eq!(said, claim());
        assert_eq!((nonce[0], nonce[15]), (0, 0xff));
    }

    #[test]
    fn another_host_boot_time_or_key_is_refused_each_by_its_own_word() {
        let key = SigningKey::generate().unwrap();
        let token = sign(&claim(), &key);
        let at = |host, boot, now| check(&token, &key.public(), host, boot, now).unwrap_err();
        assert_eq!(at("db2", "boot-1", 900), TokenError::Host("db1".to_owned()));
        assert_eq!(at("db1", "boot-2", 900), TokenError::Boot("boot-1".to_owned()));
        assert_eq!(at("db1", "boot-1", 1_000), TokenError::Expired(0));
        assert_eq!(checked(&token, &SigningKey::generate().unwrap()), Err(TokenError::Signature));
        let long = Claim { expires: 900 + VALID_MAX_S + 1, ..claim() };
        assert_eq!(checked(&sign(&long, &key), &key), Err(TokenError::TooLong));
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused() {
        let key = SigningKey::generate().unwrap();
        let token = sign(&claim(), &key);
        for index in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(checked(&changed, &key).is_err(), "{changed}");
        }
    }

    #[test]
    fn a_nonce_is_32_hex_digits() {
        for bad in ["", "00", "zz112233445566778899aabbccddeeff", "+0112233445566778899aabbccddeef"]
        {
            let key = SigningKey::generate().unwrap();
            let claim = Claim { nonce: bad.to_owned(), ..claim() };
            assert_eq!(checked(&sign(&claim, &key), &key), Err(TokenError::Format), "{bad}");
        }
    }
}
