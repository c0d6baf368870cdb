//! Which logins an HTTP proxy offers: the names of the schemes in `Proxy-Authenticate` (RFC 9110 §11.6.1, §11.7.1).

use crate::config::upstream::is_token_byte;

/// Schemes that are kept of one answer; ours.
const MAX_SCHEMES: usize = 16;

/// Adds the names of the schemes in a field's value. Challenges and their parameters are both separated by commas:
/// what has a `=` behind its first word is a parameter, and commas in quotes separate nothing.
pub(super) fn schemes(value: &str, found: &mut Vec<String>) {
    for element in elements(value) {
        let element = element.trim();
        let word = element
            .find(|c: char| !c.is_ascii() || !is_token_byte(c as u8))
            .map_or(element, |end| element.get(..end).unwrap_or_default());
        let rest = element.get(word.len()..).unwrap_or_default();
        if !word.is_empty() && !rest.trim_start().starts_with('=') && found.len() < MAX_SCHEMES {
            found.push(word.chars().take(32).collect());
        }
    }
}

/// Splits at commas outside quotes.
fn elements(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> Vec<String> {
        let mut found = Vec::new();
        schemes(value, &mut found);
        found
    }

    #[test]
    fn schemes_are_told_from_their_parameters() {
        assert_eq!(names("Basic realm=\"office\""), ["Basic"]);
        assert_eq!(names("NTLM"), ["NTLM"]);
        assert_eq!(
            names("Digest realm=\"a, Basic b\", nonce = \"x\\\", Basic\", Basic realm=x, Negotiate ab=="),
            ["Digest", "Basic", "Negotiate"]
        );
        assert_eq!(names(", ,Basic"), ["Basic"]);
        assert_eq!(names(""), Vec::<String>::new());
        assert_eq!(names("\"never closed, Basic"), Vec::<String>::new());
        assert_eq!(names(&"NTLM,".repeat(99)).len(), MAX_SCHEMES);
    }
}
