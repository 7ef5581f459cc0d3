"""What is typed after `/`: which jobs a filter keeps. Pure.

Words are joined by "and". A word is searched for in key, name, user, account, partition, QOS,
state, reason, nodes and image; `!word` keeps what lacks it; `field=value` and `field!=value` ask
one field (its start counts, "state=R" knows Slurm's compact forms). Small letters match both cases.
"""

from collections.abc import Callable, Iterable

from hpcbox.views import Job
from hpcbox_tui.styles import SHORT_STATES, short_state

# Whole lists at a time: with 100,000 jobs a call for each is most of what a key costs.
Filter = Callable[[list[Job]], list[Job]]

FIELDS: dict[str, Callable[[Job], str]] = {
    "account": lambda job: job.account,
    "id": lambda job: job.key,
    "image": lambda job: job.container,
    "name": lambda job: job.name,
    "node": lambda job: job.node_list,
    "partition": lambda job: job.partition,
    "qos": lambda job: job.qos,
    "reason": lambda job: job.reason,
    "state": lambda job: job.state,
    "user": lambda job: job.user,
}


def parse(text: str) -> list[Filter]:
    """Return the filters that jobs go through, cheap ones first."""
    fields, words = [], []
    for word in text.split():
        name, sign, value = word.partition("=")
        negated = name.endswith("!")
        field = name.rstrip("!").lower()
        if sign and field in FIELDS:
            fields.append(_with_field(field, value, negated=negated))
        elif word.startswith("!"):
            if word[1:]:
                words.append(_without(_with_word(word[1:])))
        else:
            words.append(_with_word(word))
    return fields + words


def keep(jobs: Iterable[Job], text: str) -> list[Job]:
    """Return the jobs that a filter keeps, in their order."""
    kept = list(jobs)
    for keep_some in parse(text):
        kept = keep_some(kept)
    return kept


def _without(found: Filter) -> Filter:
    def keep_others(jobs: list[Job]) -> list[Job]:
        ids = set(map(id, found(jobs)))
        return [job for job in jobs if id(job) not in ids]

    return keep_others


class _Answers(dict[str, bool]):
    """Answers to a question about texts, each asked once: jobs share most of their texts."""

    def __init__(self, ask: Callable[[str], bool]) -> None:
        super().__init__()
        self._ask = ask

    def __missing__(self, text: str) -> bool:
        answer = self[text] = self._ask(text)
        return answer


def _fold(value: str) -> Callable[[str], str]:
    """Return what is applied to a text before `value` is searched in it."""
    return str if value != value.lower() else str.lower


def _with_field(field: str, value: str, *, negated: bool) -> Filter:
    read, fold, upper = FIELDS[field], _fold(value), value.upper()
    is_compact = upper in SHORT_STATES.values()

    def has(text: str) -> bool:
        if field == "state":
            return short_state(text) == upper if is_compact else text.startswith(upper)
        folded = fold(text)
        return value in folded if field in ("image", "name", "node") else folded.startswith(value)

    def keep_some(jobs: list[Job]) -> list[Job]:
        if field == "id":
            return [job for job in jobs if (value in (job.key, str(job.job_id))) != negated]
        answers = _Answers(has)
        return [job for job in jobs if answers[read(job)] != negated]

    return keep_some


def _with_word(word: str) -> Filter:
    fold = _fold(word)

    def keep_some(jobs: list[Job]) -> list[Job]:
        has = _Answers(lambda text: word in fold(text))
        # Names are as many as jobs: remembered, they would only take memory.
        return [
            job
            for job in jobs
            if word in job.key
            or word in fold(job.name)
            or has[job.user]
            or has[job.state]
            or has[job.reason]
            or has[job.partition]
            or has[job.account]
            or has[job.qos]
            or has[job.node_list]
            or has[job.container]
        ]

    return keep_some
