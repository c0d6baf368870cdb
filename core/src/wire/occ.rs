//! The options string that both sides exchange and compare, for warnings only (reference section 4.2).

use super::Role;
use crate::{data::Cipher, wrap::KeyDirection};

/// Packet id twice and tag and IV in the reference's arithmetic: 4 + 12 + 16 + 16.
const AEAD_OVERHEAD_BYTES: u32 = 48;

/// What goes into our options string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Our role.
    pub role: Role,
    /// Runs over TCP.
    pub tcp: bool,
    /// Carries Ethernet frames.
    pub tap: bool,
    /// `tun-mtu` in bytes.
    pub tun_mtu: u16,
    /// The preferred cipher: peers without negotiation go by it.
    pub cipher: Cipher,
    /// Direction of the tls-auth key; `None` without tls-auth.
    pub tls_auth: Option<KeyDirection>,
}

impl Options {
    /// Writes the string.
    pub fn to_text(&self) -> String {
        let (proto, side) = match (self.role, self.tcp) {
            (Role::Client, false) => ("UDPv4", "tls-client"),
            (Role::Server, false) => ("UDPv4", "tls-server"),
            (Role::Client, true) => ("TCPv4_CLIENT", "tls-client"),
            (Role::Server, true) => ("TCPv4_SERVER", "tls-server"),
        };
        let keydir = match self.tls_auth {
            Some(KeyDirection::Normal) => ",keydir 0",
            Some(KeyDirection::Inverse) => ",keydir 1",
            Some(KeyDirection::Bidirectional) | None => "",
        };
        format!(
            "V4,dev-type {device},link-mtu {link_mtu},tun-mtu {tun_mtu},proto {proto}{keydir},cipher {cipher},\
             auth [null-digest],keysize {bits}{tls_auth},key-method 2,{side}",
            device = if self.tap { "tap" } else { "tun" },
            link_mtu = self.link_mtu(),
            tun_mtu = u32::from(self.tun_mtu) + self.tap_bytes(),
            cipher = self.cipher,
            bits = self.cipher.key_bytes() * 8,
            tls_auth = if self.tls_auth.is_some() { ",tls-auth" } else { "" },
        )
    }

    /// `link-mtu`: the MTU with all that is put around a packet, in the reference's arithmetic.
    pub fn link_mtu(&self) -> u32 {
        let framing = if self.tcp { 2 } else { 0 };
        u32::from(self.tun_mtu) + self.tap_bytes() + 1 + framing + AEAD_OVERHEAD_BYTES
    }

    const fn tap_bytes(self) -> u32 {
        if self.tap { 14 } else { 0 }
    }
}

/// The value of element `name` in an options string.
pub fn lookup<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    options
        .split(',')
        .find_map(|element| element.strip_prefix(name)?.strip_prefix(' '))
}

/// The cipher in a peer's options string: what a peer without negotiation uses.
pub fn cipher(options: &str) -> Option<&str> {
    lookup(options, "cipher")
}

/// Tells whether an options string has element `name`, with or without a value.
pub fn has(options: &str, name: &str) -> bool {
    options
        .split(',')
        .any(|element| element == name || lookup(element, name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Options = Options {
        role: Role::Client,
        tcp: false,
        tap: false,
        tun_mtu: 1500,
        cipher: Cipher::Aes256Gcm,
        tls_auth: None,
    };

    #[test]
    fn a_client_writes_the_usual_string() {
        assert_eq!(
            CLIENT.to_text(),
            "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-256-GCM,\
             auth [null-digest],keysize 256,key-method 2,tls-client"
        );
    }

    #[test]
    fn a_server_over_tcp_with_tls_auth_says_so() {
        let server = Options {
            role: Role::Server,
            tcp: true,
            tls_auth: Some(KeyDirection::Normal),
            ..CLIENT
        };
        assert_eq!(
            server.to_text(),
            "V4,dev-type tun,link-mtu 1551,tun-mtu 1500,proto TCPv4_SERVER,keydir 0,cipher AES-256-GCM,\
             auth [null-digest],keysize 256,tls-auth,key-method 2,tls-server"
        );
        assert!(has(&server.to_text(), "tls-auth") && !has(&CLIENT.to_text(), "tls-auth"));
    }

    #[test]
    fn link_mtu_follows_the_reference() {
        let small = Options {
            tun_mtu: 1400,
            ..CLIENT
        };
        assert_eq!(small.link_mtu(), 1449);
    }

    #[test]
    fn the_cipher_of_a_peer_is_found() {
        assert_eq!(cipher("V4,cipher BF-CBC,auth SHA1"), Some("BF-CBC"));
        assert_eq!(cipher("V4,ciphers X,auth SHA1"), None);
        assert_eq!(cipher(""), None);
    }
}
