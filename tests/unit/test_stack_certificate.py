"""The certificate that SeaweedFS's parts know each other by."""

import ssl
from pathlib import Path

import pytest

from compose.local.certificate import make_certificate, public_key, sign


def test_signatures_are_those_of_rfc_8032() -> None:
    # Section 7.1, tests 1 and 2.
    first = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    second = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    assert public_key(first).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert sign(first, b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert sign(second, b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def _context(folder: Path, side: "ssl._SSLMethod", name: str, trusted: str) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    context.load_verify_locations(folder / f"{trusted}.crt")
    return context


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting


def test_both_sides_accept_their_own_certificate_and_no_other(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        key, certificate = make_certificate("face3d")
        (tmp_path / f"{name}.key").write_text(key)
        (tmp_path / f"{name}.crt").write_text(certificate)
    server = _context(tmp_path, ssl.PROTOCOL_TLS_SERVER, "ours", "ours")
    _shake_hands(server, _context(tmp_path, ssl.PROTOCOL_TLS_CLIENT, "ours", "ours"))
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(server, _context(tmp_path, ssl.PROTOCOL_TLS_CLIENT, "theirs", "ours"))
