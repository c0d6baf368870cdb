//! What a device takes and refuses, and which changes it tells in which order.

use super::*;

fn device() -> Device {
    let creator = Caller {
        name: ":1.5".to_owned(),
        uid: 1000,
        pid: 42,
    };
    Device::new(&creator, "token")
}

fn kinds(changes: &[Change]) -> Vec<u32> {
    changes.iter().map(|change| change.kind as u32).collect()
}

fn network(subnet: &str, prefix: u32, is_excluded: bool) -> Network {
    (subnet.to_owned(), prefix, -1, subnet.contains(':'), is_excluded)
}

fn fill(device: &mut Device) {
    device
        .add_address(&("10.8.0.2".to_owned(), 24, "10.8.0.1".to_owned(), false))
        .unwrap();
    device
        .add_networks(&[network("10.0.0.0", 8, false), network("10.9.0.0", 16, true)])
        .unwrap();
    device.add_dns(&["10.8.0.1".to_owned()]).unwrap();
    device.add_dns_search(&["corp.example".to_owned()]).unwrap();
}

#[test]
fn nothing_is_said_before_the_device_is_described() {
    let mut device = device();
    fill(&mut device);
    assert_eq!((device.name(), device.kind()), ("token", ""));
    assert!(!device.has_global_dns());
    let said = device.describe("netstack", "netstack0").unwrap();
    assert_eq!(kinds(&said), [1, 4, 16, 64, 128, 512]);
    assert!(said.iter().all(|change| change.device == "netstack0"));
    assert_eq!(said[2].details["gateway"], "10.8.0.1");
    assert_eq!((device.name(), device.kind()), ("netstack0", "netstack"));
    assert!(device.has_global_dns());
}

#[test]
fn a_new_connection_is_announced_after_the_old_one_is_taken_back() {
    let mut device = device();
    fill(&mut device);
    device.describe("netstack", "netstack0").unwrap();
    assert_eq!(kinds(&device.disable()), [1024, 256, 32, 8, 2]);
    assert!(device.disable().is_empty());
    assert_eq!(device.name(), "token");
    device
        .add_address(&("10.8.0.3".to_owned(), 24, String::new(), false))
        .unwrap();
    let said = device.describe("netstack", "netstack0").unwrap();
    assert_eq!(kinds(&said), [1, 4]);
    // What is added while it is up is said with the next description.
    device.add_dns(&["fd00::1".to_owned()]).unwrap();
    assert_eq!(kinds(&device.describe("netstack", "netstack0").unwrap()), [128]);
}

#[test]
fn one_bad_network_keeps_the_others_out() {
    let mut device = device();
    let networks = [network("10.0.0.0", 8, false), network("10.0.0.0", 33, false)];
    let error = device.add_networks(&networks).unwrap_err();
    assert_eq!(
        error.message(),
        "GDBus.Error:net.openvpn.v3.netcfg.error: prefix size 33 is too large for `10.0.0.0`"
    );
    let said = device.describe("tun", "tun0").unwrap();
    assert_eq!(kinds(&said), [1]);
}

#[test]
fn what_is_said_twice_counts_once_and_there_is_a_limit() {
    let mut device = device();
    for _ in 0..2 {
        device.add_dns(&["10.8.0.1".to_owned()]).unwrap();
    }
    assert_eq!(device.dns_servers(), ["10.8.0.1"]);
    let many: Vec<String> = (0..MAX_DNS_SERVERS)
        .map(|last| format!("10.8.1.{last}"))
        .collect();
    assert!(device.add_dns(&many).is_err());
    assert_eq!(device.dns_servers().len(), 1);
    let many: Vec<Network> = (0..=MAX_ROUTES)
        .map(|number| network(&format!("10.{}.{}.0", number / 256, number % 256), 24, false))
        .collect();
    assert!(device.add_networks(&many).is_err());
    assert!(device.add_networks(&many[1..]).is_ok());
}

#[test]
fn words_are_those_that_exist() {
    let mut device = device();
    assert!(device.set_dnssec("optional").is_ok() && device.set_dnssec("maybe").is_err());
    assert!(device.set_dns_transport("dot").is_ok() && device.set_dns_transport("DoT").is_err());
    assert!(device.set_dns_scope("tunnel").is_ok() && device.set_dns_scope("").is_err());
    assert!(device.set_layer(2).is_ok() && device.set_layer(1).is_err());
    assert!(device.set_mtu(1280).is_ok() && device.set_mtu(67).is_err());
    assert!(device.describe("loop", "lo").is_err() && device.describe("tun", "../tun").is_err());
    assert_eq!(
        (
            device.dnssec_mode,
            device.dns_scope,
            device.layer,
            device.mtu_bytes
        ),
        ("optional", "tunnel", 2, 1280)
    );
    assert_eq!(device.kind(), "");
}
