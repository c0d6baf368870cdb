//! The seam to what the port itself shows: a request in origin form goes in, a whole answer comes out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

/// A GET or HEAD of the port itself (origin form, RFC 9112 §3.2.1). Its sender is allowed to use the port, and its
/// `Host` cannot have been chosen by a web page's name (DNS rebinding): it is an address, `localhost`, or `wpad` for
/// `/wpad.dat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRequest {
    /// The path, beginning with `/`, as it was sent.
    pub path: String,
    /// What follows `?`, as it was sent.
    pub query: Option<String>,
    /// The `Host` field: where the client thinks that it is.
    pub host: Option<String>,
    /// Whether the right user name and password came with it; true where the port has none.
    pub signed_in: bool,
    /// Whether another web site caused it (`Sec-Fetch-Site: cross-site`, W3C Fetch Metadata).
    pub is_cross_site: bool,
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteResponse {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// Further fields; neither part may hold a line end.
    pub fields: Vec<(&'static str, String)>,
    /// The body; left out for HEAD.
    pub body: Vec<u8>,
}

/// Shows pages.
pub trait Site: fmt::Debug + Send + Sync + 'static {
    /// Answers; status 404 is for paths that it does not know.
    fn respond(&self, request: SiteRequest) -> Pin<Box<dyn Future<Output = SiteResponse> + Send + '_>>;
}
