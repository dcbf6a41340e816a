"""Which addresses are public: everything special is refused, under every Python release."""

import ipaddress

import pytest

from face3d.networks import is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.8", "192.0.0.192", "192.0.2.1",
        "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3", "168.63.129.16",
        "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1", "5f00::1",
        "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808",
        "64:ff9b:1::808:808", "2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:0:4136:e378::1",
        "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3fff::1", "3ffe::1", "fe80::1%1",
    ],
)  # fmt: skip
def test_special_addresses_and_what_wraps_ipv4_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0",
        "192.0.1.1", "198.17.255.255", "223.255.255.255",
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001:81b::200e", "2001:4860:4860::8888",
    ],
)  # fmt: skip
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


def test_our_list_refuses_all_that_this_pythons_tables_call_private() -> None:
    special = [
        *ipaddress.IPv4Address._constants._private_networks,  # type: ignore[attr-defined]
        *ipaddress.IPv6Address._constants._private_networks,  # type: ignore[attr-defined]
    ]
    assert len(special) > 20
    assert not [str(network) for network in special if is_public(str(network[0]))]
