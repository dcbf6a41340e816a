"""A photo dropped in the bucket becomes an asset: real servers, real events, a real portrait."""

import hashlib
import io
import json
import re
import struct
from pathlib import Path
from typing import Any

import assimp_py
import numpy as np
import pytest
from PIL import Image

from face3d.head import ARKIT_NAMES, VISEME_NAMES
from tests.acceptance.conftest import Customer

#: One stack, in one process.
pytestmark = pytest.mark.xdist_group("stack")


@pytest.fixture(scope="module")
def job(customer: Customer, portrait: bytes) -> dict[str, Any]:
    """A finished job of the portrait at the product's full texture size."""
    key = "apps/Ünïcode name + plus/portrait 1.png"
    customer.put(key, portrait, texture_size="4096", ref="order-17")
    return customer.wait_for_end(customer.job_of(key)["id"])


def test_the_upload_event_makes_a_ready_asset(job: dict[str, Any]) -> None:
    assert (job["state"], job["error"]) == ("ready", None)
    assert job["source"] == "event"
    assert [stage["state"] for stage in job["stages"]] == ["done"] * 4
    assert {file["name"] for file in job["files"]} >= {
        "head.glb", "head.obj", "head.mtl", "albedo.png", "normal.png", "roughness.png", "ao.png",
        "displacement.png", "preview.png", "manifest.json",
    }  # fmt: skip


def test_the_webhook_is_signed_and_says_what_it_is_about(customer: Customer, job: dict[str, Any]) -> None:
    message = customer.message_of(job["id"])
    assert message["type"] == "asset.ready"
    assert message["data"]["ref"] == "order-17"
    assert message["data"]["quality"] in ("good", "usable", "review")


