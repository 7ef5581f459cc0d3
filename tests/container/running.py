"""Commands in user containers of this process, and looking at what is left of them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpcbox.container.user_mode import Event, Exited, NotStarted, Started, UserContainer
from hpcbox.request.wire import ContainerRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS = ("image", "digest", "mounts", "workdir", "env", "cwd", "submit_dir", "script")


def request(**fields: str) -> ContainerRequest:
    """A request as a verb makes it."""
    return ContainerRequest({**dict.fromkeys(_FIELDS, ""), "image": "tools:1", **fields})


@contextmanager
def container(
    store: Path, digest: str, *, own_folder: Path | None = None, **fields: str
) -> Iterator[UserContainer]:
    """A container of an image in a store."""
    started = UserContainer.start(
        request(**fields),
        store=str(store),
        digest=digest,
        site_mounts=(),
        upper_bytes=0,
        own_folder=str(own_folder) if own_folder else None,
    )
    with started:
        yield started


def run(
    running: UserContainer, *argv: str, cwd: str = "/", env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run one command to its end; return its code and what it printed or why it didn't start."""
    reader, writer = os.pipe()
    variables = dict(running.environment) if env is None else env
    with open(os.devnull, "rb") as null:
        running.spawn(1, list(argv), variables, cwd, (null.fileno(), writer, writer))
    os.close(writer)
    with open(reader, "rb") as pipe:
        output = pipe.read().decode()
    event = running.receive()
    if isinstance(event, NotStarted):
        return event.code, event.text
    assert isinstance(event, Started)
    event = running.receive()
    assert isinstance(event, Exited)
    return event.code, output


def spawn(running: UserContainer, key: int, *argv: str) -> None:
    """Start a command that reads nothing and whose output nobody wants."""
    with open(os.devnull, "r+b") as null:
        descriptor = null.fileno()
        running.spawn(key, list(argv), dict(running.environment), "/", (descriptor,) * 3)


def events(running: UserContainer, count: int) -> list[Event]:
    """The next events."""
    found = []
    for _ in range(count):
        event = running.receive()
        assert event is not None
        found.append(event)
    return found


def pid_namespace(pid: int) -> str:
    """Names the pid namespace of a process, as seen here."""
    return os.readlink(f"/proc/{pid}/ns/pid")


def members(namespace: str) -> list[str]:
    """The processes of a pid namespace: pid and state."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if os.readlink(folder / "ns/pid") == namespace:
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    found.append(f"{folder.name} {state}")
            except (OSError, IndexError):
                continue
    return found
