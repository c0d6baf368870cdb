//! The user name and password that a listener may ask for.
//!
//! They are compared in constant time, wiped when dropped and never printed.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Longest user name and longest password (RFC 1929 §2: one length byte each).
const FIELD_BYTES: usize = 255;

/// What a client must know to use the proxy.
#[derive(Clone)]
pub struct Credentials {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
}

/// A user name or password that no client could send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// Empty, or longer than SOCKS5 can carry.
    #[error("the proxy's {field} has {bytes} bytes, it must have 1 to {FIELD_BYTES}")]
    Length {
        /// `user name` or `password`.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// HTTP's form of user and password cannot carry a colon in the user name (RFC 7617 §2).
    #[error("the proxy's user name has a colon, HTTP cannot carry that")]
    Colon,
}

impl Credentials {
    /// The user name, for a line that shows how to use the proxy.
    pub fn user(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.user)
    }

    /// Checks and keeps a user name and a password.
    pub fn new(user: &str, password: &str) -> Result<Self, InvalidCredentials> {
        for (field, text) in [("user name", user), ("password", password)] {
            if text.is_empty() || text.len() > FIELD_BYTES {
                return Err(InvalidCredentials::Length {
                    field,
                    bytes: text.len(),
                });
            }
        }
        if user.contains(':') {
            return Err(InvalidCredentials::Colon);
        }
        let keep = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        Ok(Self {
            user: keep(user),
            password: keep(password),
        })
    }

    /// Compares both; the time it takes tells at most the lengths.
    pub(crate) fn matches(&self, user: &[u8], password: &[u8]) -> bool {
        (self.user.ct_eq(user) & self.password.ct_eq(password)).into()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_match() {
        let known = Credentials::new("ann", "s3cret").unwrap();
        assert!(known.matches(b"ann", b"s3cret"));
        for (user, password) in [
            ("ann", "s3creT"),
            ("anN", "s3cret"),
            ("", ""),
            ("ann", ""),
            ("ann", "s3cret1"),
        ] {
            assert!(
                !known.matches(user.as_bytes(), password.as_bytes()),
                "{user} {password}"
            );
        }
        assert_eq!(format!("{known:?}"), "[secret]");
    }

    #[test]
    fn what_no_client_can_send_is_refused() {
        assert_eq!(
            Credentials::new("", "x").unwrap_err(),
            InvalidCredentials::Length {
                field: "user name",
                bytes: 0
            }
        );
        assert_eq!(
            Credentials::new("ann", &"x".repeat(256)).unwrap_err(),
            InvalidCredentials::Length {
                field: "password",
                bytes: 256
            }
        );
        assert_eq!(
            Credentials::new("a:b", "x").unwrap_err(),
            InvalidCredentials::Colon
        );
    }
}
