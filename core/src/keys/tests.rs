//! Key derivation by the vectors.

use super::*;
use crate::wire::fixtures::hex;

#[test]
fn the_prf_vectors_come_out() {
    let mut out = [0; 8];
    prf(b"tls1-prf-test-secret", &[b"tls1-prf-test"], &mut out);
    assert_eq!(out[..], hex("7144fe2540737595"));
    let secret =
        b"Lorem ipsum dolor sit amet, consectetur adipisici elit, sed eiusmod tempor incidunt ut labore et \
        dolore magna aliqua.";
    assert_eq!(secret.len(), 117);
    let mut out = [0; 32];
    let seed = b"Quis aute iure reprehenderit in voluptate velit esse cillum dolore";
    prf(secret, &[&seed[..9], &seed[9..]], &mut out);
    assert_eq!(
        out[..],
        hex("d98c8518c85e946927916acfc2d592fbb1567e4b4b1459e6a904ac2ddab72d67")
    );
}

#[test]
fn the_prf_needs_no_secret_and_no_room() {
    prf(&[], &[], &mut []);
    prf(&[1], &[&[]], &mut [0; 3]);
}

fn counting() -> (KeySource, KeySource) {
    let mut pre_master = [0; 48];
    for (index, byte) in pre_master.iter_mut().enumerate() {
        *byte = u8::try_from(index).unwrap();
    }
    let client = KeySource {
        pre_master: Some(pre_master),
        random1: [0x10; 32],
        random2: [0x20; 32],
    };
    let server = KeySource {
        pre_master: None,
        random1: [0x30; 32],
        random2: [0x40; 32],
    };
    (client, server)
}

/// The key material of the data packets among the test vectors.
pub(crate) fn vector_key() -> Key2 {
    let (client, server) = counting();
    let client_sid = SessionId(0x0102_0304_0506_0708_u64.to_be_bytes());
    let server_sid = SessionId(0x1112_1314_1516_1718_u64.to_be_bytes());
    Key2::from_prf(&client, &server, client_sid, server_sid).unwrap()
}

#[test]
fn the_key_derivation_vector_comes_out() {
    let key = vector_key();
    let (client, server) = key.directed(Role::Client);
    let material = [&client.cipher[..], &client.hmac, &server.cipher, &server.hmac].concat();
    assert_eq!(
        material,
        hex("c5407f421c24c90899ff037dcec710f1f4c01f3fe2a8dd4e25ce962905b7ba75
            7576023f8b7328379f4f4b3bd182c6ea429812bf553b7bbb7f07fc286433be07
            e647448a28312e9839e883b22ab1f91ae3d0d9aa856f29333f18a96b61d36aee
            d5ef3e7dbc19e85ada25bdc143850ed0e2d1c4e4e2e3d5dbac0aa2aa8ef75b4b
            53204868084aa7dca59383b379057b916675541b6a3a5e8bf645722d890d22ba
            cc80b64a2a239a2c6072917839365687146eed8335cecbca1aaa2805285d0ff0
            f4a987a0e9c0621cfbd2acbe70105d24648df9ee7f657eac335959d2860b324e
            17ce14c90bfebc54a84103e9ed11a5ea4f9b4772c3f3cfb621f9f0abdfa93b1d")
    );
    let (out, inward) = key.directed(Role::Server);
    assert_eq!((out.cipher, inward.cipher), (server.cipher, client.cipher));
}

#[test]
fn exported_material_is_taken_in_order() {
    let mut exported = [1; KEY2_BYTES];
    exported[128..].fill(2);
    let key = Key2::from_exporter(&exported);
    let (out, inward) = key.directed(Role::Client);
    assert_eq!((out.cipher, inward.hmac), ([1; 64], [2; 64]));
    assert_eq!(format!("{key:?}"), "Key2([secret])");
}

#[test]
fn without_a_pre_master_secret_there_is_no_key() {
    let (_, server) = counting();
    let sid = SessionId([1; 8]);
    let error = Key2::from_prf(&server, &server, sid, sid).unwrap_err();
    assert_eq!(error, KeyError::NoPreMaster);
}
