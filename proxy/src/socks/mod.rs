//! SOCKS: versions 4 and 5, and the header that datagrams wear in version 5.

mod auth;
pub(crate) mod header;
pub(crate) mod v4;
pub(crate) mod v5;
