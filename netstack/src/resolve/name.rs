//! Names that may be asked for.

use std::net::IpAddr;

/// RFC 1035 §2.3.4, without the dot at the end.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// The address that the text spells, with or without brackets.
pub(crate) fn literal(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok()
}

/// The name in lower case without the final dot, if it can be asked for: letters, digits, `-` and `_`.
/// Other scripts come in their ASCII form.
pub(crate) fn normalise(text: &str) -> Option<String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_usable = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let is_name = (1..=MAX_NAME_BYTES).contains(&bare.len()) && bare.split('.').all(is_usable);
    is_name.then(|| bare.to_ascii_lowercase())
}

/// What to ask for, in order: a single label first within the search domains, then as it is.
pub(crate) fn candidates(text: &str, search_domains: &[String]) -> Vec<String> {
    let Some(name) = normalise(text) else {
        return Vec::new();
    };
    let mut candidates = Vec::new();
    if !name.contains('.') && !text.ends_with('.') {
        let within = search_domains.iter().map(|domain| format!("{name}.{domain}"));
        candidates.extend(within.filter_map(|name| normalise(&name)));
    }
    candidates.push(name);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused() {
        assert_eq!(normalise("Example.COM.").as_deref(), Some("example.com"));
        assert_eq!(normalise("_dns.x-1.local").as_deref(), Some("_dns.x-1.local"));
        let long_label = "a".repeat(64);
        let long_name = "abcdefgh.".repeat(29);
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a\0",
            "bücher.example",
            "a/b",
            &long_label,
            &long_name,
        ] {
            assert_eq!(normalise(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn search_domains_apply_to_single_labels_only() {
        let search = ["corp.example".to_owned(), "bad domain".to_owned()];
        assert_eq!(candidates("intra", &search), ["intra.corp.example", "intra"]);
        assert_eq!(candidates("intra.", &search), ["intra"]);
        assert_eq!(candidates("a.b", &search), ["a.b"]);
    }

    #[test]
    fn literals_come_with_and_without_brackets() {
        assert_eq!(literal("[2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(literal("10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(literal("10.0.0"), None);
    }
}
