"""The four tasks of the chain, thin: read artifacts, call one function, write artifacts."""

from collections.abc import Sequence

import numpy as np

from assets.manifest import EngineEntry, FileEntry, Source, StageEntry, grade
from assets.maps import is_embedded_map, iterate_maps
from assets.package import build_asset
from db.results import StageRun, stage_files, stage_runs
from face3d.errors import ErrorCode, RefusedError
from face3d.messages import Array, StageResult, dump_result, load_result
from face3d.options import JobOptions, allowed_values
from face3d.states import StageName
from gpu_workers.engines.base import ViewingEngine
from gpu_workers.photo_limits import PhotoLimits
from storage.errors import ObjectMissing, ObjectReplaced
from storage.intake import refuse_size
from storage.layout import artifact_prefix, asset_prefix
from tasks.app import app
from tasks.base import StageContext, StageOutput, StageTask

#: The file of a stage result among an attempt's artifacts.
RESULT = "result.safetensors"


def _read_photo(context: StageContext) -> bytes:
    try:
        return context.storage.get(context.job.bucket, context.job.key, if_match=context.job.etag)
    except ObjectMissing as error:
        raise RefusedError(ErrorCode.PHOTO_GONE, "The photo was deleted before it was read.") from error
    except ObjectReplaced as error:
        raise RefusedError(
            ErrorCode.PHOTO_REPLACED,
            "The photo was replaced before it was read; the new one has its own job.",
        ) from error


def _read_frontal(context: StageContext) -> bytes:
    """Read the photo that option view-of names: the job's own shows the same person turned."""
    key, bucket, max_bytes = str(context.options.view_of), context.job.bucket, context.settings.max_bytes
    if key == context.job.key:
        raise RefusedError(
            ErrorCode.BAD_OPTION,
            "Option view-of names the job's own photo.",
            value=key[:100],
            limit="the key of another photo in the same bucket",
        )
    try:
        # No intake has looked at this object: whatever lies under the key may be of any size.
        info = context.storage.head(bucket, key)
        if info.size > max_bytes:
            raise refuse_size(info.size, max_bytes)
        return context.storage.get(bucket, key, if_match=info.etag)
    except ObjectMissing as error:
        raise RefusedError(
            ErrorCode.VIEW_MISSING,
            "The photo that view-of names is not in the bucket.",
            value=key[:100],
            limit="a key in the same bucket",
        ) from error
    except ObjectReplaced as error:
        raise RefusedError(
            ErrorCode.PHOTO_REPLACED, "The photo that view-of names was replaced while it was read."
        ) from error


def _read_result(context: StageContext, stage: StageName) -> StageResult:
    key = context.job.prefixes[stage.value] + RESULT
    with context.timings.step("read"):
        return load_result(context.artifacts.read(context.settings.bucket_work, key))


def _write_result(context: StageContext, result: StageResult) -> StageOutput:
    lease = context.lease
    prefix = artifact_prefix(lease.job_id, lease.stage, lease.attempt)
    context.held.check()
    with context.timings.step("write"):
        stored = context.artifacts.write_result(
            context.settings.bucket_work, prefix, RESULT, dump_result(result)
        )
    return StageOutput(prefix=prefix, files=stored)


def _preprocess(context: StageContext, photo: bytes, frontal: bytes | None) -> StageResult:
    """Measure the job's photo; with a frontal one, measure that and add the job's own as a second view."""
    engine, options, limits = context.engine, context.options, PhotoLimits.from_settings(context.settings)
    if frontal is None:
        return engine.preprocess(photo, options, limits)
    if not isinstance(engine, ViewingEngine):
        raise RefusedError(
            ErrorCode.BAD_OPTION,
            f"Engine {engine.name} cannot take a second view.",
            value=str(options.view_of)[:100],
            limit=allowed_values("view-of"),
        )
    return engine.add_view(engine.preprocess(frontal, options, limits), photo, options, limits)


def preprocess_photo(context: StageContext) -> StageOutput:
    """Read the photo, decode and measure it."""
    with context.timings.step("read"):
        photo = _read_photo(context)
        frontal = _read_frontal(context) if context.options.view_of else None
    with context.timings.step("compute"):
        prepared = _preprocess(context, photo, frontal)
    context.ran["input-size"] = context.options.input_size
    return _write_result(context, prepared)


def fit_geometry(context: StageContext) -> StageOutput:
    """Fit the head to the preprocessed photo."""
    prepared = _read_result(context, StageName.PREPROCESS)
    with context.timings.step("compute"):
        run = context.device.geometry(context.engine, prepared, context.options, context.job.stated)
    context.ran.update(run.describe())
    return _write_result(context, run.result)


