"""Artifacts that a worker cannot read (older release, gone, damaged): the job becomes ready all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from compose.local import Stack
from face3d.settings import Settings
from tasks.artifacts import open_cache
from tests.integration.pipeline import Pipeline, assert_one_asset_and_one_webhook, kill_tree, open_pipeline

#: What the stages of engine `null` wrote before artifacts had a version.
UNVERSIONED = Path(__file__).parents[2] / "data" / "unversioned_artifacts"


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        yield opened


def run_until(pipeline: Pipeline, *stages: str) -> str:
    """Run the first stages of a photo, and return its job; nothing of it lies in this host's cache."""
    worker = pipeline.start_worker("early", stages=",".join(stages))
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, stages[-1], "done")
    kill_tree(worker)
    cache = open_cache(pipeline.settings)
    assert cache.path(f"{job_id}/x").parent.is_dir()
    cache.forget(job_id)
    return job_id


def outcomes(pipeline: Pipeline, job_id: str) -> dict[str, list[str]]:
    return {stage.name: [one.outcome for one in stage.attempts] for stage in pipeline.job(job_id).stages}


@pytest.mark.parametrize("what", ["older release", "gone", "damaged"])
def test_what_preprocess_left_and_nobody_reads_is_made_again(pipeline: Pipeline, what: str) -> None:
    job_id = run_until(pipeline, "preprocess")
    key, bucket = f"{job_id}/preprocess/1/result.safetensors", pipeline.settings.bucket_work
    old = (UNVERSIONED / "preprocess.safetensors").read_bytes()
    if what == "gone":
        pipeline.storage.delete(bucket, key)
    else:
        data = old if what == "older release" else old[:-1]
        pipeline.storage.put(bucket, key, data, content_type="application/octet-stream")
    pipeline.start_worker("new")
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert outcomes(pipeline, job_id) == {
        "preprocess": ["done", "done"],
        "geometry": ["abandoned", "done"],
        "texture": ["done"],
        "packaging": ["done"],
    }
    (attempt,) = (one for one in pipeline.job(job_id).stages[1].attempts if one.outcome == "abandoned")
    assert attempt.error_code == "artifact_unreadable"
    assert pipeline.job(job_id).stages[1].failures == 0, "nothing failed"


def test_maps_of_an_older_release_are_baked_again(pipeline: Pipeline) -> None:
    """It kept the pictures for head.glb and the facts in one file, as arrays."""
    job_id = run_until(pipeline, "preprocess", "geometry", "texture")
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
    assert outcomes(pipeline, job_id) == {
        "preprocess": ["done"],
        "geometry": ["done"],
        "texture": ["done", "done"],
        "packaging": ["abandoned", "done"],
    }
