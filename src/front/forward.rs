//! Forwards that were named in advance: what they are, and opening their local ends.

use std::fmt;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tunless_proxy as proxy;

use super::listen::{Access, ListenError, Open, OpenDatagrams, Place};
use super::route::Router;
use crate::driver::StackConnector;

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl fmt::Display for Carries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A forward as it is asked for (`ssh -L`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalForward {
    /// The local end.
    pub place: Place,
    /// Where its traffic goes, through the tunnel.
    pub target: proxy::Target,
    /// What is carried.
    pub carries: Carries,
}

/// A forward whose local end is open.
#[derive(Debug)]
pub struct OpenForward {
    target: proxy::Target,
    local: Local,
}

#[derive(Debug)]
enum Local {
    Stream(Open),
    Datagrams(OpenDatagrams),
}

impl OpenForward {
    /// Opens the local end. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn new(forward: &LocalForward, access: &Access) -> Result<Self, ListenError> {
        let local = match forward.carries {
            Carries::Tcp => Local::Stream(Open::new(&forward.place, access).await?),
            Carries::Udp => Local::Datagrams(OpenDatagrams::new(&forward.place, access).await?),
        };
        Ok(Self {
            target: forward.target.clone(),
            local,
        })
    }

    /// What it is, with the port that it got.
    pub fn describe(&self) -> LocalForward {
        let (place, carries) = match &self.local {
            Local::Stream(open) => (&open.place, Carries::Tcp),
            Local::Datagrams(open) => (&open.place, Carries::Udp),
        };
        LocalForward {
            place: place.clone(),
            target: self.target.clone(),
            carries,
        }
    }

    /// Starts to serve; the settings' users are replaced by those of the local end.
    pub(super) fn start(
        self,
        connector: Router<StackConnector>,
        mut settings: proxy::Settings,
        shutdown: CancellationToken,
    ) -> JoinHandle<proxy::Drained> {
        settings.credentials = None;
        settings.site = None;
        match self.local {
            Local::Stream(open) => {
                settings.users = open.users;
                let (listener, file) = (open.listener, open.file);
                let serve =
                    proxy::forward::stream(listener, self.target, connector, settings, shutdown.clone());
                tokio::spawn(super::with_file(serve, file, shutdown))
            }
            Local::Datagrams(open) => {
                settings.users = open.users;
                tokio::spawn(proxy::forward::datagrams(
                    open.socket,
                    self.target,
                    connector,
                    settings,
                    shutdown,
                ))
            }
        }
    }
}
