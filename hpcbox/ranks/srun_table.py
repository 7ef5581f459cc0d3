"""srun's options: how each is written, and what becomes of it when hpcbox starts the ranks itself.

From srun(1) and salloc(1) of Slurm 22.05 to 26.05. A new option of a later Slurm that isn't here is
refused by name; whoever needs it writes srun itself.
"""

from enum import Enum
from typing import NamedTuple


class Without(Enum):
    """What an option means where srun isn't used (ssh, local)."""

    ACTS = "hpcbox does it too"
    CHOOSES = "chooses an allocation; inside one it says nothing, as with srun"
    MEANS_NOTHING = "has no meaning there, and does no harm"
    REFUSED = "only srun can do it"
    LIMITS = "chooses an allocation; inside one it limits the step, which only srun can"


class Argument(Enum):
    """Whether an option takes a value."""

    NONE = ""
    NEEDED = "="
    OPTIONAL = "[=]"


class Option(NamedTuple):
    """One option.

    Attributes:
        name: long name without dashes.
        short: its letter, or "".
        argument: whether it takes a value. An optional one is attached (-K0, --name=value).
        without: what it means without srun.
        salloc: whether salloc(1) takes it.
    """

    name: str
    short: str
    argument: Argument
    without: Without
    salloc: bool


# Name with `=` or `[=]` and, after a slash, its letter; `+` for those that salloc takes.
_ROWS = {
    Without.ACTS: """
        nodes=/N+ ntasks=/n+ cpus-per-task=/c+ ntasks-per-node=+ nodelist=/w+ exclude=/x+ mpi=
        label/l output=/o error=/e input=/i chdir=/D export= time=/t+ kill-on-bad-exit[=]/K
    """,
    Without.CHOOSES: """
        account=/A+ bb=+ bbf=+ begin=/b+ clusters=/M+ cluster-constraint=+ comment=+ constraint=/C+
        container-id= contiguous+ cpu-freq=+ deadline=+ delay-boot=+ dependency=/d+ gid=+
        gres-flags=+ hold/H+ immediate[=]/I+ job-name=/J+ licenses=/L+ mail-type=+ mail-user=+
        mcs-label=+ mincpus=+ nice[=]+ no-kill[=]/k+ partition=/p+ power=+ prefer=+ priority=+
        qos=/q+ reboot+ reservation=+ signal=+ spread-job+ switches=+ time-min=+ tmp=+ uid=+
        use-min-nodes+ wckey=+
    """,
    Without.MEANS_NOTHING: """
        disable-status/X overcommit/O+ overlap preserve-env/E quiet/Q+ quit-on-interrupt
        unbuffered/u verbose/v+ wait=/W slurmd-debug= threads=/T
    """,
    Without.LIMITS: """
        core-spec=/S+ cores-per-socket=+ cpus-per-gpu=+ exact exclusive[=]+ extra-node-info=/B+
        gpus=/G+ gpus-per-node=+ gpus-per-socket=+ gpus-per-task=+ gres=+ hint=+ mem=+
        mem-per-cpu=+ mem-per-gpu=+ network=+ nodefile=/F+ ntasks-per-core=+ ntasks-per-gpu=+
        ntasks-per-socket=+ oversubscribe/s+ sockets-per-node=+ thread-spec=+ threads-per-core=+
    """,
    Without.REFUSED: """
        accel-bind= acctg-freq= bcast[=] bcast-exclude= compress[=] cpu-bind= cpu_bind=
        distribution=/m epilog= external external-launcher[=] gpu-bind= gpu-freq= het-group=
        interactive jobid= job-complete-wait mem-bind= mem_bind= msg-timeout= multi-prog
        no-allocate/Z open-mode= oom-kill-step[=] profile= prolog= propagate[=] pty[=] relative=/r
        resv-ports[=] send-libs[=] stepmgr test-only task-epilog= task-prolog= tree-width=
        tres-bind= tres-per-task= treewidth= x11[=]
    """,
}


def _row(text: str, without: Without) -> Option:
    rest, plus, _ = text.partition("+")
    rest, _, short = rest.partition("/")
    # The longer ending first.
    for argument in (Argument.OPTIONAL, Argument.NEEDED, Argument.NONE):
        if rest.endswith(argument.value):
            break
    return Option(rest.removesuffix(argument.value), short, argument, without, bool(plus))


OPTIONS = tuple(_row(text, without) for without, rows in _ROWS.items() for text in rows.split())
