"""A stand-in for relay and workers: takes jobs through their stages with a small, real GLB as the asset."""

import hashlib
import io
import json
import struct
import threading
import time
from typing import Self

import numpy as np
from PIL import Image
from sqlalchemy import select

from db.leases import Decision, complete, fail, take
from db.models import Job
from db.results import StoredFile
from db.session import make_session_factory
from face3d.errors import ErrorCode, RefusedError
from face3d.quality import ReasonCode, judge
from face3d.settings import Settings
from face3d.states import STAGES, JobState, StageName
from face3d.worker_spec import WorkerSpec
from storage.client import Storage
from storage.layout import artifact_prefix, asset_key, asset_prefix

WORKER = WorkerSpec(name="stand-in", gpu_type="cpu", device="CPU")

#: What speaks against every head of the stand-in.
REASONS = [
    reason.facts() for reason in (*judge(ReasonCode.SMALL_FACE, 80.0), *judge(ReasonCode.EYES_COVERED, 2))
]
#: A photo of this many bytes or fewer is refused.
TOO_SMALL = 200


def make_glb(size: int = 24, *, texture: np.ndarray | None = None) -> bytes:
    """Return a bulging, textured patch with the shape jawOpen, as GLB.

    Args:
        texture: (H, W, 3) uint8 sRGB; a grey ramp when None.
    """
    line = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    z = np.sqrt(np.clip(2.2 - x**2 - y**2, 0, None))
    positions = (np.stack([x, y, z], -1).reshape(-1, 3) * 0.1).astype(np.float32)
    normals = (positions / np.linalg.norm(positions, axis=1, keepdims=True)).astype(np.float32)
    texcoords = np.stack([(x + 1) / 2, (1 - y) / 2], -1).reshape(-1, 2).astype(np.float32)
    jaw = np.where(positions[:, 1:2] < 0, [[0, -0.05, 0]], [[0, 0, 0]]).astype(np.float32)
    corner = (np.arange(size - 1)[:, None] * size + np.arange(size - 1)).reshape(-1, 1)
    quads = corner + np.array([0, 1, size + 1, 0, size + 1, size])
    indices = quads.reshape(-1).astype(np.uint16)
    picture = io.BytesIO()
    ramp = Image.linear_gradient("L").resize((128, 128)).convert("RGB")
    (ramp if texture is None else Image.fromarray(texture)).save(picture, "PNG")
    blobs = [positions.tobytes(), normals.tobytes(), texcoords.tobytes(), jaw.tobytes(), indices.tobytes()]
    views, binary = [], b""
    for blob in [*blobs, picture.getvalue()]:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(blob)})
        binary += blob + b"\0" * (-len(blob) % 4)

    def accessor(view: int, kind: str, count: int, data: np.ndarray | None = None) -> dict[str, object]:
        bounds = {} if data is None else {"min": data.min(0).tolist(), "max": data.max(0).tolist()}
        return {"bufferView": view, "componentType": 5126, "count": count, "type": kind, **bounds}

    count = len(positions)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {
                "extras": {"targetNames": ["jawOpen"]},
                "weights": [0],
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2},
                        "indices": 4,
                        "material": 0,
                        "targets": [{"POSITION": 3}],
                    }
                ],
            }
        ],
        "materials": [{"name": "skin", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 5, "mimeType": "image/png"}],
        "accessors": [
            accessor(0, "VEC3", count, positions),
            accessor(1, "VEC3", count),
            accessor(2, "VEC2", count),
            accessor(3, "VEC3", count, jaw),
            {"bufferView": 4, "componentType": 5123, "count": len(indices), "type": "SCALAR"},
        ],
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    return (
        struct.pack("<4sII", b"glTF", 2, total)
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + struct.pack("<I4s", len(binary), b"BIN\0")
        + binary
    )


class StandIn:
    """Works on whatever job is accepted, in a thread, until the block ends."""

    def __init__(self, settings: Settings, *, glb: bytes | None = None, stage_seconds: float = 0.4) -> None:
        self._settings = settings
        self._sessions = make_session_factory(settings)
        self._storage = Storage.from_settings(settings)
        self._glb = glb or make_glb()
        self._stage_seconds = stage_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(0.1):
            with self._sessions() as session:
                found = session.scalars(select(Job).where(Job.state == JobState.ACCEPTED)).all()
            for job in found:
                self._run(job)

    def _run(self, job: Job) -> None:
        for stage in STAGES:
            with self._sessions.begin() as session:
                decision, leased = take(
                    session, job_id=job.id, stage=stage, dispatch=job.dispatch, worker=WORKER, seconds=60
                )
            if decision is not Decision.WORK or leased is None:
                return
            time.sleep(self._stage_seconds)
            with self._sessions.begin() as session:
                if stage is StageName.PREPROCESS and job.size <= TOO_SMALL:
                    refusal = RefusedError(
                        ErrorCode.FACE_TOO_SMALL,
                        "The face is too small in this photo.",
                        value=17.4,
                        limit=40.0,
                    )
                    fail(session, leased.lease, refusal)
                    return
                last = stage is STAGES[-1]
                attempt = leased.lease.attempt
                prefix = asset_prefix(job.id, attempt) if last else artifact_prefix(job.id, stage, attempt)
                files = self._write_asset(job.id, attempt) if last else []
                complete(session, leased.lease, prefix=prefix, files=files, timings={"sleep": 0.4})

    def _write_asset(self, job_id: str, attempt: int) -> list[StoredFile]:
        contents = {
            "head.glb": ("model/gltf-binary", self._glb),
            "manifest.json": ("application/json", json.dumps({"quality_reasons": REASONS}).encode()),
        }
        bucket, files = self._settings.bucket_assets, []
        for name, (content_type, data) in contents.items():
            self._storage.put(bucket, asset_key(job_id, attempt, name), data, content_type=content_type)
            digest = hashlib.sha256(data).hexdigest()
            files.append(
                StoredFile(name=name, bucket=bucket, size=len(data), sha256=digest, content_type=content_type)
            )
        return files
