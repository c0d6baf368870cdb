//! Calls on a session: rights, what the session manager answers itself, and what the client process answers.

use std::sync::Arc;

use zbus::OwnedObjectPath;

use super::{
    manager::{Manager, object_path},
    session::{Right, Stage},
};
use crate::{
    bus::{Body, Call, Caller, RemoteError, read_body},
    error::{CallError, Domain, bare_text},
    names::{interface, path, printable, service},
};

/// The name that `Ready` of a client process fails with.
const READY_ERROR: &str = "2eerror_2eready.Code36";

impl Manager {
    pub(super) async fn on_session(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        let (path, caller) = (call.path.as_str(), &call.caller);
        let right = match call.method.name {
            "AccessGrant" | "AccessRevoke" => Right::Own,
            "LogForward" => Right::Log,
            _ => Right::Use,
        };
        self.with(path, |session| {
            session.check(caller, right)?;
            session.used_by(caller);
            Ok(())
        })?;
        match call.method.name {
            "AccessGrant" | "AccessRevoke" => {
                let uid: u32 = call.args()?;
                self.with(path, |session| match call.method.name {
                    "AccessGrant" => session.grant(uid),
                    _ => session.revoke(uid),
                })?;
                self.save(path);
                self.tell_users(path).await;
                Ok(Body::none())
            }
            "LogForward" => self.log_forward(path, caller, call.args()?).await,
            "Disconnect" => self.disconnect(path).await,
            "Pause" => {
                let reason: String = call.args()?;
                self.pass(path, "Pause", Body::of((printable(&reason),)))
                    .await
                    .map(|_reply| Body::none())
            }
            "UserInputQueueGetTypeGroup" => {
                let groups: Vec<(u32, u32)> = self.pass_for(path, call.method.name, Body::none()).await?;
                Ok(Body::of((groups,)))
            }
            "UserInputQueueCheck" => {
                let args: (u32, u32) = call.args()?;
                let open: Vec<u32> = self.pass_for(path, call.method.name, Body::of(args)).await?;
                Ok(Body::of((open,)))
            }
            "UserInputQueueFetch" => {
                let args: (u32, u32, u32) = call.args()?;
                let slot: (u32, u32, u32, String, String, bool) =
                    self.pass_for(path, call.method.name, Body::of(args)).await?;
                Ok(Body::of(slot))
            }
            "UserInputProvide" => {
                let args: (u32, u32, u32, String) = call.args()?;
                self.pass(path, call.method.name, Body::of(args))
                    .await
                    .map(|_reply| Body::none())
            }
            name => self
                .pass(path, name, Body::none())
                .await
                .map(|_reply| Body::none()),
        }
    }

    /// Has the client process of a session do something.
    async fn pass(
        self: &Arc<Self>,
        path: &str,
        method: &str,
        body: Body,
    ) -> Result<zbus::Message, CallError> {
        let client = self.with(path, |session| match (session.stage, &session.unique) {
            (Stage::Open, Some(client)) => Ok(client.clone()),
            _ => Err(CallError::request("Backend VPN process is not ready")),
        })?;
        let called = self
            .bus
            .call(&client, path::CLIENT, interface::BACKENDS, method, body)
            .await;
        match called {
            Ok(reply) => Ok(reply),
            Err(error) if error.is_unanswered() => Err(self.on_unanswered(path, &client).await),
            Err(error) => Err(passed_on(&error)),
        }
    }

    async fn pass_for<T: serde::de::DeserializeOwned + zbus::Type>(
        self: &Arc<Self>,
        path: &str,
        method: &str,
        body: Body,
    ) -> Result<T, CallError> {
        read_body(&self.pass(path, method, body).await?)
    }

    /// A client process did not answer: gone, or stuck.
    pub(super) async fn on_unanswered(self: &Arc<Self>, path: &str, client: &str) -> CallError {
        tracing::warn!(path, client, "the client process does not answer");
        self.close_killed(path, client).await;
        CallError::method("Backend VPN process did not respond")
    }

    /// Sends the session's log and statuses to a connection, or does so no more.
    async fn log_forward(&self, path: &str, caller: &Caller, enable: bool) -> Result<Body, CallError> {
        let known = self.with(path, |session| Ok(session.forwards.get(&caller.name).cloned()))?;
        match (enable, known) {
            (true, None) => {
                let proxy = self.forward(path, &caller.name).await?;
                self.with(path, |session| {
                    session.forwards.insert(caller.name.clone(), proxy);
                    Ok(())
                })?;
            }
            (false, Some(proxy)) => {
                self.with(path, |session| {
                    session.forwards.remove(&caller.name);
                    Ok(())
                })?;
                self.remove_proxy(&proxy).await;
            }
            (true, Some(_)) | (false, None) => {}
        }
        Ok(Body::none())
    }

    async fn forward(&self, path: &str, target: &str) -> Result<String, CallError> {
        let body = Body::of((target.to_owned(), object_path(path)?));
        let proxy = self
            .bus
            .ask::<OwnedObjectPath>(service::LOG, path::LOG, interface::LOG, "ProxyLogEvents", body)
            .await
            .map_err(|error| CallError::request(format!("the log cannot be forwarded: {error}")))?;
        Ok(proxy.to_string())
    }

    pub(super) async fn remove_proxy(&self, proxy: &str) {
        if let Err(error) = self
            .bus
            .call(service::LOG, proxy, interface::LOG, "Remove", Body::none())
            .await
        {
            tracing::debug!(%error, "the log service did not know the proxy");
        }
    }

    /// The log service was started anew and knows of no forwards.
    pub(super) async fn forward_again(self: &Arc<Self>) {
        self.log.attach().await;
        let wanted: Vec<(String, String)> = {
            let state = self.lock();
            let each = state.sessions.iter().flat_map(|(path, session)| {
                session
                    .forwards
                    .keys()
                    .map(move |target| (path.clone(), target.clone()))
            });
            each.collect()
        };
        for (path, target) in wanted {
            let proxy = self.forward(&path, &target).await;
            // It may have been removed meanwhile; then there is nothing to note.
            let _gone = self.with(&path, |session| {
                match proxy {
                    Ok(proxy) => session.forwards.insert(target, proxy),
                    Err(_) => session.forwards.remove(&target),
                };
                Ok(())
            });
        }
    }
}

/// A client process's refusal as ours. Front ends look for `Ready`'s own domain; in others a second blank tells that
/// the failure came from further behind.
fn passed_on(error: &RemoteError) -> CallError {
    let text = bare_text(&error.text);
    if error.name.ends_with(READY_ERROR) {
        CallError::new(Domain::Ready, text)
    } else {
        CallError::request(format!(" {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_what_front_ends_look_for() {
        let of = |error: &CallError| RemoteError {
            name: error.name(),
            text: error.message(),
        };
        let ready = of(&CallError::new(Domain::Ready, "Missing user credentials"));
        let passed = passed_on(&ready).message();
        assert_eq!(
            passed,
            "GDBus.Error:net.openvpn.v3.error.ready: Missing user credentials"
        );
        let paused = of(&CallError::new(Domain::Client, "Connection is already paused"));
        let passed = passed_on(&paused).message();
        assert_eq!(
            passed,
            "GDBus.Error:net.openvpn.gdbuspp.request:  Connection is already paused"
        );
    }
}
