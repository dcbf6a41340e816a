"""What a photo's decoder cannot do, tried from inside; and what is left where a kernel lacks a layer."""

import base64
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from cli.diagnosis import examine_sandbox
from face3d.errors import EngineUnavailable
from face3d.settings import Settings
from gpu_workers import launcher
from gpu_workers.decoding import client as photo_module
from gpu_workers.decoding.client import decode_photo, decoder_layers
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.sandbox import kernel
from gpu_workers.sandbox.lock import Layers, hide_from_children
from tests.unit.decoding.colour_support import portrait
from tests.unit.decoding.heic_support import coded, compose, grid_item, nclx

ROOT = Path(__file__).resolve().parents[3]
#: What Landlock refuses by itself, by ABI.
OF_LANDLOCK = {
    1: {
        *("read the parent's environment", "open the parent's memory", "read the parent's memory"),
        *("trace the parent", "read a secrets file", "read a public file", "list a folder", "write a file"),
        "start a program",
    },
    4: {"connect to the loopback"},
    6: {"signal the parent"},
}
#: What limits alone refuse to who is not root.
OF_LIMITS = {"get more memory", "get larger files", "get a core file", "write a file"}
#: What another user may not do.
OF_USER = {
    *("read the parent's environment", "open the parent's memory", "read the parent's memory"),
    *("trace the parent", "read a secrets file", "signal the parent", "become root"),
}


def photos() -> dict[str, bytes]:
    """Return one photo of every format and of every way that colours take through the decoder."""
    picture = Image.fromarray(portrait())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA001] = 2
    found = {}
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM"):
        for name, options in (
            ("plain", {}),
            ("profile", {"icc_profile": profile}),
            ("exif", {"exif": exif.tobytes()}),
        ):
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            found[f"{kind} {name}"] = buffer.getvalue()
    for name, options in {"progressive": {"progressive": True}, "cmyk": {}}.items():
        buffer = io.BytesIO()
        (picture.convert("CMYK") if name == "cmyk" else picture).save(buffer, "JPEG", **options)
        found[f"JPEG {name}"] = buffer.getvalue()
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "lzma", "zstd"):
        buffer = io.BytesIO()
        picture.save(buffer, "TIFF", compression=compression)
        found[f"TIFF {compression}"] = buffer.getvalue()
    for mode in ("L", "LA", "P", "1", "RGBA", "I;16"):
        buffer = io.BytesIO()
        deep = Image.fromarray(portrait()[..., 0].astype(np.uint16) * 257)
        (deep if mode == "I;16" else picture.convert(mode)).save(buffer, "PNG")
        found[f"PNG {mode}"] = buffer.getvalue()
    bright = coded("pq", 128, 128)
    bright.properties.append(nclx(9, 16))
    tiles = [coded(f"tile{k}", 64, 64, hidden=True) for k in range(4)]
    found["HEIC plain"] = compose([coded("plain", 128, 128)])
    found["HEIC bright"] = compose([bright])
    found["HEIC tiles"] = compose([*tiles, grid_item(2, 2, 128, 128, [1, 2, 3, 4])], primary=5)
    return found


