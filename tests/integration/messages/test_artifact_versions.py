"""Artifacts that a worker cannot read (older release, gone, damaged): the job becomes ready all the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from compose.local import Stack
from db.models import Job
from face3d.settings import Settings
from tasks.artifacts import open_cache
from tests.integration.pipeline import Pipeline, assert_one_asset_and_one_webhook, kill_tree, open_pipeline

#: What the stages of engine `null` wrote before artifacts had a version.
UNVERSIONED = Path(__file__).parents[2] / "data" / "unversioned_artifacts"


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        yield opened


def run_until(pipeline: Pipeline, *stages: str, photos: Sequence[str] = ("photo.jpg",)) -> list[str]:
    """Run the first stages of photos, and return their jobs; nothing of them lies in this host's cache."""
    worker = pipeline.start_worker("early", stages=",".join(stages))
    job_ids = [pipeline.submit(key) for key in photos]
    cache = open_cache(pipeline.settings)
    for job_id in job_ids:
        pipeline.wait_for_stage(job_id, stages[-1], "done")
    kill_tree(worker)
    for job_id in job_ids:
        assert cache.path(f"{job_id}/x").parent.is_dir()
        cache.forget(job_id)
    return job_ids


def outcomes(job: Job) -> dict[str, list[str]]:
    return {stage.name: [one.outcome for one in stage.attempts] for stage in job.stages}


def test_what_preprocess_left_and_nobody_reads_is_made_again(pipeline: Pipeline) -> None:
    old, gone, damaged = run_until(pipeline, "preprocess", photos=("old.jpg", "gone.jpg", "damaged.jpg"))
    unversioned = (UNVERSIONED / "preprocess.safetensors").read_bytes()
    bucket, name = pipeline.settings.bucket_work, "preprocess/1/result.safetensors"
    pipeline.storage.delete(bucket, f"{gone}/{name}")
    for job_id, data in ((old, unversioned), (damaged, unversioned[:-1])):
        pipeline.storage.put(bucket, f"{job_id}/{name}", data, content_type="application/octet-stream")
    pipeline.start_worker("new")
    for job_id in (old, gone, damaged):
        job = pipeline.wait_for_end(job_id)
        assert job.state == "ready", (job.error_code, job.error_message)
        assert outcomes(job) == {
            "preprocess": ["done", "done"],
            "geometry": ["abandoned", "done"],
            "texture": ["done"],
            "packaging": ["done"],
        }
        assert job.stages[1].attempts[0].error_code == "artifact_unreadable"
        assert job.stages[1].failures == 0, "nothing failed"


def test_maps_of_an_older_release_are_baked_again(pipeline: Pipeline) -> None:
    """It kept the pictures for head.glb and the facts in one file, as arrays."""
    (job_id,) = run_until(pipeline, "preprocess", "geometry", "texture")
    bucket, prefix = pipeline.settings.bucket_work, f"{job_id}/texture/1/"
    old = (UNVERSIONED / "texture.safetensors").read_bytes()
    for name in ("facts.json", "glb/skin.jpg"):
        pipeline.storage.delete(bucket, prefix + name)
    pipeline.storage.put(bucket, prefix + "result.safetensors", old, content_type="application/octet-stream")
    with pipeline.sessions.begin() as session:
        of_job = "WHERE job_id = :job_id AND stage = 'texture' AND name"
        session.execute(text(f"DELETE FROM artifacts {of_job} LIKE 'glb/%'"), {"job_id": job_id})
        session.execute(
            text(f"UPDATE artifacts SET name = 'result.safetensors' {of_job} = 'facts.json'"),
            {"job_id": job_id},
        )
    pipeline.start_worker("new")
    assert_one_asset_and_one_webhook(pipeline, job_id)
    job = pipeline.job(job_id)
    assert outcomes(job) == {
        "preprocess": ["done"],
        "geometry": ["done"],
        "texture": ["done", "done"],
        "packaging": ["abandoned", "done"],
    }
    # Files travel as files, and only those of the asset get into it.
    left = {info.key for info in pipeline.storage.list(bucket, f"{job_id}/texture/2/")}
    assert left == {f"{job_id}/texture/2/{name}" for name in ("albedo.png", "facts.json", "glb/skin.jpg")}
    asset = {info.key for info in pipeline.storage.list(pipeline.settings.bucket_assets, job.asset_prefix)}
    assert not {key for key in asset if "/glb/" in key or key.endswith("facts.json")}
    assert f"{job.asset_prefix}albedo.png" in asset
