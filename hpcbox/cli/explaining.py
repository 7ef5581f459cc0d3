"""What `hpcbox run --explain` prints: each thing of a container and where it comes from."""

import json
from typing import Any

from hpcbox.container.user_mode import UserContainer
from hpcbox.errors import one_line
from hpcbox.request.mounts import NODEV, NOEXEC, NOSUID, RDONLY
from hpcbox.request.wire import ContainerRequest

_ATTRIBUTES = ((RDONLY, "ro"), (NOSUID, "nosuid"), (NODEV, "nodev"), (NOEXEC, "noexec"))


def explain(
    container: UserContainer,
    request: ContainerRequest,
    words: list[str],
    variables: dict[str, str],
    *,
    as_json: bool,
) -> None:
    """Print image, command, working directory, mounts and variables of a container."""
    facts = _facts(container, request, words, variables)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    workdir = facts["workdir"]
    print(f"image    {one_line(facts['image'])}")
    print(f"digest   {facts['digest']}")
    print(f"command  {one_line(' '.join(words)) or '-'}")
    print(f"workdir  {one_line(workdir['path'])}  ({workdir['origin']})")
    print("mounts")
    for mount in facts["mounts"]:
        flags = ",".join(mount["flags"]) or "rw"
        what = f"{mount['source']} → {mount['target']}"
        print(f"  {one_line(what)}  {flags}  ({mount['origin']})")
    print("variables")
    for variable in facts["variables"]:
        text = f"{variable['name']}={variable['value']}"
        print(f"  {one_line(text)}  ({variable['origin']})")


def _facts(
    container: UserContainer, request: ContainerRequest, words: list[str], variables: dict[str, str]
) -> dict[str, Any]:
    return {
        "image": request.image,
        "digest": container.record.digest,
        "command": words,
        "workdir": {"path": container.workdir, "origin": container.workdir_origin},
        "mounts": [
            {
                "source": mount.source or "tmpfs",
                "target": mount.target,
                "flags": [name for bit, name in _ATTRIBUTES if mount.attributes & bit],
                "origin": mount.origin,
            }
            for mount in container.mounts
        ],
        "variables": [
            {"name": name, "value": value, "origin": _origin(name, container, request)}
            for name, value in sorted(variables.items())
        ],
    }


def _origin(name: str, container: UserContainer, request: ContainerRequest) -> str:
    if name in ("HPCBOX_IMAGE", "HPCBOX_IMAGE_DIGEST"):
        return "hpcbox"
    if name in dict(container.environment):
        return "image"
    return "--container-env" if name in request.env else "host"
