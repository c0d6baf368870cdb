//! The `Basic` scheme, towards this proxy and towards its own pages (RFC 9110 §11, RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::credentials::Credentials;

/// What a client is asked with.
pub(super) const CHALLENGE: &str = "Basic realm=\"tunless\", charset=\"UTF-8\"";

/// Tells whether there is exactly one such field line, and the right user name and password in it.
pub(super) fn are_right<'a>(mut values: impl Iterator<Item = &'a [u8]>, credentials: &Credentials) -> bool {
    match (values.next(), values.next()) {
        (Some(value), None) => is_right(value, credentials),
        (_, _) => false,
    }
}

/// Tells whether the value of an `Authorization` or `Proxy-Authorization` field carries the right user name and
/// password.
fn is_right(value: &[u8], credentials: &Credentials) -> bool {
    let Some((scheme, rest)) = value.split_at_checked("Basic".len()) else {
        return false;
    };
    if !scheme.eq_ignore_ascii_case(b"Basic") || !rest.starts_with(b" ") {
        return false;
    }
    let Ok(decoded) = STANDARD.decode(rest.trim_ascii()).map(Zeroizing::new) else {
        return false;
    };
    let mut parts = decoded.splitn(2, |byte| *byte == b':');
    match (parts.next(), parts.next()) {
        (Some(user), Some(password)) => credentials.matches(user, password),
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_pair_in_the_right_form_is_let_in() {
        let known = Credentials::new("Aladdin", "open:sesame").unwrap();
        // base64 of "Aladdin:open:sesame" and, last, of "Aladdin" alone.
        assert!(is_right(b"Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==", &known));
        assert!(is_right(b"bASIC   QWxhZGRpbjpvcGVuOnNlc2FtZQ==", &known));
        for wrong in [
            "",
            "Basic",
            "Basic ",
            "BasicQWxhZGRpbjpvcGVuOnNlc2FtZQ==",
            "Bearer QWxhZGRpbjpvcGVuOnNlc2FtZQ==",
            "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ",
            "Basic !!!!",
            "Basic QWxhZGRpbg==",
        ] {
            assert!(!is_right(wrong.as_bytes(), &known), "{wrong}");
        }
    }
}
