//! What a person or a server wrote, in three levels: text with positions, values that can be run, and what
//! was negotiated.
//!
//! [`lex`] turns a line into parameters and a file into lines, [`directive`] is the table of every option,
//! [`Directives`] holds the options as written, [`ClientConfig`] and [`ServerConfig`] can be run, and [`Pushed`]
//! merges a client's configuration with what its server pushed. Nothing here opens a file: whoever calls reads
//! the files that options name.

pub mod client;
mod common;
mod credentials;
pub mod directive;
mod dns;
mod error;
pub mod lex;
pub mod network;
pub mod options;
pub mod pushed;
mod raw;
mod read;
pub mod server;
#[cfg(test)]
mod tests;
pub mod upstream;

pub use client::{
    AuthRetry, ChallengeFormat, ClientConfig, ConnectRetry, CredentialSource, PullAction, PullFilter, Remote,
    ResolvRetry, StaticChallenge,
};
pub use error::{ConfigError, ConfigErrors, ConfigProblem, Note};
pub use network::{
    Destination4, DnsSecurity, DnsServer, DnsSettings, DnsTransport, Gateway4, InnerV4, InnerV6, Network,
    Redirect, Route4, Route6, Topology,
};
pub use options::{
    CertProfile, Family, Identity, Inactive, Limits, MssFix, NameRule, Proto, Renegotiation, ReplayWindow,
    Timers, TlsOptions, TlsVersion, Transport, Usage, VerifyName, WrapKey,
};
pub use pushed::{Assembled, ProtocolFlags, PushAssembler, PushError, Pushed, decode_token_user};
pub use raw::{Connection, Directive, Directives};
pub use read::{BadValue, ReadFile};
pub use server::{ClientCert, Rate, ServerConfig, ServerV6};
pub use upstream::{
    HttpHeader, HttpLogin, HttpProxy, HttpVersion, ProxyCredentials, ProxyKind, UpstreamProxy,
};