def test_every_file_is_what_manifest_and_api_say(customer: Customer, job: dict[str, Any]) -> None:
    manifest = json.loads(customer.file(job, "manifest.json"))
    for file in job["files"]:
        data = customer.file(job, file["name"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
        if file["name"] != "manifest.json":
            entry = manifest["files"][file["name"]]
            assert (entry["bytes"], entry["sha256"]) == (file["size"], file["sha256"])
    assert manifest["options"]["texture-size"] == 4096
    assert manifest["engine"]["name"] == "anny"
    assert manifest["engine"]["licences"]


def test_the_texture_is_a_true_4096_of_a_face(customer: Customer, job: dict[str, Any]) -> None:
    albedo = np.asarray(Image.open(io.BytesIO(customer.file(job, "albedo.png"))))
    assert albedo.shape == (4096, 4096, 3)
    middle = albedo[1400:3000:8, 1400:2700:8].reshape(-1, 3).astype(float)
    red, green, blue = np.median(middle, axis=0)
    assert red > green > blue, "skin is redder than it is blue"
    assert middle.std() > 10, "a face is not one colour"


def test_the_surface_maps_are_as_large_and_of_a_skin(customer: Customer, job: dict[str, Any]) -> None:
    normal = np.asarray(Image.open(io.BytesIO(customer.file(job, "normal.png")))).astype(float) / 127.5 - 1
    assert normal.shape == (4096, 4096, 3)
    part = normal[1400:3000:4, 1400:2700:4].reshape(-1, 3)
    assert np.abs(np.linalg.norm(part, axis=1) - 1).max() < 0.03
    assert part[:, 2].mean() > 0.95
    assert part[:, :2].std() > 0.01, "pores"
    depth = np.asarray(Image.open(io.BytesIO(customer.file(job, "displacement.png"))))
    assert depth.shape == (4096, 4096)
    assert depth.max() > 255, "16 bits"


def test_the_glb_holds_one_head_with_all_keys_and_a_skeleton(customer: Customer, job: dict[str, Any]) -> None:
    data = customer.file(job, "head.glb")
    length, kind = struct.unpack_from("<II", data, 12)
    assert (data[:4], kind) == (b"glTF", 0x4E4F534A)
    document = json.loads(data[20 : 20 + length])
    (mesh,) = document["meshes"]
    slots = [document["materials"][one["material"]]["name"] for one in mesh["primitives"]]
    assert {"skin", "eyes", "corneas", "lashes", "teeth", "gums", "tongue"} <= set(slots)
    manifest = json.loads(customer.file(job, "manifest.json"))
    assert mesh["extras"]["targetNames"] == manifest["keys"]
    assert manifest["keys"][:66] == [*ARKIT_NAMES, *VISEME_NAMES]
    joints = [document["nodes"][joint]["name"] for joint in document["skins"][0]["joints"]]
    assert joints == [joint["name"] for joint in manifest["skeleton"]]


def test_another_program_s_reader_opens_the_whole_head(
    customer: Customer, job: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("head.glb", "head.obj", "head.mtl"):
        (tmp_path / name).write_bytes(customer.file(job, name))
    glb, obj = (
        assimp_py.import_file(str(tmp_path / name), assimp_py.Process_Triangulate)
        for name in ("head.glb", "head.obj")
    )
    assert len(glb.meshes) == len(obj.meshes)
    assert sum(mesh.num_vertices for mesh in glb.meshes) > 20_000
    skin = max(glb.meshes, key=lambda mesh: mesh.num_vertices)
    assert skin.tangents is not None


def test_the_pictures_that_the_obj_names_lie_beside_it(customer: Customer, job: dict[str, Any]) -> None:
    text = customer.file(job, "head.mtl").decode()
    named = set(re.findall(r"^(?:map_\w+|norm) (.+)$", text, re.MULTILINE))
    assert {"albedo.png", "normal.png", "albedo_eyes.png", "coverage_lashes.png"} <= named
    assert named <= {file["name"] for file in job["files"]}


def test_the_same_upload_again_changes_nothing_and_another_option_makes_another_job(
    customer: Customer, portrait: bytes
) -> None:
    key = "twice.png"
    first_etag = customer.put(key, portrait, engine="null")
    first = customer.wait_for_end(customer.job_of(key)["id"])
    assert customer.put(key, portrait, engine="null") == first_etag
    customer.put(key, portrait, engine="null", texture_size="2048")

    def known() -> set[str]:
        jobs = customer.api.get("/v1/jobs", params={"limit": 200}).json()["jobs"]
        return {job["id"] for job in jobs if job["photo"]["key"] == key}

    from tests.integration.pipeline import until

    until(lambda: len(known()) == 2, "the other option's job", seconds=20)
    for job_id in known():
        customer.wait_for_end(job_id)
        assert customer.message_of(job_id)["data"]["key"] == key
    assert first["id"] in known()
    assert {m["data"]["job_id"] for m in customer.messages if m["data"]["key"] == key} == known()


def test_a_multipart_upload_is_one_job_though_event_and_sweep_see_it(
    customer: Customer, portrait: bytes
) -> None:
    from boto3.s3.transfer import TransferConfig

    big = portrait + b"\0" * (12 * 2**20)
    customer.s3.upload_fileobj(
        io.BytesIO(big),
        customer.settings.bucket_inbox,
        "multipart.png",
        ExtraArgs={"Metadata": {"face3d-engine": "null"}},
        Config=TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20),
    )
    job = customer.wait_for_end(customer.job_of("multipart.png")["id"])
    assert job["state"] == "ready"
    import time

    time.sleep(5)  # Two sweeps.
    jobs = customer.api.get("/v1/jobs", params={"limit": 200}).json()["jobs"]
    assert [one["id"] for one in jobs if one["photo"]["key"] == "multipart.png"] == [job["id"]]


def test_the_api_takes_a_photo_too(customer: Customer, portrait: bytes) -> None:
    answer = customer.api.post(
        "/v1/jobs",
        files={"photo": ("me.png", portrait, "image/png")},
        data={"expression": "photo", "formats": "glb"},
    )
    assert answer.status_code == 202
    job = answer.json()
    assert job["tier"] == "interactive"
    with customer.api.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=100) as events:
        lines = [line for line in events.iter_lines() if line.startswith("event:")]
    assert lines[-1] == "event: end"
    done = customer.job(job["id"])
    assert done["state"] == "ready"
    manifest = json.loads(customer.file(done, "manifest.json"))
    assert manifest["expression_in_base"]
    assert "head.obj" not in manifest["files"]


def test_two_photos_of_a_person_become_one_head(customer: Customer, portrait: bytes) -> None:
    """The second photo is another crop of the first, darker: each point of the face can be found again."""
    first = Image.open(io.BytesIO(portrait)).convert("RGB")
    width, height = first.size
    second = first.crop((9, 5, width, height)).point([round(0.85 * value) for value in range(256)] * 3)
    file = io.BytesIO()
    second.save(file, "PNG")
    customer.put("two/front.png", portrait, engine="null")
    customer.put(
        "two/turned.png", file.getvalue(), view_of="two/front.png", formats="glb", texture_size="1024"
    )
    job = customer.wait_for_end(customer.job_of("two/turned.png")["id"])
    assert job["state"] == "ready"
    manifest = json.loads(customer.file(job, "manifest.json"))
    assert manifest["facts"]["geometry"]["view_matches"] > 300
    assert "second photo shows the same side" in manifest["quality"]["reasons"]
