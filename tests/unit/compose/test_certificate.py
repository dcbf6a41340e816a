"""The certificate that SeaweedFS's parts know each other by."""

import ssl
from pathlib import Path

import pytest

from compose.local.certificate import make_certificate


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
