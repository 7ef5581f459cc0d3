"""What is typed after `/`: which jobs a filter keeps. Pure.

Words are joined by "and". A word is searched for in key, name, user, account, partition, QOS,
state, reason, nodes and image; `!word` keeps what lacks it; `field=value` and `field!=value` ask
one field (its start counts, "state=R" knows Slurm's compact forms). Small letters match both cases.
"""

from collections.abc import Callable, Iterable

from hpcbox.views import Job
from hpcbox_tui.styles import SHORT_STATES, short_state

Test = Callable[[Job], bool]

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


def parse(text: str) -> list[Test]:
    """Return the tests that a job has to pass, cheap ones first."""
    fields, words = [], []
    for word in text.split():
        name, sign, value = word.partition("=")
        negated = name.endswith("!")
        field = name.rstrip("!").lower()
        if sign and field in FIELDS:
            fields.append(_field_test(field, value, negated=negated))
        elif word.startswith("!"):
            if word[1:]:
                words.append(_not(_word_test(word[1:])))
        else:
            words.append(_word_test(word))
    return fields + words


def keep(jobs: Iterable[Job], text: str) -> list[Job]:
    """Return the jobs that a filter keeps, in their order."""
    kept = list(jobs)
    for test in parse(text):
        kept = [job for job in kept if test(job)]
    return kept


def _not(test: Test) -> Test:
    return lambda job: not test(job)


def _folded(value: str) -> Callable[[str], str]:
    """Return what is applied to a text before `value` is searched in it, remembered by text.

    Jobs share most of their texts (users, partitions, states), so that most are seen only once.
    """
    if value != value.lower():
        return str
    known: dict[str, str] = {}

    def fold(text: str) -> str:
        folded = known.get(text)
        if folded is None:
            folded = known[text] = text.lower()
        return folded

    return fold


def _field_test(field: str, value: str, *, negated: bool) -> Test:
    read, fold, upper = FIELDS[field], _folded(value), value.upper()
    is_compact = upper in SHORT_STATES.values()

    def found(job: Job) -> bool:
        text = read(job)
        if field == "state":
            return short_state(text) == upper if is_compact else text.startswith(upper)
        if field == "id":
            return value in (text, str(job.job_id))
        folded = fold(text)
        return value in folded if field in ("image", "name", "node") else folded.startswith(value)

    return _not(found) if negated else found


def _word_test(word: str) -> Test:
    fold = _folded(word)
    known: dict[str, bool] = {}

    def has(text: str) -> bool:
        answer = known.get(text)
        if answer is None:
            answer = known[text] = word in fold(text)
        return answer

    def found(job: Job) -> bool:
        return (
            word in job.key
            or has(job.name)
            or has(job.user)
            or has(job.state)
            or has(job.reason)
            or has(job.partition)
            or has(job.account)
            or has(job.qos)
            or has(job.node_list)
            or has(job.container)
        )

    return found
