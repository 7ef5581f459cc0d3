"""The command line of ./lab."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from tests.services import images, leftovers
from tests.services.failure import LabError
from tests.services.large_recipes import LARGE_RECIPES
from tests.services.lifetime import first_process
from tests.services.slurm import Cluster
from tests.services.spec import CONTROLLER, PROFILES, state_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXAMPLES = """examples:
  ./lab up                                    three nodes, two CPUs each
  ./lab run -- srun -N3 hostname              as alice on the login host
  ./lab run -u root --node n2 -- ss -ltn      as root on a node
  ./lab shell                                 a shell as alice
  ./lab up --id wide --profile wide --nodes 2 a second lab beside the first
  ./lab up --no-plugin=n2                     n2 lacks hpcbox's Slurm plugin
  ./lab down; ./lab down --id wide
  ./lab images --large medium ml              the benchmarks' images, too: medium:1, ml:1
images inside the lab: 10.77.0.1:5000/{debian,mpich,mpich42,openmpi4,openmpi5,static}:1
"""
ALL = "all"
LARGE = [recipe.name for recipe in LARGE_RECIPES]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab",
        description="A real multi-node Slurm cluster on this machine, in namespaces of its own.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = _verb(verbs, "up", _up, "start a lab")
    up.add_argument("--nodes", type=int, default=3, metavar="N", help="how many (default 3)")
    up.add_argument(
        "--profile", choices=PROFILES, default="exact",
        help="exact: 2 CPUs per node, tasks bound to them; wide: 16 CPUs per node, unbound",
    )  # fmt: skip
    up.add_argument(
        "--no-plugin", nargs="?", const=ALL, action="append", default=[], metavar="MACHINE",
        help="leave hpcbox's plugin out, everywhere or on one machine (--no-plugin=n2)",
    )  # fmt: skip
    up.add_argument("--db", action="store_true", help="with accounting (MariaDB, slurmdbd)")
    up.add_argument("--release", default="22.05", help="Slurm's release (22.05)")
    up.add_argument("--slurmd-seccomp", action="store_true", help="no user namespaces below slurmd")
    run = _verb(verbs, "run", _run, "run a command in a lab; its exit code is passed on")
    _place(run)
    run.add_argument("command", nargs="+", metavar="CMD", help="after --: program and arguments")
    _place(_verb(verbs, "shell", _shell, "a login shell in a lab"))
    _verb(verbs, "down", _down, "end a lab, whatever state it is in; leaves nothing")
    _verb(verbs, "status", _status, "list the labs", with_id=False)
    listing = "list processes, mounts, links, loops, cgroups, /run, /dev/shm: to compare by diff"
    _verb(verbs, "listing", _listing, listing, with_id=False)
    built = _verb(verbs, "images", _images, "build the images that are missing", with_id=False)
    built.add_argument(
        "--large", nargs="*", choices=LARGE, metavar="NAME",
        help=f"the benchmarks' large ones, all or some of {', '.join(LARGE)}: minutes, gigabytes",
    )  # fmt: skip
    return parser


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    text: str,
    *,
    with_id: bool = True,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
    verb.set_defaults(action=action)
    if with_id:
        verb.add_argument("--id", default="lab", metavar="NAME", help="which lab (default lab)")
    return verb


def _place(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("-u", "--user", default="alice", help="alice (default), bob, root, hpcbox")
    verb.add_argument(
        "--node", default=CONTROLLER, help="n1, n2, … or ctl, the login host (default)"
    )


def _up(arguments: argparse.Namespace) -> int:
    if arguments.release != "22.05":
        raise LabError(f"release {arguments.release} can't be started yet — only 22.05 can")
    Cluster(
        nodes=arguments.nodes,
        profile=arguments.profile,
        name=arguments.id,
        plugin=ALL not in arguments.no_plugin,
        plugin_missing_on=[machine for machine in arguments.no_plugin if machine != ALL],
        database=arguments.db,
        slurmd_seccomp=arguments.slurmd_seccomp,
    ).up()
    return 0


def _exec(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    cluster = Cluster.attach(arguments.id)
    env = {name: os.environ[name] for name in ("TERM", "COLORTERM") if name in os.environ}
    command = cluster.command(argv, user=arguments.user, node=arguments.node, env=env)
    sys.stdout.flush()
    # Becomes the command, so that terminal, signals and exit code are its own.
    os.execv(command[0], command)  # noqa: S606


def _run(arguments: argparse.Namespace) -> int:
    return _exec(arguments, arguments.command)


def _shell(arguments: argparse.Namespace) -> int:
    return _exec(arguments, ["/bin/bash", "-l"])


def _down(arguments: argparse.Namespace) -> int:
    Cluster(name=arguments.id).down()
    return 0


def _status(_arguments: argparse.Namespace) -> int:
    root = state_root()
    for folder in sorted(root.iterdir()) if root.exists() else ():
        pid = first_process(folder.name)
        if pid is None:
            print(f"{folder.name}\tdead — ./lab down --id {folder.name}")
            continue
        spec = Cluster.attach(folder.name).spec
        print(f"{folder.name}\tup\t{spec.nodes} nodes\t{spec.profile}\tfirst process {pid}")
    return 0


def _listing(_arguments: argparse.Namespace) -> int:
    print(leftovers.snapshot())
    return 0


def _images(arguments: argparse.Namespace) -> int:
    if arguments.large is None:
        images.ensure()
    else:
        chosen = arguments.large or LARGE
        images.ensure([recipe for recipe in LARGE_RECIPES if recipe.name in chosen])
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run ./lab; returns the exit code (1 and one line on stderr when something fails)."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.action(arguments))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
