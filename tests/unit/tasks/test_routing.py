"""Where the router sends a stage."""

from db.workers import StageRequest, TypeFacts
from face3d.states import PriorityClass, StageName
from tasks.routing import choose_gpu_type, describe_placement, expected_finish


def facts(
    gpu_type: str, *, slots: int = 1, batch: int = 0, interactive: int = 0, running: int = 0,
    seconds: float | None = None, memory_mb: float = 80_000.0,
) -> TypeFacts:  # fmt: skip
    return TypeFacts(
        gpu_type=gpu_type,
        slots=slots,
        memory_mb=memory_mb,
        waiting={"batch": batch, "interactive": interactive},
        running=running,
        service_seconds={} if seconds is None else {"anny": seconds},
    )


def choose(*known: TypeFacts, within: PriorityClass = PriorityClass.INTERACTIVE, **more: object) -> str:
    stage = StageName.TEXTURE
    placement = choose_gpu_type(known, stage=stage, engine="anny", priority_class=within, **more)  # type: ignore[arg-type]
    return placement.gpu_type


def test_the_faster_of_two_idle_types_wins() -> None:
    assert choose(facts("t4", seconds=0.4), facts("a100", seconds=0.1)) == "a100"


def test_a_busy_fast_type_loses_to_an_idle_slow_one() -> None:
    assert choose(facts("t4", seconds=0.4), facts("a100", seconds=0.1, running=1, interactive=5)) == "t4"


def test_an_interactive_photo_does_not_count_the_batch_before_it() -> None:
    known = facts("a100", seconds=0.1, batch=1000), facts("t4", seconds=0.4)
    assert choose(*known, within=PriorityClass.INTERACTIVE) == "a100"
    assert choose(*known, within=PriorityClass.BATCH) == "t4"


def test_a_type_within_the_latency_bound_comes_before_an_earlier_finish_outside_it() -> None:
    slow, slower = facts("v100", seconds=6.0), facts("t4", seconds=9.0)
    assert choose(slow, slower) == "v100"
    assert choose(slow, slower, facts("cpu", seconds=4.9)) == "cpu"


def test_an_unmeasured_card_is_judged_by_its_published_speed() -> None:
    assert choose(facts("t4"), facts("h100")) == "h100"


def test_slots_share_the_queue() -> None:
    one = facts("a100", seconds=1.0, slots=1, interactive=3)
    four = facts("a100", seconds=1.0, slots=4, interactive=3)
    stage, priority_class = StageName.TEXTURE, PriorityClass.INTERACTIVE
    assert expected_finish(one, stage, "anny", priority_class) == 4.0
    assert expected_finish(four, stage, "anny", priority_class) == 1.0


def test_a_forced_type_is_obeyed_even_without_a_worker() -> None:
    assert choose(facts("cpu"), forced="h100") == "h100"


def test_a_type_with_too_little_memory_is_passed_over() -> None:
    known = facts("t4", seconds=0.1, memory_mb=16_000), facts("a100", seconds=0.5)
    assert choose(*known, memory_mb=20_000.0) == "a100"


def test_a_type_without_enough_memory_for_this_job_is_tried_no_more() -> None:
    known = facts("t4", seconds=0.1), facts("a100", seconds=0.5)
    assert choose(*known, excluded={"t4"}) == "a100"
    assert choose(facts("t4", seconds=0.1), excluded={"t4"}) == "t4"


def test_the_reason_of_a_choice_is_kept_with_every_candidates_facts() -> None:
    known = facts("a100", seconds=0.1, running=1), facts("t4")
    stage, priority_class = StageName.TEXTURE, PriorityClass.INTERACTIVE
    placement = choose_gpu_type(known, stage=stage, engine="anny", priority_class=priority_class)
    request = StageRequest(
        engine="anny",
        priority_class=priority_class,
        gpu_type="any",
        texture_size=4096,
        excluded=frozenset({"t4"}),
    )
    told = describe_placement(placement, known, stage, request)
    assert "interactive bound of 5 s" in told["why"]
    first, second = told["candidates"]
    assert (first["gpu_type"], first["measured"], first["expected_seconds"]) == ("a100", True, 0.2)
    assert (second["measured"], second["excluded"], second["service_seconds"]) == (False, True, 12.744)


def test_without_any_worker_the_stage_waits_on_cpu() -> None:
    assert choose() == "cpu"
