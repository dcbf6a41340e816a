"""Which IP addresses belong to the public internet: a list of our own, the same under every Python release.

Sources: IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and what it was updated by), read
2026-11; cloud platforms' documentation for addresses that look public and are not.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

#: Never called, whatever a name resolves to.
_REFUSED_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, reachable from every virtual machine there
        "169.254.0.0/16",  # link-local, clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments, DS-Lite, Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

#: What IANA gives out as global unicast. All else is refused: loopback, mapped and translated IPv4
#: (::ffff:0:0/96, 64:ff9b::/96, 64:ff9b:1::/48), unique local, link-local, multicast, segment routing.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_REFUSED_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet; what wraps an IPv4 address is not."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _REFUSED_IPV4)
    return parsed in _GLOBAL_IPV6 and not any(parsed in network for network in _REFUSED_IPV6)
