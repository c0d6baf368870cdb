//! The way to the server through a proxy: what is said to it, and what follows when it wants a login.
//!
//! A remote with a proxy is never connected to without it: the address that is resolved and opened is the proxy's,
//! and the server's name is the proxy's business.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tunless_core::{
    client::{Attempt, CloseReason},
    config::{Family, HttpLogin, ProxyCredentials, ProxyKind, Remote, UpstreamProxy},
    upstream::{Dialogue, UpstreamError, UpstreamFailure},
};

use super::{
    attempt::{Phase, again},
    chain,
    client::Driver,
    handle::QuestionKind,
};
use crate::transport::{Upstream, UpstreamFault};

/// What is known of the logins at proxies, by their places; there are no more than the profile names.
#[derive(Debug, Default)]
pub(super) struct ProxyLogins(BTreeMap<String, ProxyLogin>);

#[derive(Debug, Default)]
struct ProxyLogin {
    /// What a person typed; it counts before what the profile says.
    typed: Option<ProxyCredentials>,
    /// The proxy has asked: from now on they are sent at once.
    wanted: bool,
    /// The profile's are wrong.
    refused: bool,
}

impl ProxyLogins {
    /// What the next request carries.
    fn to_send<'a>(&'a self, proxy: &'a UpstreamProxy) -> Option<&'a ProxyCredentials> {
        let Some(login) = self.0.get(&proxy.place()) else {
            return proxy.credentials.as_ref().filter(|_| sends_at_once(&proxy.kind));
        };
        let own = proxy.credentials.as_ref();
        let own = own.filter(|_| !login.refused && (login.wanted || sends_at_once(&proxy.kind)));
        login.typed.as_ref().or(own)
    }

    /// The proxy wants a login; tells whether there is one to send.
    fn on_wanted(&mut self, proxy: &UpstreamProxy) -> bool {
        self.0.entry(proxy.place()).or_default().wanted = true;
        self.to_send(proxy).is_some()
    }

    /// The proxy does not take what was sent.
    fn on_refused(&mut self, proxy: &UpstreamProxy) {
        let login = self.0.entry(proxy.place()).or_default();
        login.typed = None;
        login.refused = true;
    }

    /// Takes what a person typed for the proxy at `place`.
    pub(super) fn on_typed(&mut self, place: &str, credentials: ProxyCredentials) {
        self.0.entry(place.to_owned()).or_default().typed = Some(credentials);
    }

    /// `auth-nocache`: what a person typed is not kept.
    pub(super) fn forget_typed(&mut self) {
        self.0.values_mut().for_each(|login| login.typed = None);
    }

    /// Another profile may know better credentials; what was typed is still right for the same proxy.
    pub(super) fn adopt(&mut self) {
        self.0.retain(|_, login| {
            login.refused = false;
            login.typed.is_some()
        });
    }
}

fn sends_at_once(kind: &ProxyKind) -> bool {
    match kind {
        ProxyKind::Http(http) => http.login == HttpLogin::AtOnce,
        ProxyKind::Socks5 => true,
    }
}

impl Driver {
    /// What is connected to first, and so resolved here: the proxy, or the server where there is none.
    pub(super) fn first_stop(&self, remote: &Remote) -> (String, u16, Family) {
        match &remote.proxy {
            Some(proxy) => (proxy.host.clone(), proxy.port, remote.proto.family),
            None => (self.host_name(remote), remote.port, remote.proto.family),
        }
    }

    /// What is to be said to the remote's proxy, if it has one.
    pub(super) fn upstream(&self, remote: &Remote) -> Result<Option<Box<Upstream>>, UpstreamError> {
        let Some(proxy) = &remote.proxy else {
            return Ok(None);
        };
        let host = self.host_name(remote);
        let dialogue = Dialogue::start(proxy, (&host, remote.port), self.proxies.to_send(proxy));
        Ok(Some(Box::new(Upstream::new(dialogue?))))
    }

    /// Goes on with a connection that is being opened.
    pub(super) fn step_opening(&mut self, now: Instant) {
        let Phase::Opening {
            index,
            tcp,
            upstream,
            ready,
            deadline,
        } = &mut self.phase
        else {
            return;
        };
        let (index, address, late) = (*index, tcp.peer(), *deadline <= now);
        let opened = if std::mem::take(ready) {
            match (tcp.connected(), upstream) {
                (Ok(true), Some(upstream)) => upstream.advance(tcp),
                (connected, _) => connected.map_err(UpstreamFault::from),
            }
        } else {
            Ok(false)
        };
        match opened {
            Ok(true) => self.on_opened(now),
            Ok(false) if late => self.on_no_way(now, index, "no answer in time"),
            Ok(false) => {}
            Err(UpstreamFault::Transport(error)) => self.on_no_way(now, index, &chain(&error)),
            Err(UpstreamFault::Proxy(error)) => {
                self.on_proxy_error(now, again(index, address), error);
            }
        }
    }

