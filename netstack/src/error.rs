//! What a caller of the stack can be told: why a flow could not be opened, and why a relay ended.

/// Why a flow could not be opened or a name not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The far end answered the SYN with a reset, or a gateway said that the port is closed.
    #[error("the far end refused the connection")]
    Refused,
    /// The flow was reset while it was being set up.
    #[error("the connection was reset")]
    Reset,
    /// A gateway inside the tunnel cannot reach that host.
    #[error("the host cannot be reached through the tunnel")]
    HostUnreachable,
    /// The tunnel has no inner address of that family, a gateway has no route, or no host can have that address.
    #[error("the tunnel has no way to that network")]
    NetworkUnreachable,
    /// The resolver inside the tunnel says that there is no such name, or the name cannot be one.
    #[error("the name does not exist inside the tunnel")]
    NameNotFound,
    /// A name was given, but the tunnel came without a resolver.
    #[error("the tunnel brought no name server; name one to ask through the tunnel")]
    NoResolver,
    /// Every resolver failed to give a usable answer.
    #[error("the name servers inside the tunnel gave no usable answer")]
    ResolverFailed,
    /// Nothing came back within the time allowed.
    #[error("nothing answered in time")]
    TimedOut,
    /// The tunnel is not connected and did not come back within the time allowed.
    #[error("the tunnel is down")]
    TunnelDown,
    /// The limit on flows, lookups or buffers is reached.
    #[error("too many connections are open in this tunnel")]
    TooManyFlows,
    /// Somebody listens on that inner port already.
    #[error("the inner port is in use already")]
    PortInUse,
    /// The stack has gone.
    #[error("the tunnel is closed")]
    Closed,
}

/// Why a DNS query was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It cannot be read, or does not have exactly one question.
    #[error("the message is no DNS query with one question")]
    Malformed,
    /// It asks for something else than an answer.
    #[error("only ordinary DNS queries (operation 0) are taken")]
    NotSupported,
    /// No server inside the tunnel answered it.
    #[error(transparent)]
    Failed(#[from] FlowError),
}

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Both directions were closed in order and every byte was delivered.
    Finished,
    /// The local socket failed or was reset; the far end was sent a reset.
    LocalReset,
    /// The far end reset the flow; the local socket was reset.
    RemoteReset,
    /// Nothing moved in either direction for the idle time.
    IdleTimeout,
    /// The far end stopped acknowledging data.
    TimedOut,
    /// The inner address changed with a new session.
    AddressChanged,
    /// The stack was stopped, or the flow had gone before the local socket was handed over.
    Closed,
}
