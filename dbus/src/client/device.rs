//! The tunnel's device as the network configuration service shows it.

use std::net::IpAddr;

use super::program::Connected;
use crate::{
    bus::{Body, Bus, RemoteError, Value},
    names::{interface, path, service},
};

/// Metric that stands for "none given".
const NO_METRIC: i32 = -1;

/// Describes the device of a connection; gives its path. An older description is replaced.
///
/// # Errors
/// Where the service does not answer or does not accept it.
pub(super) async fn describe(
    bus: &Bus,
    known: Option<String>,
    token: &str,
    connected: &Connected,
) -> Result<String, RemoteError> {
    let device = Device { bus };
    let path = match known {
        Some(path) if device.tell(&path, "Disable", Body::none()).await.is_ok() => path,
        Some(_) | None => device.create(token).await?,
    };
    for address in &connected.addresses {
        let gateway = String::new();
        let body = Body::of((
            address.addr().to_string(),
            u32::from(address.prefix_len()),
            gateway,
            address.addr().is_ipv6(),
        ));
        device.tell(&path, "AddIPAddress", body).await?;
    }
    if let Ok(remote) = connected.address.parse::<IpAddr>() {
        let body = Body::of((remote.to_string(), remote.is_ipv6()));
        device.tell(&path, "SetRemoteAddress", body).await?;
    }
    let mut networks: Vec<(String, u32, i32, bool, bool)> = Vec::new();
    for route in &connected.routes {
        let (network, v6) = (route.network(), route.addr().is_ipv6());
        networks.push((
            network.to_string(),
            route.prefix_len().into(),
            NO_METRIC,
            v6,
            false,
        ));
    }
    if !networks.is_empty() {
        device.tell(&path, "AddNetworks", Body::of((networks,))).await?;
    }
    let servers: Vec<String> = connected.dns_servers.iter().map(ToString::to_string).collect();
    if !servers.is_empty() {
        device.tell(&path, "AddDNS", Body::of((servers,))).await?;
    }
    if !connected.dns_search.is_empty() {
        let domains = Body::of((connected.dns_search.clone(),));
        device.tell(&path, "AddDNSSearch", domains).await?;
    }
    device.set(&path, "mtu", connected.mtu_bytes.into()).await?;
    device.set(&path, "layer", 3_u32.into()).await?;
    device
        .set(&path, "reroute_ipv4", connected.redirects.0.into())
        .await?;
    device
        .set(&path, "reroute_ipv6", connected.redirects.1.into())
        .await?;
    let body = Body::of((connected.device_kind.to_owned(), connected.device_name.clone()));
    bus.call(service::NETCFG, &path, interface::DEVICE1, "Describe", body)
        .await?;
    Ok(path)
}

/// Takes a description back.
pub(super) async fn remove(bus: &Bus, path: &str) {
    let device = Device { bus };
    if let Err(error) = device.tell(path, "Destroy", Body::none()).await {
        tracing::debug!(%error, "the device's description could not be taken back");
    }
    if let Err(error) = device.tell(path::NETCFG, "Cleanup", Body::none()).await {
        tracing::debug!(%error, "the network configuration could not be cleaned up");
    }
}

struct Device<'a> {
    bus: &'a Bus,
}

impl Device<'_> {
    async fn create(&self, token: &str) -> Result<String, RemoteError> {
        let body = Body::of((token.to_owned(),));
        let created = self.bus.ask::<zbus::OwnedObjectPath>(
            service::NETCFG,
            path::NETCFG,
            interface::NETCFG,
            "CreateVirtualInterface",
            body,
        );
        Ok(created.await?.to_string())
    }

    async fn tell(&self, path: &str, method: &str, body: Body) -> Result<(), RemoteError> {
        let told = self
            .bus
            .call(service::NETCFG, path, interface::NETCFG, method, body);
        told.await.map(|_reply| ())
    }

    async fn set(&self, path: &str, property: &str, value: Value) -> Result<(), RemoteError> {
        self.bus
            .set_property(service::NETCFG, path, interface::NETCFG, property, value)
            .await
    }
}