    /// The connection failed by itself.
    fn on_no_way(&mut self, now: Instant, index: usize, why: &str) {
        let proxy = self
            .setup
            .remote(index)
            .ok()
            .and_then(|remote| remote.proxy.as_ref());
        let why = match proxy {
            Some(proxy) => format!("the {proxy}: {why}"),
            None => why.to_owned(),
        };
        self.on_not_opened(now, &why);
    }

    /// The proxy gives no way: with other credentials perhaps, else it is a failed attempt.
    pub(super) fn on_proxy_error(&mut self, now: Instant, attempt: Attempt, error: UpstreamError) {
        let setup = Arc::clone(&self.setup);
        let Ok(Remote {
            proxy: Some(proxy), ..
        }) = setup.remote(attempt.index)
        else {
            return;
        };
        if !error.is_about_credentials() {
            self.failed(now, &CloseReason::Upstream(failure(proxy, error)));
            return;
        }
        let refused = error != UpstreamError::WantsCredentials;
        if refused {
            if let UpstreamError::Credentials(why) = error {
                tracing::warn!(why, "the proxy cannot be sent these credentials");
            }
            self.proxies.on_refused(proxy);
        } else if self.proxies.on_wanted(proxy)
            && let Some(address) = attempt.address
        {
            tracing::debug!("the proxy wants a login");
            self.open(now, attempt.index, address);
            return;
        }
        let place = proxy.place();
        self.ask(
            now,
            attempt,
            QuestionKind::ProxyCredentials {
                proxy: place,
                refused,
            },
        );
    }
}

fn failure(proxy: &UpstreamProxy, error: UpstreamError) -> UpstreamFailure {
    UpstreamFailure {
        proxy: proxy.to_string(),
        is_http: matches!(proxy.kind, ProxyKind::Http(_)),
        error,
    }
}

#[cfg(test)]
mod tests {
    use tunless_core::config::HttpProxy;

    use super::*;

    fn ann() -> ProxyCredentials {
        ProxyCredentials {
            username: "ann".to_owned(),
            password: "secret".into(),
        }
    }

    fn proxy(login: HttpLogin, credentials: Option<ProxyCredentials>) -> UpstreamProxy {
        let options = HttpProxy {
            login,
            ..HttpProxy::default()
        };
        UpstreamProxy {
            host: "proxy.example".to_owned(),
            port: 3128,
            kind: ProxyKind::Http(options),
            credentials,
        }
    }

    #[test]
    fn the_profiles_credentials_are_sent_at_once_or_when_they_are_wanted() {
        let mut logins = ProxyLogins::default();
        let at_once = proxy(HttpLogin::AtOnce, Some(ann()));
        assert_eq!(logins.to_send(&at_once), Some(&ann()));
        let when_asked = proxy(HttpLogin::WhenAsked, Some(ann()));
        assert_eq!(logins.to_send(&when_asked), None);
        assert!(logins.on_wanted(&when_asked));
        assert_eq!(logins.to_send(&when_asked), Some(&ann()));
        logins.on_refused(&when_asked);
        assert_eq!(logins.to_send(&when_asked), None, "they are wrong");
        assert!(!logins.on_wanted(&when_asked));
    }

    #[test]
    fn what_was_typed_counts_until_it_is_refused_or_forgotten() {
        let (mut logins, proxy) = (ProxyLogins::default(), proxy(HttpLogin::WhenAsked, None));
        assert!(!logins.on_wanted(&proxy));
        logins.on_typed(&proxy.place(), ann());
        assert_eq!(logins.to_send(&proxy), Some(&ann()));
        logins.adopt();
        assert_eq!(logins.to_send(&proxy), Some(&ann()), "also with another profile");
        logins.on_refused(&proxy);
        assert_eq!(logins.to_send(&proxy), None);
        logins.on_typed(&proxy.place(), ann());
        logins.forget_typed();
        assert_eq!(logins.to_send(&proxy), None);
    }
}