def bake_texture(context: StageContext) -> StageOutput:
    """Bake the maps and encode them; the pixels go no further, the maps for head.glb ride in the result."""
    prepared = _read_result(context, StageName.PREPROCESS)
    geometry = _read_result(context, StageName.GEOMETRY)
    with context.timings.step("compute"):
        run = context.device.texture(context.engine, prepared, geometry, context.options, context.job.stated)
    context.ran.update(run.describe())
    texture, lease = run.result, context.lease
    prefix = artifact_prefix(lease.job_id, lease.stage, lease.attempt)
    embedded: dict[str, Array] = {}
    context.held.check()
    with context.artifacts.begin(context.settings.bucket_work, prefix) as uploads:
        with context.timings.step("encode"):
            for name, data in iterate_maps(texture, context.options):
                if is_embedded_map(name):
                    embedded[name] = np.frombuffer(data, np.uint8)
                else:
                    uploads.add(name, data)
        context.held.check()
        with context.timings.step("write"):
            uploads.add_result(RESULT, dump_result(StageResult(tensors=embedded, facts=texture.facts)))
            stored = uploads.finish()
    return StageOutput(prefix=prefix, files=stored)


def options_as_run(options: JobOptions, runs: Sequence[StageRun]) -> JobOptions:
    """Return the options as each stage used them: a GPU type's profile fills in the unstated ones."""
    used = {stage.stage: stage.ran for stage in runs}
    changes = {
        name.replace("-", "_"): used[stage][name]
        for stage, name in ((StageName.PREPROCESS, "input-size"), (StageName.TEXTURE, "sharpen"),
                            (StageName.TEXTURE, "compile"))
        if name in used.get(stage, {})
    }  # fmt: skip
    return options.model_copy(update=changes)


def package_asset(context: StageContext) -> StageOutput:
    """Build the asset's files; maps that are final already are copied inside the storage."""
    job, settings = context.job, context.settings
    prepared = _read_result(context, StageName.PREPROCESS)
    geometry = _read_result(context, StageName.GEOMETRY)
    texture = _read_result(context, StageName.TEXTURE)
    with context.sessions() as session:
        maps = [f for f in stage_files(session, job.lease.job_id, StageName.TEXTURE) if f.name != RESULT]
        runs = stage_runs(session, job.lease.job_id)
    texture_prefix = job.prefixes[StageName.TEXTURE.value]
    embedded = {name: data.tobytes() for name, data in texture.tensors.items()}
    prefix = asset_prefix(job.lease.job_id, job.lease.attempt)
    context.held.check()
    copies = context.artifacts.copy(maps, texture_prefix, settings.bucket_assets, prefix)
    with context.artifacts.begin(settings.bucket_assets, prefix) as uploads:
        with context.timings.step("compute"):
            build_asset(
                job=job.lease.job_id,
                source=Source(bucket=job.bucket, key=job.key, etag=job.etag),
                photo=prepared.tensors["photo"],
                landmarks=prepared.tensors["landmarks"],
                geometry=geometry,
                texture=texture,
                encoded=embedded,
                options=options_as_run(context.options, runs),
                engine=EngineEntry(
                    name=context.engine.name,
                    version=context.engine.version,
                    licences=context.engine.licences(),
                ),
                stages=[
                    StageEntry(name=run.stage, seconds=run.seconds, device=run.device, gpu_type=run.gpu_type)
                    for run in runs
                ],
                described={file.name: FileEntry(bytes=file.size, sha256=file.sha256) for file in maps},
                ready=uploads.add,
            )
        context.held.check()
        with context.timings.step("write"):
            written = uploads.finish()
            copied = [copy.result() for copy in copies]
    quality = grade(geometry.facts, texture.facts)
    return StageOutput(prefix=prefix, files=[*written, *copied], quality=quality)


@app.task(base=StageTask, bind=True, name="face3d.preprocess")
def preprocess(self: StageTask, job_id: str, dispatch: int) -> None:
    """Task of stage preprocess."""
    self.work(StageName.PREPROCESS, job_id, dispatch, preprocess_photo)


@app.task(base=StageTask, bind=True, name="face3d.geometry")
def geometry(self: StageTask, job_id: str, dispatch: int) -> None:
    """Task of stage geometry."""
    self.work(StageName.GEOMETRY, job_id, dispatch, fit_geometry)


@app.task(base=StageTask, bind=True, name="face3d.texture")
def texture(self: StageTask, job_id: str, dispatch: int) -> None:
    """Task of stage texture."""
    self.work(StageName.TEXTURE, job_id, dispatch, bake_texture)


@app.task(base=StageTask, bind=True, name="face3d.packaging")
def packaging(self: StageTask, job_id: str, dispatch: int) -> None:
    """Task of stage packaging."""
    self.work(StageName.PACKAGING, job_id, dispatch, package_asset)
