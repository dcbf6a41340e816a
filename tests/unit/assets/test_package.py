"""The files of an asset and their manifest."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from assets.manifest import EngineEntry, Source, StageEntry, describe_file
from assets.maps import encode_maps, select_asset_maps
from assets.package import build_asset, list_facts
from face3d.head import ARKIT_NAMES, VISEME_NAMES, Head
from face3d.options import JobOptions
from face3d.quality import ReasonCode, judge, state
from face3d.stage_results import FittedHead, SurfaceImages
from gpu_workers.engines.null.engine import NullEngine
from gpu_workers.engines.null.head import make_head
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.assets.glb_support import read_glb


def build(
    options: JobOptions, *, copied: bool = False, facts: dict | None = None, photo=None, lashes: bool = False
) -> dict[str, bytes]:
    engine = NullEngine()
    prepared = engine.preprocess(b"", options, PhotoLimits())
    if photo is not None:
        prepared = replace(prepared, photo=photo)
    geometry = FittedHead(
        head=with_lashes(make_head()) if lashes else make_head(),
        facts={"scale_from": "iris", "quality": "usable", **(facts or {})},
    )
    texture = engine.texture(prepared, geometry, options)
    if lashes:
        surface = SurfaceImages(
            normal=np.full((8, 8, 3), (128, 128, 255), np.uint8),
            roughness=np.full((8, 8), 128, np.uint8),
            occlusion=np.full((8, 8), 255, np.uint8),
            displacement=np.full((8, 8), 2**15, np.uint16),
        )
        texture = replace(
            texture,
            lashes=np.full((8, 8, 4), (30, 20, 20, 128), np.uint8),
            surface=surface if "maps" in options.formats else None,
        )
    encoded = encode_maps(texture, options)
    maps = select_asset_maps(encoded)
    if copied:
        encoded = {name: data for name, data in encoded.items() if name not in maps}
    return build_asset(
        job="job-1",
        source=Source(bucket="inbox", key="a/b.jpg", etag="abc", bytes=12),
        prepared=prepared,
        geometry=geometry,
        baked=texture.facts,
        encoded=encoded,
        described={name: describe_file(data) for name, data in maps.items()} if copied else None,
        options=options,
        engine=EngineEntry(name="null", version="1", licences={"head": "CC0"}),
        stages=[StageEntry(name="geometry", seconds=0.5, device="cpu")],
    )


def with_lashes(head: Head) -> Head:
    lashes = replace(head.parts[-1], name="lashes", material="lashes")
    return replace(head, parts=(*head.parts, lashes))


def test_manifest_tells_every_file() -> None:
    files = build(JobOptions(engine="null", ref="mine"))
    manifest = json.loads(files["manifest.json"])
    maps = {"albedo.png"}
    assert set(manifest["files"]) == {"head.glb", "head.obj", "head.mtl", "preview.png", *maps}
    for name, entry in manifest["files"].items():
        assert entry == {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
    assert manifest["source"]["etag"] == "abc"
    assert manifest["options"]["ref"] == "mine"
    assert manifest["options"]["texture-size"] == 4096
    assert manifest["engine"]["licences"] == {"head": "CC0"}
    assert manifest["quality"] == {"verdict": "usable", "reasons": []}
    assert manifest["scale_from"] == "iris"
    assert set(manifest["expression"]) == set(ARKIT_NAMES)
    assert len(manifest["landmarks"]) == 5
    assert manifest["keys"] == [*ARKIT_NAMES, *VISEME_NAMES]
    assert set(manifest["visemes"]) == set(VISEME_NAMES)
    assert {"happy", "neutral", "aa", "blinkLeft", "lookRight"} < set(manifest["vrm_expressions"])
    assert manifest["slots"] == [
        {"name": "skin", "parts": ["skin"], "maps": "skin"},
        {"name": "eyes", "parts": ["eye_left", "eye_right"], "maps": None},
    ]
    assert manifest["skeleton"][3]["name"] == "jaw_joint"
    assert manifest["skeleton"][3]["turns_degrees"] == {"jawOpen": [20, 0, 0]}
    assert all(joint["limits_source"] for joint in manifest["skeleton"])
    assert sum(manifest["texel_shares"].values()) == pytest.approx(1)


def test_reasons_stand_in_the_manifest_in_words_and_as_codes() -> None:
    reasons = [*judge(ReasonCode.SMALL_FACE, 80.0), *judge(ReasonCode.EYES_COVERED, 2)]
    facts = {"quality": "review", "quality_reasons": [reason.facts() for reason in reasons]}
    manifest = json.loads(build(JobOptions(engine="null"), facts=facts)["manifest.json"])
    assert manifest["quality"] == {"verdict": "review", "reasons": ["small face", "eyes covered"]}
    assert [set(reason) for reason in manifest["quality_reasons"]] == [
        {"code", "message", "verdict", "value", "limit"}
    ] * 2
    first, second = manifest["quality_reasons"]
    assert (first["code"], first["verdict"], first["value"], first["limit"]) == (
        "small_face",
        "usable",
        80,
        100,
    )
    assert (second["code"], second["verdict"]) == ("eyes_covered", "review")


def test_the_preview_says_what_was_measured() -> None:
    geometry = {
        "quality": "usable",
        "quality_reasons": ["small face", "soft focus"],
        "reprojection_error": {"basis": 0.02, "final": 0.0093, "detected": 0.01},
    }
    texture = {
        "texel_density": {"photo": 6.4, "map": 113.2},
        "texel_shares": {"observed": 0.48, "mirrored": 0.02, "completed": 0.5},
    }
    # As facts come from storage: names in alphabetical order.
    texture = json.loads(json.dumps(texture, sort_keys=True))
    lines = dict(list_facts(geometry, texture, JobOptions(texture_size=2048)))
    assert lines["quality"] == "usable: small face"
    assert lines["texture"].startswith("2048 x 2048")
    assert lines["face, photo and map"] == "6 and 113 px/cm"
    assert lines["observed, mirrored, completed"] == "48 % / 2 % / 50 %"
    assert lines["landmarks, of eye distance"] == "0.93 %"
    fitted = {"completed": 0.2, "fitted": 0.3, "mirrored": 0.1, "observed": 0.4}
    lines = dict(list_facts({}, {"texel_shares": fitted}, JobOptions()))
    assert lines["observed, mirrored, fitted, completed"] == "40 % / 10 % / 30 % / 20 %"
    told, grave = state(ReasonCode.PHOTO_TURNED, value=180, limit=0), judge(ReasonCode.UNDEREXPOSED, 68.0)
    turned = {"quality": "review", "quality_reasons": [one.facts() for one in (told, *grave)]}
    assert dict(list_facts(turned, {}, JobOptions()))["quality"] == "review: underexposed"
    assert len(list_facts({}, {}, JobOptions())) == 3, "an engine that measures nothing"


def test_formats_choose_the_files() -> None:
    assert {"head.obj", "preview.png"} <= set(build(JobOptions(engine="null")))
    assert not {"head.obj", "preview.png"} & set(build(JobOptions(engine="null", formats=("glb",))))
    files = build(JobOptions(engine="null", formats=("obj",), texture_format="webp"))
    assert "head.glb" not in files
    assert b"map_Kd albedo.webp" in files["head.mtl"]


def test_levels_of_detail_are_delivered_as_asked() -> None:
    def faces(**options: int) -> int:
        obj = build(JobOptions(engine="null", formats=("obj",), **options))["head.obj"]
        return obj.count(b"\nf ")

    cage = sum(len(part.quads) for part in make_head().parts)
    triangles = sum((part.quads[:, 2] == part.quads[:, 3]).sum() for part in make_head().parts)
    assert faces(lod=1) == cage
    assert faces() == faces(lod=0) == 4 * cage - triangles
    files = build(JobOptions(engine="null", formats=("glb", "lods")))
    assert {"head.glb", "head_lod1.glb", "head_lod2.glb"} <= set(files)
    assert "head.obj" not in files
    assert len(files["head.glb"]) > 1.5 * len(files["head_lod1.glb"])
    assert set(json.loads(files["manifest.json"])["files"]) >= {"head_lod1.glb", "head_lod2.glb"}


def test_parts_are_one_object_or_an_object_each() -> None:
    for parts, objects in (("merged", ["head"]), ("separate", ["skin", "eye_left", "eye_right"])):
        files = build(JobOptions(engine="null", formats=("glb", "obj", "lods"), parts=parts))
        for name in ("head.glb", "head_lod1.glb", "head_lod2.glb"):
            document, _ = read_glb(files[name])
            assert [mesh["name"] for mesh in document["meshes"]] == objects
        lines = files["head.obj"].decode().splitlines()
        assert [line[2:] for line in lines if line.startswith("o ")] == objects


def test_files_that_the_caller_copies_are_in_the_manifest_only() -> None:
    whole, rest = build(JobOptions(engine="null")), build(JobOptions(engine="null"), copied=True)
    assert set(whole) - set(rest) == {"albedo.png"}
    assert json.loads(rest["manifest.json"])["files"] == json.loads(whole["manifest.json"])["files"]


def test_numbers_that_json_lacks_become_null() -> None:
    facts = {"coefficients": {"a": float("nan"), "expression": {}}, "error": [1.0, float("inf")]}
    manifest = json.loads(
        build(JobOptions(engine="null"), facts=facts)["manifest.json"], parse_constant=pytest.fail
    )
    assert manifest["identity"] == {"a": None}
    assert manifest["facts"]["geometry"]["error"] == [1.0, None]


def test_another_photo_makes_another_preview() -> None:
    """Small assets are remembered by their input; a different input must not get an old picture."""
    options = JobOptions(engine="null")
    first = build(options)
    again = build(options)
    other = build(options, photo=np.full((64, 64, 3), 7, np.uint8))
    assert first["preview.png"] == again["preview.png"] != other["preview.png"]
