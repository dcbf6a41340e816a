"""The plan as text."""

from collections.abc import Sequence

from bench.report import table
from capacity.arrivals import Pattern
from capacity.plan import CardPlan, Question
from capacity.platform import Need


def describe_question(question: Question) -> str:
    """Return the question as one sentence."""
    what = "asset (packaging and queue hops too)" if question.asset else "map"
    when = {
        Pattern.STEADY: "at random moments over the day",
        Pattern.BURST: "at random moments over the day",
        Pattern.OFFICE: "within eight hours",
    }[question.pattern]
    bursts = ""
    if question.burst and question.pattern is not Pattern.STEADY:
        bursts = f", of them {question.bursts_per_day} bursts of {question.burst} at once"
    return (
        f"{question.photos_per_day} photos a day {when}{bursts}; from photo to {what}; "
        f"{100 * question.share:g} % within {1000 * question.max_latency:.0f} ms; seed {question.seed}"
    )


def plan_table(plans: Sequence[CardPlan], burst: int) -> str:
    """Return one row an answer."""
    done = f"burst of {burst} done in" if burst else "burst done in"
    head = [
        "card",
        "figures",
        "goal",
        "cards",
        "CPU machines",
        "median",
        "P95",
        "P99",
        done,
        "busy over the day",
    ]
    rows = []
    for plan in plans:
        for answer in plan.answers:
            times = [f"{1000 * value:.0f} ms" for value in (answer.median, answer.p95, answer.p99)]
            rows.append(
                [
                    plan.card,
                    plan.kind,
                    answer.goal if answer.met else "CANNOT BE MET",
                    str(answer.cards),
                    str(answer.cpu_hosts) if answer.cpu_hosts else "-",
                    *times,
                    "-" if answer.burst_seconds is None else f"{answer.burst_seconds:.2f} s",
                    f"{100 * answer.busy:.1f} %",
                ]
            )
    return table(head, rows)


def plan_notes(plans: Sequence[CardPlan]) -> str:
    """Return where the figures come from, and what is special about each card."""
    origins: dict[str, list[str]] = {}
    for plan in plans:
        origins.setdefault(f"{plan.kind.upper()}: {plan.where}", []).append(plan.card)
    lines = [f"{', '.join(cards)}: {origin}" for origin, cards in origins.items()]
    notes: dict[str, list[str]] = {}
    for plan in plans:
        for note in plan.notes:
            notes.setdefault(note, []).append(plan.card)
    lines += [f"{', '.join(cards)}: {note}" for note, cards in notes.items()]
    return "\n".join(f"- {line}" for line in lines)


def platform_table(needs: Sequence[Need], rate: float) -> str:
    """Return the needs, and which single part is full first."""
    rows = [
        [
            need.name,
            need.a_job,
            need.at_rate,
            "-" if need.limit is None else f"{3600 * need.limit:,.0f} an hour",
        ]
        for need in needs
    ]
    head = ("resource", "a job", f"at {3600 * rate:,.0f} jobs an hour", "one is full at")
    limited = [(need.limit, need.name) for need in needs if need.limit is not None and need.limit < rate]
    text = table(head, rows)
    if limited:
        order = ", then ".join(
            f"{name} at {3600 * limit:,.0f} jobs an hour" for limit, name in sorted(limited)
        )
        text += f"\nWhat cannot be multiplied and is full first: {order}."
    return text
