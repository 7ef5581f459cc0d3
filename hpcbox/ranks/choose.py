"""How ranks are to be started: by srun, or by hpcbox over ssh or on this machine; pure.

srun is best where it can enter the container and speaks what the image's MPI needs: steps,
accounting and binding come with it. A wrong pairing would end well and compute N times the same,
so each choice has its reason, and what can't work is refused.
"""

from dataclasses import dataclass

from hpcbox.cluster.srun_facts import SrunFacts
from hpcbox.errors import LaunchRefused, RequestError, shorten
from hpcbox.ranks.plan import MPI_KINDS
from hpcbox.ranks.srun_options import LAUNCHERS
from hpcbox.rootfs.mpi_library import MPICH, OPEN_MPI, PMI1, PMI2, PMIX

# How hpcbox itself can let ranks find each other; `auto` is the absence of --mpi.
_OWN_KINDS = tuple(kind for kind in MPI_KINDS if kind != "auto")
_ONLY_OWN = tuple(kind for kind in _OWN_KINDS if kind != "none")
_CRAY = "cray_shasta"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known before choosing.

    Attributes:
        launcher: one of LAUNCHERS.
        mpi: value of --mpi, "" for none.
        image: reference, "" for ranks on the host.
        family: MPI family of the program or its image, "" when unknown.
        product: its name for people, "" when unknown.
        pmi: kinds of process manager it speaks, () when unknown.
        in_allocation: this process is part of a job.
    """

    launcher: str
    mpi: str = ""
    image: str = ""
    family: str = ""
    product: str = ""
    pmi: tuple[str, ...] = ()
    in_allocation: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        launcher: "srun", "ssh" or "local".
        mpi: for srun the value of --mpi, "" to leave the site's default; else one of MPI_KINDS.
        reason: one line for people.
    """

    launcher: str
    mpi: str
    reason: str


def choose(wanted: Wanted, srun: SrunFacts) -> Choice:
    """Return how to start the ranks.

    Raises:
        RequestError: the launcher has another name than LAUNCHERS.
        LaunchRefused: what was asked for can't work, and why.
    """
    if wanted.launcher not in LAUNCHERS:
        raise RequestError(
            f"there is no launcher '{shorten(wanted.launcher, 40)}'",
            hint=f"there are {', '.join(LAUNCHERS)}",
        )
    launcher, reason = wanted.launcher, "it was asked for"
    if launcher == "auto":
        launcher, reason = _automatic(wanted, srun)
    if launcher == "srun":
        return _by_srun(wanted, srun, reason)
    return _by_hpcbox(wanted, srun, launcher, reason)


def _automatic(wanted: Wanted, srun: SrunFacts) -> tuple[str, str]:
    """Return the launcher and the reason; "" for srun, which finds one of its own."""
    if srun.problem:
        return ("ssh" if wanted.in_allocation else "local"), srun.problem
    if wanted.mpi in _ONLY_OWN:
        return "ssh", f"--mpi={wanted.mpi} is hpcbox's own"
    if wanted.image and not srun.has_plugin:
        return "ssh", "srun has no plugin of hpcbox here"
    if not wanted.mpi and wanted.family and not _types(wanted, srun):
        return "ssh", f"srun has none of the --mpi types that {wanted.product} needs"
    return "srun", ""


def _by_srun(wanted: Wanted, srun: SrunFacts, reason: str) -> Choice:
    if srun.problem:
        raise LaunchRefused(f"srun can't be used: {srun.problem}", hint="use --launcher=local")
    if wanted.image and not srun.has_plugin:
        raise LaunchRefused(
            "srun has no plugin of hpcbox here, so it can't enter an image",
            hint="use --launcher=ssh, or ask an administrator to install it",
        )
    if wanted.mpi:
        if wanted.mpi not in srun.mpi_types:
            raise LaunchRefused(
                f"srun has no --mpi={shorten(wanted.mpi, 40)}",
                hint=f"it has {', '.join(srun.mpi_types)}",
            )
        return Choice("srun", wanted.mpi, reason or f"--mpi={wanted.mpi} was asked for")
    types = _types(wanted, srun)
    if types:
        return Choice("srun", types[0], f"{wanted.product} works with srun's {types[0]}")
    if wanted.family:
        raise LaunchRefused(
            f"srun has none of the --mpi types that {wanted.product} needs",
            hint=f"it has {', '.join(srun.mpi_types)}",
        )
    return Choice("srun", "", reason or "srun can do it; which MPI it needs is unknown")


def _by_hpcbox(wanted: Wanted, srun: SrunFacts, launcher: str, reason: str) -> Choice:
    if launcher == "ssh" and srun.problem and not wanted.in_allocation:
        raise LaunchRefused(
            f"there is no allocation, and none can be had: {srun.problem}",
            hint="use --launcher=local",
        )
    if wanted.mpi and wanted.mpi not in _OWN_KINDS:
        raise LaunchRefused(
            f"--launcher={launcher} has no --mpi={shorten(wanted.mpi, 40)} ({reason})",
            hint=f"leave --mpi out, or use one of {', '.join(_OWN_KINDS)}",
        )
    if wanted.family == OPEN_MPI and wanted.mpi in ("", "hydra"):
        raise LaunchRefused(
            f"--launcher={launcher} can't start programs of {wanted.product} yet ({reason})",
            hint="use --launcher=srun --mpi=pmix",
        )
    if wanted.mpi:
        return Choice(launcher, wanted.mpi, reason)
    return Choice(launcher, "hydra" if wanted.family == MPICH else "auto", reason)


def _types(wanted: Wanted, srun: SrunFacts) -> tuple[str, ...]:
    """Return the types of srun's that suit the MPI, best first."""
    # Libraries that don't say what they speak have what most of their family have.
    kinds = wanted.pmi or {MPICH: (PMI2,), OPEN_MPI: (PMIX,)}.get(wanted.family, ())
    has_pmi = PMI1 in kinds or PMI2 in kinds
    suiting = []
    if wanted.product.startswith("Cray"):
        suiting.append(_CRAY)
    # Slurm's pmi2 serves PMI-1 too.
    if wanted.family == MPICH:
        suiting += ["pmi2"] if has_pmi else []
        suiting += ["pmix"] if PMIX in kinds else []
    elif wanted.family == OPEN_MPI:
        suiting += ["pmix"] if PMIX in kinds else []
        suiting += ["pmi2"] if has_pmi else []
    return tuple(kind for kind in suiting if kind in srun.mpi_types)
