//! From where connections are accepted.

use std::net::IpAddr;

use ipnet::IpNet;

use super::stream::Peer;

/// Ranges of addresses. Peers with a Unix socket are let in by the file's mode instead.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    /// `None` for all addresses.
    ranges: Option<Vec<IpNet>>,
}

impl AllowList {
    /// All addresses of some ranges, and no others.
    pub fn ranges(ranges: Vec<IpNet>) -> Self {
        Self { ranges: Some(ranges) }
    }

    /// Whether a peer may connect.
    pub fn allows(&self, peer: &Peer) -> bool {
        let (Some(ranges), Peer::Tcp(address)) = (&self.ranges, peer) else { return true };
        // An IPv4 peer of an IPv6 socket has an address that is mapped into IPv6.
        let address: IpAddr = address.ip().to_canonical();
        ranges.iter().any(|range| range.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_in_the_ranges_are_allowed() {
        let range = |text: &str| text.parse().expect("a range");
        let list = AllowList::ranges(vec![range("10.1.0.0/16"), range("192.0.2.7/32"), range("2001:db8::/32")]);
        let cases = [
            ("10.1.2.3:1", true),
            ("10.2.0.1:1", false),
            ("192.0.2.7:1", true),
            ("192.0.2.8:1", false),
            ("[::ffff:10.1.2.3]:1", true),
            ("[::ffff:10.2.2.3]:1", false),
            ("[2001:db8::5]:1", true),
            ("[2001:db9::5]:1", false),
            ("127.0.0.1:1", false),
            ("[::1]:1", false),
        ];
        for (address, allowed) in cases {
            assert_eq!(list.allows(&Peer::Tcp(address.parse().expect("an address"))), allowed, "{address}");
            assert!(AllowList::default().allows(&Peer::Tcp(address.parse().expect("an address"))));
        }
        assert!(list.allows(&Peer::Unix(1)));
        assert!(!AllowList::ranges(Vec::new()).allows(&Peer::Tcp("127.0.0.1:1".parse().expect("an address"))));
    }
}
