//! The status page: one HTML file with its style and script inside, which the policy names by their digests.
//!
//! The page is the same for everybody; all that changes comes as JSON.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tunless_proxy::SiteResponse;

use super::answer;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page and the policy that lets nothing else in.
#[derive(Debug)]
struct Page {
    html: String,
    policy: String,
}

/// The page.
pub(super) fn response() -> SiteResponse {
    static PAGE: OnceLock<Page> = OnceLock::new();
    let page = PAGE.get_or_init(build);
    let mut response = answer(200, "text/html; charset=utf-8", page.html.clone());
    response
        .fields
        .push(("Content-Security-Policy", page.policy.clone()));
    response
}

fn build() -> Page {
    let html = HTML
        .replacen("{{style}}", STYLE, 1)
        .replacen("{{script}}", SCRIPT, 1);
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        source(STYLE),
        source(SCRIPT)
    );
    Page { html, policy }
}

/// How a policy names an inline text (CSP 3 §6.7.3.3).
fn source(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    format!("sha256-{}", BASE64_STANDARD.encode(digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_covers_exactly_what_stands_between_the_tags() {
        let page = build();
        for (open, close, text) in [("<style>", "</style>", STYLE), ("<script>", "</script>", SCRIPT)] {
            let (_, rest) = page.html.split_once(open).unwrap();
            let (inside, rest) = rest.split_once(close).unwrap();
            assert_eq!(inside, text);
            assert!(page.policy.contains(&source(inside)));
            assert!(!rest.contains(open), "one {open} only");
        }
        assert!(!page.policy.contains("unsafe") && !page.policy.contains('*'));
        assert_eq!(source(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_makes_no_html_of_data() {
        let page = build();
        for banned in [
            "https://",
            "src=\"http",
            "@import",
            "innerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!page.html.contains(banned), "{banned}");
        }
        assert!(!page.html.contains("{{"), "a place was left empty");
        assert!(page.html.contains("width=device-width"));
    }
}
