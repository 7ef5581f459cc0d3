"""What a user asked for, as the plugin sends it to a node: one JSON object.

The plugin (spank/request.c) writes it, `read` is its only reader; both know version 1. Every
field is the user's own word: it is checked here and grants nothing.
Loaded on every node and step: plain classes, no json package.
"""

from hpcbox.errors import RequestError
from hpcbox.json_scan import loads

VERSION = 1

_TEXT_FIELDS = (
    *("image", "digest", "mounts", "workdir", "env", "cwd", "submit_dir", "script", "run"),
    "registries",
)


class ContainerRequest:
    """A request for a container; texts that are absent are empty.

    Attributes:
        image: the reference as typed.
        digest: `sha256:HEX` of the manifest if the client has resolved it, else "".
        mounts: the value of --container-mounts, "" if absent.
        workdir: the value of --container-workdir, "" if absent.
        env: names of --container-env.
        cwd: the step's working directory on the node, "" if unknown.
        submit_dir: where the job was submitted; a cwd that differs was chosen on purpose.
        script: path of the batch script on the node if it is to run inside, else "".
        registries: variables of the job that say how registries are reached, NAME=VALUE lines.
        run: what tells this run of the step from others with its ids; the same on all nodes.
    """

    __slots__ = (
        *("cwd", "digest", "env", "image", "mounts", "registries", "run", "script", "submit_dir"),
        "workdir",
    )

    def __init__(self, fields: dict[str, str]) -> None:
        self.image = fields["image"]
        self.digest = fields.get("digest", "")
        self.mounts = fields.get("mounts", "")
        self.workdir = fields.get("workdir", "")
        self.env = tuple(name for name in fields.get("env", "").split(",") if name)
        self.cwd = fields.get("cwd", "")
        self.submit_dir = fields.get("submit_dir", "")
        self.script = fields.get("script", "")
        self.registries = fields.get("registries", "")
        self.run = fields.get("run", "")


def read(data: bytes) -> ContainerRequest:
    """Return the request of the plugin's JSON text.

    Raises:
        RequestError: the text has another version or a field of a wrong type.
    """
    try:
        table = loads(data.decode("utf-8"))
    except ValueError as error:
        raise RequestError(f"the plugin's request can't be read: {error}") from error
    if not isinstance(table, dict) or table.get("version") != VERSION:
        raise RequestError(
            "the plugin and the node program have different versions",
            hint="an administrator installs both from one release",
        )
    fields = {}
    for name in _TEXT_FIELDS:
        value = table.get(name)
        if value is None:
            value = ""
        if not isinstance(value, str) or "\0" in value:
            raise RequestError(f"'{name}' of the plugin's request is not a text")
        fields[name] = value
    if not fields["image"]:
        raise RequestError("the plugin's request names no image")
    return ContainerRequest(fields)
