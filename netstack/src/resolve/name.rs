//! Names that may be asked for.

use std::net::IpAddr;

/// RFC 1035 §2.3.4, without the dot at the end.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;
/// Search domains that one name is tried in (what resolvers of the C library have long taken).
const MAX_SEARCH_DOMAINS: usize = 6;

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

/// What to ask for, in order: a single label first within the search domains, then as it is; a name with dots the
/// other way round; a name with a dot at its end only as it is.
pub(crate) fn candidates(text: &str, search_domains: &[String]) -> Vec<String> {
    let Some(name) = normalise(text) else {
        return Vec::new();
    };
    if text.ends_with('.') {
        return vec![name];
    }
    let within = search_domains.iter().take(MAX_SEARCH_DOMAINS);
    let within = within.filter_map(|domain| normalise(&format!("{name}.{domain}")));
    if name.contains('.') {
        std::iter::once(name.clone()).chain(within).collect()
    } else {
        within.chain([name.clone()]).collect()
    }
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
    fn search_domains_come_first_for_single_labels_and_last_for_names_with_dots() {
        let search = [
            "corp.example".to_owned(),
            "bad domain".to_owned(),
            "test".to_owned(),
        ];
        assert_eq!(
            candidates("Intra", &search),
            ["intra.corp.example", "intra.test", "intra"]
        );
        assert_eq!(
            candidates("a.b", &search),
            ["a.b", "a.b.corp.example", "a.b.test"]
        );
        for absolute in ["intra.", "a.b."] {
            assert_eq!(candidates(absolute, &search), [absolute.trim_end_matches('.')]);
        }
        assert_eq!(candidates("a..b", &search), Vec::<String>::new());
    }

    #[test]
    fn not_all_of_many_search_domains_are_tried() {
        let search: Vec<String> = (0..100).map(|number| format!("d{number}.test")).collect();
        assert_eq!(candidates("intra", &search).len(), MAX_SEARCH_DOMAINS + 1);
        // What gets too long in a domain is asked for without it.
        let long = format!("{}.x", "abcdefg.".repeat(31).trim_end_matches('.'));
        assert_eq!(candidates(&long, &search), [long.as_str()]);
    }

    #[test]
    fn literals_come_with_and_without_brackets() {
        assert_eq!(literal("[2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(literal("10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(literal("10.0.0"), None);
    }
}
