//! Owners of sockets of this very process, by both ways of asking.

use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt as _;

use super::*;

/// The user who runs this.
fn own() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// A client, our end of it, and what they are called.
fn pair(address: &str) -> (TcpStream, TcpStream, Client) {
    let listener = TcpListener::bind(address).unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = match listener.local_addr().unwrap() {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], port)),
        other @ (SocketAddr::V4(_) | SocketAddr::V6(_)) => other,
    };
    let client = TcpStream::connect(to).unwrap();
    let (ours, peer) = listener.accept().unwrap();
    let asked = Client::new(Transport::Tcp, peer, ours.local_addr().unwrap());
    (client, ours, asked)
}

#[test]
fn both_ways_find_the_owner_of_a_connected_client() {
    // The last one is an IPv4 client of a listener for both families.
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let (_client, _ours, asked) = pair(address);
        assert_eq!(diag::owners(asked).unwrap(), [own()], "{address}");
        assert_eq!(table::owners(asked).unwrap(), [own()], "{address}");
    }
}

#[test]
fn a_client_that_has_closed_has_no_owner_and_is_nobody() {
    let (client, _ours, asked) = pair("127.0.0.1:0");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        diag::owners(asked).unwrap(),
        [own()],
        "half-closed is still somebody's"
    );
    assert_eq!(table::owners(asked).unwrap(), [own()]);
    drop(client);
    assert!(diag::owners(asked).unwrap().is_empty());
    assert!(table::owners(asked).unwrap().is_empty());
}

#[test]
fn a_listener_on_the_clients_port_does_not_answer_for_it() {
    let (other, _ours, _) = pair("127.0.0.1:0");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let asked = Client::new(
        Transport::Tcp,
        listener.local_addr().unwrap(),
        other.local_addr().unwrap(),
    );
    assert!(diag::owners(asked).unwrap().is_empty());
    assert!(table::owners(asked).unwrap().is_empty());
}

#[test]
fn both_ways_find_every_socket_on_a_datagram_clients_port() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"] {
        let client = UdpSocket::bind(address).unwrap();
        let port = client.local_addr().unwrap().port();
        let ours = SocketAddr::from((Ipv6Addr::LOCALHOST, 53));
        let asked = Client::new(Transport::Udp, SocketAddr::from(([127, 0, 0, 1], port)), ours);
        assert_eq!(diag::owners(asked).unwrap(), [own()], "{address}");
        assert_eq!(table::owners(asked).unwrap(), [own()], "{address}");
        drop(client);
        assert!(diag::owners(asked).unwrap().is_empty(), "{address}");
        assert!(table::owners(asked).unwrap().is_empty(), "{address}");
    }
}

#[tokio::test]
async fn only_the_user_and_root_may() {
    let (client, ours, _) = pair("127.0.0.1:0");
    let (client, ours) = (client.local_addr().unwrap(), ours.local_addr().unwrap());
    assert!(is_allowed(&Users::Everybody, Transport::Tcp, client, ours).await);
    assert!(is_allowed(&Users::Only(own()), Transport::Tcp, client, ours).await);
    // A client that the kernel does not know is nobody's.
    assert!(!is_allowed(&Users::Only(own()), Transport::Tcp, ours, ours).await);
    assert!(Users::Only(1000).contain(1000) && Users::Only(1000).contain(0));
    assert!(!Users::Only(1000).contain(1001) && !Users::Only(0).contain(1000));
}

#[test]
fn lines_of_the_tables_are_read_and_others_ignored() {
    let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:9C40 0100007F:0438 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 20\n\
        1: 0100007F:9C40 0100007F:0439 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0 20\n\
        2: 0000000000000000FFFF00000100007F:9C40 0000000000000000FFFF00000100007F:0438 05 0:0 0:0 0 1002 0 4713\n\
        3: 0100007F:9C40 0100007F:0438 06 00000000:00000000 03:00000000 00000000     0        0 4714 3 0\n\
        4: 0100007F:9C40 0100007F:0438 04 00000000:00000000 00:00000000 00000000     0        0 0 1 0\n\
        5: 0100007F:9C40\n\
        6: nonsense 0100007F:0438 01 0:0 0:0 0 1003 0 9\n";
    let client = Client::new(
        Transport::Tcp,
        "127.0.0.1:40000".parse().unwrap(),
        "127.0.0.1:1080".parse().unwrap(),
    );
    let mut owners = Vec::new();
    table::read(text.as_bytes(), client, &mut owners).unwrap();
    assert_eq!(owners, [1000, 1002]);
}

#[test]
fn a_list_of_users_changes_while_it_is_used() {
    let list = UserList::default();
    let users = Users::Listed(list.clone());
    assert!(!users.contain(1000) && users.contain(0) && !users.is_everybody());
    list.set(Some([1000, 1001].into()));
    assert!(users.contain(1000) && users.contain(1001) && !users.contain(1002));
    list.set(None);
    assert!(users.is_everybody() && users.contain(1002));
    list.set(Some([1002].into()));
    assert!(!users.contain(1000) && !users.is_everybody());
}
