//! SOCKS: version 5 is served, version 4 is refused in its own words.

mod auth;
pub(crate) mod v4;
pub(crate) mod v5;
