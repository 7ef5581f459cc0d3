"""`hpcbox run`: a command in an image on this machine; no Slurm, no administrator."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from hpcbox.cli import fetching
from hpcbox.container import environment, foreground
from hpcbox.container.commands import COULD_NOT_START
from hpcbox.container.user_mode import NotStarted, UserContainer
from hpcbox.errors import PermissionRefused, RequestError
from hpcbox.request import options
from hpcbox.request.flags import FLAGS
from hpcbox.request.wire import ContainerRequest

if TYPE_CHECKING:
    from hpcbox.settings import Settings
    from hpcbox.store.images import ImageRecord

HELP = """Run a command in an image on this machine: no Slurm, no root, no daemon.

Ends with the command's own code, 128 + N when signal N ended it, 127 when the image has no such
command, 126 when it can't be executed, 125 when hpcbox could not start it."""
EXAMPLES = """  hpcbox run --image debian:12 -- cat /etc/os-release
  hpcbox run --image registry.site:5000/mpich:1 --container-mounts /data:/in:ro -- ls /in
  hpcbox run --image python:3.12
  hpcbox run --image debian:12 --explain -- env"""
FAILURE_CODE = COULD_NOT_START


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.usage = "%(prog)s --image REF [OPTION …] [-- CMD [ARGUMENT …]]"
    for flag in FLAGS:
        names = [f"--{flag.name}"]
        if flag.name == "container-image":
            names.insert(0, "--image")
        text = flag.help if flag.built else f"{flag.help} (not in this version)"
        if flag.argument:
            parser.add_argument(*names, dest=flag.name, metavar=flag.argument, help=text)
        else:
            parser.add_argument(*names, dest=flag.name, action="store_true", help=text)
    parser.add_argument(
        "--pull",
        choices=(fetching.ALWAYS, fetching.MISSING, fetching.NEVER),
        default=fetching.MISSING,
        help="when to ask the registry for the image (default: %(default)s)",
    )
    parser.add_argument("--explain", action="store_true", help="show what would run; run nothing")
    parser.add_argument("--json", action="store_true", help="with --explain: print JSON")
    parser.add_argument(
        "command",
        metavar="-- CMD",
        nargs=argparse.REMAINDER,
        help="command and arguments (default: the image's command)",
    )


def run(arguments: argparse.Namespace, settings: "Settings") -> int:
    """Run the command; return its code.

    Raises:
        HpcboxError: it could not be started.
    """
    if arguments.json and not arguments.explain:
        raise RequestError("--json goes with --explain")
    _check_account(settings)
    request = _request(arguments)
    record = fetching.ensured(request.image, settings, arguments.pull)
    words = _words(arguments, record)
    _open_standard()
    signals = foreground.take_signals()
    with UserContainer.start(
        request,
        store=settings.store,
        digest=record.digest,
        site_mounts=settings.mounts,
        upper_bytes=settings.upper_bytes,
    ) as container:
        for note in container.notes:
            print(f"hpcbox: {note}", file=sys.stderr)
        variables = environment.task_variables(
            os.environ, container.environment, request.image, record.digest
        )
        if arguments.explain:
            from hpcbox.cli import explaining  # noqa: PLC0415 - rarely wanted

            explaining.explain(container, request, words, variables, as_json=arguments.json)
            return 0
        end = foreground.run(container, words, variables, signals)
    if isinstance(end, NotStarted):
        print(f"hpcbox: {end.text}", file=sys.stderr)
    return end.code


def _check_account(settings: "Settings") -> None:
    # In a user namespace root is powerless over others' files, and the site's are another's.
    if os.geteuid() == 0 and settings.service_user:
        raise PermissionRefused(
            f"root's images belong to the service user '{settings.service_user}'",
            hint="run containers as a user",
        )


def _request(arguments: argparse.Namespace) -> ContainerRequest:
    given = {flag.name: getattr(arguments, flag.name) for flag in FLAGS}
    values = options.values(given, os.environ)
    if not values["container-image"]:
        raise RequestError("no image was named", hint="give one with --image")
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = ""
    return ContainerRequest(
        {
            "image": values["container-image"],
            "mounts": values["container-mounts"],
            "workdir": values["container-workdir"],
            "env": values["container-env"],
            "cwd": cwd,
            "submit_dir": cwd,
        }
    )


def _words(arguments: argparse.Namespace, record: "ImageRecord") -> list[str]:
    """Return the command: the user's, else the image's."""
    words: list[str] = arguments.command
    words = words[1:] if words[:1] == ["--"] else words
    if not words and not record.cmd and not arguments.explain:
        raise RequestError(
            f"image {record.digest} has no command of its own", hint="give one after --"
        )
    return words or record.cmd


def _open_standard() -> None:
    """Give the command a descriptor for each of the standard three that the caller has closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
