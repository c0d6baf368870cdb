//! Tests of `control`: round trips, vectors and malformed input.

use proptest::prelude::*;

use super::*;
use crate::wire::fixtures::hex;

fn round_trip(packet: &[u8]) -> (Header, Vec<u8>) {
    let (header, rest) = Header::decode(packet).unwrap();
    let body = Body::decode(header.opcode, rest).unwrap();
    let mut out = Vec::new();
    header.encode(&mut out);
    body.encode(&mut out);
    assert_eq!(out, packet);
    (header, rest.to_vec())
}

#[test]
fn a_clients_reset_reads_as_captured() {
    let packet = hex("38 6891923fa3103437 00 00000000");
    let (header, rest) = round_trip(&packet);
    assert_eq!(header.opcode, Opcode::HardResetClientV2);
    assert_eq!(header.session.to_string(), "6891923fa3103437");
    let body = Body::decode(header.opcode, &rest).unwrap();
    assert_eq!(
        (body.id, body.remote, body.payload),
        (Some(PacketId(0)), None, &[][..])
    );
}

#[test]
fn a_message_with_an_acknowledgement_reads_as_captured() {
    let packet = hex("20 7819bf2ebcd19a45 01 00000000 eafebfa4418ae31b 00000001 160301");
    let (header, rest) = round_trip(&packet);
    let body = Body::decode(header.opcode, &rest).unwrap();
    assert!(body.acks.iter().eq([PacketId(0)]));
    assert_eq!(
        body.remote,
        Some(SessionId(0xeafe_bfa4_418a_e31b_u64.to_be_bytes()))
    );
    assert_eq!((body.id, body.payload), (Some(PacketId(1)), &[0x16, 3, 1][..]));
}

#[test]
fn a_bare_acknowledgement_reads_as_captured() {
    let packet = hex("28 aeb9afe1f01d79c8 01 00000000 dd85db535623b02e");
    let (header, rest) = round_trip(&packet);
    let body = Body::decode(header.opcode, &rest).unwrap();
    assert_eq!(
        (header.opcode, body.id, body.payload),
        (Opcode::Ack, None, &[][..])
    );
    for len in 0..packet.len() {
        let decoded = Header::decode(&packet[..len])
            .and_then(|(header, rest)| Body::decode(header.opcode, rest).map(|body| body.acks.len()));
        decoded.unwrap_err();
    }
}

#[test]
fn what_no_control_packet_may_be_is_refused() {
    let zero_sid = hex("38 0000000000000000 00 00000000");
    assert_eq!(Header::decode(&zero_sid), Err(WireError::ZeroSessionId));
    let data = hex("48 0000000000000001 00 00000000");
    assert_eq!(Header::decode(&data), Err(WireError::NotControl(Opcode::DataV2)));
    let nine = [&[9][..], &[0; 60]].concat();
    assert_eq!(
        Body::decode(Opcode::Control, &nine),
        Err(WireError::TooManyAcks { count: 9 })
    );
}

#[test]
fn a_ninth_acknowledgement_does_not_fit() {
    let mut acks: Acks = (0..20).map(PacketId).collect();
    assert_eq!(acks.len(), 8);
    assert!(!acks.push(PacketId(8)));
    assert!(acks.contains(PacketId(7)) && !acks.contains(PacketId(8)));
}

#[test]
fn overhead_is_what_is_written() {
    for count in 0..=8 {
        let body = Body {
            acks: (0..count).map(PacketId).collect(),
            remote: Some(SessionId([7; 8])),
            id: Some(PacketId(1)),
            payload: &[],
        };
        let mut out = Vec::new();
        body.encode(&mut out);
        assert_eq!(out.len(), Body::overhead_bytes(body.acks.len()));
    }
}

proptest! {
    #[test]
    fn any_body_reads_back(
        ids in proptest::collection::vec(any::<u32>(), 0..=8),
        remote in any::<[u8; 8]>(),
        id in any::<u32>(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        is_ack in any::<bool>(),
    ) {
        let body = Body {
            acks: ids.iter().copied().map(PacketId).collect(),
            remote: (!ids.is_empty()).then_some(SessionId(remote)),
            id: (!is_ack).then_some(PacketId(id)),
            payload: &payload,
        };
        let mut out = Vec::new();
        body.encode(&mut out);
        let opcode = if is_ack { Opcode::Ack } else { Opcode::Control };
        prop_assert_eq!(Body::decode(opcode, &out), Ok(body));
        // Everything in front of the payload is needed.
        for len in 0..out.len() - payload.len() {
            prop_assert!(Body::decode(opcode, &out[..len]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok((header, rest)) = Header::decode(&bytes)
            && let Ok(body) = Body::decode(header.opcode, rest)
        {
            let mut out = Vec::new();
            header.encode(&mut out);
            body.encode(&mut out);
            prop_assert_eq!(out, bytes);
        }
    }
}
