"""Each photo of the corpus gets its verdict and its reasons; a new fault is a new row of cases.py."""

import pytest

from face3d.errors import ErrorCode, RefusedError
from face3d.options import JobOptions
from face3d.quality import REASONS, ReasonCode, read_reason, verdict_of
from tests.corpus.cases import CASES, Case
from tests.unit.head.head_support import LIMITS, engine, model_dir


@pytest.fixture(autouse=True)
def _models():
    model_dir()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_photo(case: Case) -> None:
    if case.verdict in set(ErrorCode):
        with pytest.raises(RefusedError) as caught:
            engine().preprocess(case.make(), JobOptions(), LIMITS)
        assert caught.value.code.value == case.verdict, str(caught.value)
        assert caught.value.value != caught.value.limit
        return
    prepared = engine().preprocess(case.make(), JobOptions(), LIMITS)
    reasons = [read_reason(fact) for fact in prepared.facts["reasons"]]
    codes = {reason.code.value for reason in reasons}
    said = f"{verdict_of(reasons)}: " + ", ".join(f"{one.code} {one.value}" for one in reasons)
    assert case.reasons <= codes <= case.reasons | case.besides, said
    assert verdict_of(reasons).value == case.verdict, said
    for reason in reasons:
        assert reason.value != reason.limit
        kind = REASONS[reason.code]
        assert reason.code is ReasonCode.PHOTO_TURNED or kind.beyond(reason.value, reason.limit)


def test_the_corpus_is_large_and_has_every_reason_that_a_photo_can_give() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    seen = set().union(*(case.reasons for case in CASES))
    of_geometry = {
        "strong_expression", "landmarks_fit_badly", "unusual_shape", "second_photo_same_side",
        "second_photo_not_found", "front_disagrees", "nothing_reconstructed",
    }  # fmt: skip
    # Turned heads need another picture of the person; the rest comes along with other faults.
    beside = {"head_turned", "head_tilted", "face_partly_covered", "landmarks_uncertain"}
    assert {code.value for code in ReasonCode} - seen <= of_geometry | beside
