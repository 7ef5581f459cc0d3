"""What a running job uses, from sstat(1)'s numbers; pure."""

from hpcbox.cluster import texts

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def used_by(output: str, elapsed_seconds: int) -> tuple[tuple[str, str], ...]:
    """Return ("cpu", busy CPUs) and ("mem", amount) of all steps together, named as in `asked`.

    Args:
        output: lines of NTasks|AveCPU|AveRSS, one a step; others are left out.
        elapsed_seconds: how long the job has run.
    """
    cpu_seconds = memory_bytes = 0.0
    lines = 0
    for line in output.splitlines():
        fields = line.split("|")
        if len(fields) != 3 or not texts.number(fields[0]):
            continue
        lines += 1
        tasks = texts.number(fields[0])
        cpu_seconds += tasks * (texts.duration(fields[1]) or 0)
        memory_bytes += tasks * _bytes(fields[2])
    if not lines:
        return ()
    busy = cpu_seconds / max(1, elapsed_seconds)
    return ("cpu", f"{busy:.1f}"), ("mem", _amount(memory_bytes))


def _bytes(text: str) -> float:
    factor = _UNITS.get(text[-1:], 1)
    try:
        return float(text.rstrip("KMGT")) * factor
    except ValueError:
        return 0.0


def _amount(size_bytes: float) -> str:
    """As Slurm writes memory: "200M", "1.5G"."""
    unit = next((unit for unit in "TGM" if size_bytes >= _UNITS[unit]), "K")
    return f"{size_bytes / _UNITS[unit]:.1f}".removesuffix(".0") + unit