def probe(
    tmp_path: Path,
    missing: tuple[str, ...] = (),
    before: tuple[str, ...] = (),
    some: dict[str, bytes] | None = None,
) -> dict:
    hide_from_children()
    secret = tmp_path / "secrets"
    secret.write_text("token")
    secret.chmod(0o600)
    request = {
        "secret": str(secret),
        "folder": str(tmp_path),
        "port": 9,
        "missing": missing,
        "before": before,
        "photos": {name: base64.b64encode(data).decode() for name, data in (some or {}).items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.decoding.decoder_probe"],
        input=json.dumps(request).encode(),
        capture_output=True,
        cwd=ROOT,
        env={
            "PYTHONPATH": str(ROOT),
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": os.defpath,
            "MALLOC_ARENA_MAX": "1",
        },
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def refused_by(layers: Layers) -> set[str]:
    """Return what must be refused by the layers that this kernel gave."""
    refused = set(OF_LIMITS) if layers.user else set()
    if layers.other_user:
        refused |= OF_USER
    for version, attempts in OF_LANDLOCK.items():
        if layers.landlock >= version:
            refused |= attempts
    return refused


@pytest.mark.heavy
def test_nothing_gets_through_and_every_format_decodes(tmp_path: Path) -> None:
    everything = photos()
    reachable = (
        "read a secrets file",
        "connect to the loopback",
        "write a file",
        "start a process",
        "list a folder",
    )
    answer = probe(tmp_path, before=reachable, some=everything)
    layers = Layers.from_dict(answer["layers"])
    assert answer["before"] == dict.fromkeys(reachable, True), "the trial itself is broken"
    if layers.seccomp:
        assert answer["through"] == []
    else:
        assert not refused_by(layers) & set(answer["through"])
    assert set(answer["decoded"]) == set(everything)
    for name, (kind, width, height, mean) in answer["decoded"].items():
        assert kind == name.split()[0]
        assert (width, height) == (128, 128)
        grey = name in ("PNG L", "PNG LA", "PNG 1", "PNG I;16")
        assert abs(mean - portrait().mean()) < (40 if grey else 12), name


@pytest.mark.parametrize("missing", [("landlock",), ("seccomp",), ("landlock", "seccomp")])
def test_a_kernel_that_lacks_a_layer(missing: tuple[str, ...], tmp_path: Path) -> None:
    photo = {"HEIC plain": compose([coded("plain", 128, 128)])}
    answer = probe(tmp_path, missing=missing, some=photo)
    layers = Layers.from_dict(answer["layers"])
    assert layers.no_new_privileges
    if "landlock" in missing:
        assert layers.landlock == 0
        assert "Landlock" in layers.missing
    if "seccomp" in missing:
        assert not layers.seccomp
        assert "seccomp" in layers.missing
    elif layers.seccomp:
        assert answer["through"] == []
    assert not refused_by(layers) & set(answer["through"])
    assert answer["decoded"]["HEIC plain"][:3] == ["HEIC", 128, 128]


def test_the_decoder_of_this_process_is_locked_up() -> None:
    layers = decoder_layers(PhotoLimits())
    decode_photo(photos()["PNG plain"], PhotoLimits())
    assert layers.no_new_privileges
    assert layers.user == (65534 if os.geteuid() == 0 else os.geteuid())
    process = Path(f"/proc/{photo_module._children._idle[0].process_id}")
    status = (process / "status").read_text()
    if os.geteuid() == 0:
        # Pipes, no error output, and the shared file, which is open twice while it is mapped.
        files = sorted(str(link.readlink()).split(":")[0] for link in (process / "fd").iterdir())
        assert files == ["/dev/null", "/memfd", "/memfd", "pipe", "pipe"]
    facts = dict(line.split(":", 1) for line in status.splitlines())
    assert facts["NoNewPrivs"].strip() == "1"
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    if layers.seccomp:
        assert facts["Seccomp"].strip() == "2"
    if layers.other_user:
        assert facts["Uid"].split() == ["65534"] * 4
        assert facts["Groups"].split() == []


EVERYTHING = {"no_new_privileges": True, "other_user": True, "landlock": 7, "seccomp": True, "user": 65534}


def lacking(kind: str) -> Layers:
    return Layers(**{**EVERYTHING, **({"landlock": 0} if kind == "Landlock" else {"seccomp": False})})


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["Landlock", "seccomp"])
def test_required_takes_no_photo_where_a_layer_is_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layers, "from_dict", classmethod(lambda cls, fields: lacking(kind)))
    buffer = io.BytesIO()
    Image.fromarray(portrait()).save(buffer, "PNG")
    with pytest.raises(EngineUnavailable, match=f"sandbox is required.*{kind}"):
        decode_photo(buffer.getvalue(), PhotoLimits(decoder_sandbox="required", max_megapixels=1.5))
    with pytest.raises(EngineUnavailable, match=kind):
        decoder_layers(PhotoLimits(decoder_sandbox="required", max_megapixels=1.5))
    rgb = decode_photo(buffer.getvalue(), PhotoLimits(decoder_sandbox="auto", max_megapixels=1.5)).rgb
    assert np.array_equal(rgb, portrait())


@pytest.mark.parametrize(("stages", "code"), [("preprocess,geometry", 2), ("packaging", 0)])
def test_no_worker_that_decodes_starts_without_what_is_required(
    stages: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(decoder_sandbox="required", max_megapixels=1.5)
    monkeypatch.setattr(launcher, "get_settings", lambda: settings)
    monkeypatch.setattr(launcher, "run", lambda plans, settings: 0)
    monkeypatch.setattr(Layers, "from_dict", classmethod(lambda cls, fields: lacking("Landlock")))
    assert launcher.main(["--stages", stages, "--gpu-type", "cpu"]) == code
    said = "".join(capsys.readouterr())
    assert ("sandbox is required" in said and "Landlock" in said) is (code == 2)


@pytest.mark.parametrize(
    ("setting", "gives", "ok", "words"),
    [
        ("auto", {}, True, "auto: user nobody, Landlock 7, seccomp"),
        ("auto", {"landlock": 0}, True, "no Landlock"),
        ("auto", {"landlock": 0, "seccomp": False}, False, "no Landlock, no seccomp"),
        ("required", {"landlock": 0}, False, "does not give it: Landlock"),
        ("off", {}, True, "off"),
    ],
)
def test_what_doctor_says(
    setting: str, gives: dict, ok: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Layers(**{**EVERYTHING, **gives})
    monkeypatch.setattr(Layers, "from_dict", classmethod(lambda cls, fields: given))
    finding = examine_sandbox(Settings(decoder_sandbox=setting))
    assert finding.ok is ok
    assert words in finding.detail


def test_off_decodes_with_limits_alone() -> None:
    limits = PhotoLimits(decoder_sandbox="off")
    layers = decoder_layers(limits)
    assert (layers.landlock, layers.seccomp) == (0, False)
    buffer = io.BytesIO()
    Image.fromarray(portrait()).save(buffer, "PNG")
    assert np.array_equal(decode_photo(buffer.getvalue(), limits).rgb, portrait())


@pytest.mark.parametrize(("version", "words"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_landlock_is_asked_for_what_its_version_knows(version: int, words: int) -> None:
    sizes = []
    opened, unused = os.pipe()
    os.close(unused)

    def call(number: int, *arguments: object) -> int:
        if arguments[0] is None:
            return version
        if number == 444:
            sizes.append(arguments[1])
            return opened
        return 0

    assert kernel.forbid_paths(call) == version
    assert sizes == [8 * words]


def test_what_the_operator_reads() -> None:
    assert lacking("Landlock").describe() == "user nobody, no Landlock, seccomp"
    root = Layers(**{**EVERYTHING, "other_user": False, "user": 0})
    assert (root.describe(), root.missing) == ("user 0, Landlock 7, seccomp", ("another user than root",))
    with pytest.raises(OSError, match="Function not implemented"):
        kernel.landlock_version(
            lambda *arguments: (_ for _ in ()).throw(OSError(errno.ENOSYS, os.strerror(38)))
        )
