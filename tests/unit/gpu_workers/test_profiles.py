"""How work runs on each GPU type unless the job says otherwise."""

import pytest

from face3d.options import GPU_TYPE_NAMES, parse_options
from gpu_workers.gpu_catalog import GPU_TYPES
from gpu_workers.profiles import effective_options, jobs_at_once, lighter_options, profile_of


@pytest.mark.parametrize("weak", ["v100", "t4"])
def test_weak_cards_get_lighter_work(weak: str) -> None:
    options = parse_options({})
    run = effective_options(options, options.stated(), profile_of(weak))
    assert (run.input_size, run.sharpen) == (960, False)
    strong = effective_options(options, options.stated(), profile_of("h100"))
    assert (strong.input_size, strong.sharpen) == (1280, True)


def test_a_stated_option_wins_even_when_it_is_the_default() -> None:
    options = parse_options({"sharpen": "on", "input-size": "1280", "compile": "max-autotune"})
    run = effective_options(options, options.stated(), profile_of("t4"))
    assert (run.input_size, run.sharpen, run.compile) == (1280, True, "max-autotune")


def test_a_smaller_input_than_the_profiles_is_kept() -> None:
    options = parse_options({"input-size": "960"})
    assert effective_options(options, [], profile_of("h100")).input_size == 960


def test_a_stated_default_is_another_job_where_profiles_decide() -> None:
    assert parse_options({"sharpen": "on"}).digest() != parse_options({}).digest()
    assert parse_options({"texture-format": "png"}).digest() == parse_options({}).digest()


def test_a_t4_runs_one_job_at_once_and_an_a100_three() -> None:
    jobs = {name: jobs_at_once(gpu.memory_gb * 1024, profile_of(name)) for name, gpu in GPU_TYPES.items()}
    assert (jobs["t4"], jobs["a100"]) == (1, 3)
    assert all(count >= 1 for count in jobs.values())
    assert jobs_at_once(2000, profile_of("h100")) == 1


def test_every_type_has_a_profile_and_a_source() -> None:
    assert all(GPU_TYPES[name].source for name in GPU_TYPE_NAMES)
    assert len({profile_of(name) for name in GPU_TYPE_NAMES}) > 3


def test_the_texture_never_shrinks_for_memory() -> None:
    steps = list(lighter_options(parse_options({}), []))
    assert {step.texture_size for step in steps} == {4096}
    assert (steps[-1].input_size, steps[-1].sharpen, steps[-1].compile) == (960, False, "off")
    assert list(lighter_options(parse_options({"compile": "off"}), ["sharpen", "input-size"])) == []
