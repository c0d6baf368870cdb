//! Tests of `peer_info`: round trips, vectors and malformed input.

use super::*;

#[test]
fn a_clients_lines_come_in_the_usual_order() {
    let info = ClientInfo {
        version: "2.6.14",
        platform: "linux",
        mtu: 1600,
        ciphers: &Cipher::DEFAULT,
        proto: IvProto(990),
        extra: &[("IV_SSO".to_owned(), "openurl\nIV_PROTO=0".to_owned())],
    };
    assert_eq!(
        info.to_text(),
        "IV_VER=2.6.14\nIV_PLAT=linux\nIV_TCPNL=1\nIV_MTU=1600\nIV_NCP=2\n\
         IV_CIPHERS=AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305\nIV_PROTO=990\nIV_SSO=openurl\n"
    );
    let one = ClientInfo {
        ciphers: &[Cipher::ChaCha20Poly1305],
        ..info
    };
    assert!(!one.to_text().contains("IV_NCP"));
}

#[test]
fn what_a_2_6_client_says_is_its_usual_mask() {
    let mask = IvProto::DATA_V2
        | IvProto::REQUEST_PUSH
        | IvProto::TLS_KEY_EXPORT
        | IvProto::AUTH_PENDING_KW
        | IvProto::DNS_OPTION
        | IvProto::CC_EXIT_NOTIFY
        | IvProto::AUTH_FAIL_TEMP
        | IvProto::DYN_TLS_CRYPT;
    assert_eq!(mask, IvProto(990));
    assert!(mask.contains(IvProto::DATA_V2) && !mask.contains(IvProto::DATA_EPOCH));
}

#[test]
fn values_are_found_at_line_starts() {
    let info = PeerInfo::parse("X_IV_NCP=7\nIV_NCP=2\nIV_NCP2=3\nIV_MTU=1600\nIV_CIPHERS=A::B\nIV_PROTO=6\n");
    assert_eq!(
        (info.ncp(), info.mtu(), info.proto()),
        (2, Some(1600), IvProto(6))
    );
    assert_eq!(info.ciphers(), Some(vec!["A", "B"]));
    assert_eq!(info.value("IV_VER"), None);
    let odd = PeerInfo::parse("IV_NCP=x\nIV_MTU=99999\nIV_PROTO=-1");
    assert_eq!((odd.ncp(), odd.mtu(), odd.proto()), (0, None, IvProto(0)));
}

#[test]
fn a_flood_of_lines_and_ciphers_is_cut() {
    let flood = "A=1\n".repeat(300) + "IV_NCP=2\n";
    assert_eq!(PeerInfo::parse(flood).ncp(), 0);
    let ciphers = format!("IV_CIPHERS={}", "A:".repeat(500));
    assert_eq!(
        PeerInfo::parse(ciphers).ciphers().map(|list| list.len()),
        Some(64)
    );
}

#[test]
fn only_harmless_variables_are_exported() {
    let info = PeerInfo::parse("IV_PLAT=linux\nUV_X=a b$(c)`\u{e4}\nPATH=/\nIV_A-B=1\nIV_LONE");
    let exported: Vec<(&str, String)> = info.exported().collect();
    assert_eq!(
        exported,
        [("IV_PLAT", "linux".to_owned()), ("UV_X", "a_b__c)__".to_owned())]
    );
}
