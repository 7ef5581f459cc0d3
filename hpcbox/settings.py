"""Settings: one table, and where each value came from.

A row names the setting, its key in the TOML files, its environment variable, its parser and its
default. Later sources win: built-in default, /etc/hpcbox/hpcbox.toml, the user's
~/.config/hpcbox/hpcbox.toml, environment. An unknown key is an error that names the nearest one.

Root takes no setting from environment or home: on nodes the site's file is compiled once, by
`hpcbox settings --compile`, into a root-owned JSON file that `load_compiled` reads, and the node
program (which may not import this module: see hpcbox/node.py) reads as plain JSON.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from hpcbox import registries
from hpcbox.errors import SettingsError
from hpcbox.registries import Registry

SITE_FILE = "/etc/hpcbox/hpcbox.toml"
USER_FILE = "~/.config/hpcbox/hpcbox.toml"
COMPILED_VERSION = 1
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with their values; field names are the keys of the files.

    Attributes:
        store: folder of the node store.
        service_user: account that owns the site's store; empty in user mode.
        default_registry: registry of a reference that names none.
        mounts: folders of the node that every container of the site sees, when they exist.
        access_seconds: how long a registry's yes to a user's token for an image is remembered.
        timeout_seconds: limit for connecting to a registry and for its first answer.
        stall_seconds: limit for a registry that has stopped sending.
        retry_seconds: how long a registry that fails, or asks to wait, is tried again.
        pull_threads: layers fetched at the same time.
        max_image_bytes: limit for an image's uncompressed size.
        max_entries: limit for the entries of an image's layers together.
        store_max_bytes: what the store's layers may take of the disk together; 0: what there is.
        store_high_percent: how full a pull may make the store's file system (and store_max_bytes)
            before images that nothing uses are removed, those used longest ago first.
        store_low_percent: how full it is to be afterwards.
        flight_floor_bytes: bytes a second that another pull must bring of a layer, or this one
            fetches the layer, too; 0: it waits as long as it takes.
        flight_window_seconds: over which that is measured.
        upper_bytes: size limit of a container's writable layer; 0 is half of the node's memory.
        launcher: who starts the ranks of `hpcbox srun`: auto, srun, ssh or local.
        output: `spool` keeps what each rank prints in files, `pass` hands it to Slurm only.
        netrc: file with names and passwords of registries and proxies; `~` is the user's home.
        sink: form of the layers in the site's store: auto, index, erofs, squashfs, directory.
        registries: per registry (HOST[:PORT]), how it is reached (hpcbox/registries.py).
        origins: setting → where its value came from; for people.
    """

    store: str
    service_user: str = ""
    default_registry: str = "docker.io"
    mounts: tuple[str, ...] = ()
    access_seconds: int = 3600
    timeout_seconds: float = 10.0
    stall_seconds: float = 30.0
    retry_seconds: float = 90.0
    pull_threads: int = 3
    max_image_bytes: int = 200 * 2**30
    max_entries: int = 2_000_000
    store_max_bytes: int = 0
    store_high_percent: int = 100
    store_low_percent: int = 95
    flight_floor_bytes: int = 100_000
    flight_window_seconds: float = 20.0
    upper_bytes: int = 0
    launcher: str = "auto"
    output: str = "spool"
    netrc: str = "~/.config/hpcbox/netrc"
    sink: str = AUTO
    registries: Mapping[str, Registry] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)


class Row(NamedTuple):
    """One setting: its variable (None: file only), its parser and its one-line description."""

    name: str
    variable: str | None
    parse: Callable[[Any], Any]
    description: str


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is wanted")  # noqa: TRY004 - _parse turns it into SettingsError
    return value


def _absolute(value: Any) -> str:
    path = os.path.expanduser(_text(value))
    if not os.path.isabs(path):
        raise ValueError("an absolute path is wanted")
    return os.path.normpath(path)


def _count(value: Any) -> int:
    number = int(value) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError("a whole number, 0 or more, is wanted")
    return number


def _percent(value: Any) -> int:
    number = _count(value)
    if not 1 <= number <= 100:
        raise ValueError("a percentage from 1 to 100 is wanted")
    return number


def _seconds(value: Any) -> float:
    number = float(value)
    if not 0 < number < 86400:
        raise ValueError("a number of seconds between 0 and 86400 is wanted")
    return number


def _paths(value: Any) -> tuple[str, ...]:
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError("a list of absolute paths is wanted")  # noqa: TRY004 - as in _text
    return tuple(_absolute(item) for item in items)


def _launcher(value: Any) -> str:
    if value not in ("auto", "srun", "ssh", "local"):
        raise ValueError("auto, srun, ssh or local is wanted")
    return str(value)


def _output(value: Any) -> str:
    if value not in ("spool", "pass"):
        raise ValueError("spool or pass is wanted")
    return str(value)


def _sink(value: Any) -> str:
    if value not in (AUTO, "index", "erofs", "squashfs", "directory"):
        raise ValueError("auto, index, erofs, squashfs or directory is wanted")
    return str(value)


def _netrc(value: Any) -> str:
    path = _text(value)
    if not path.startswith(("/", "~/")):
        raise ValueError("a path that begins with / or ~/ is wanted")
    return path


TABLE = (
    Row("store", "HPCBOX_STORE", _absolute, "folder of the node store"),
    Row("service_user", None, _text, "account that owns the site's store"),
    Row("default_registry", "HPCBOX_DEFAULT_REGISTRY", _text, "registry of short references"),
    Row("mounts", None, _paths, "folders that every container of the site sees"),
    Row("access_seconds", None, _count, "how long a registry's yes to a user is remembered"),
    Row("timeout_seconds", "HPCBOX_TIMEOUT_SECONDS", _seconds, "limit for connecting"),
    Row("stall_seconds", "HPCBOX_STALL_SECONDS", _seconds, "limit for a registry that went silent"),
    Row("retry_seconds", "HPCBOX_RETRY_SECONDS", _seconds, "how long a failing registry is tried"),
    Row("pull_threads", "HPCBOX_PULL_THREADS", _count, "layers fetched at the same time"),
    Row("max_image_bytes", None, _count, "limit for an image's uncompressed size"),
    Row("max_entries", None, _count, "limit for the entries of an image"),
    Row("store_max_bytes", "HPCBOX_STORE_MAX_BYTES", _count, "limit of the store, 0: the disk's"),
    Row("store_high_percent", None, _percent, "fill level above which a pull makes room"),
    Row("store_low_percent", None, _percent, "fill level that making room leads to"),
    Row("flight_floor_bytes", None, _count, "bytes/s another pull must bring, or it is overtaken"),
    Row("flight_window_seconds", None, _seconds, "how long another pull is measured"),
    Row("upper_bytes", None, _count, "size of the writable layer, 0: half of the memory"),
    Row("launcher", "HPCBOX_LAUNCHER", _launcher, "who starts the ranks of hpcbox srun"),
    Row("output", None, _output, "spool: keep the ranks' output in files; pass: don't"),
    Row("netrc", "HPCBOX_NETRC", _netrc, "file with names and passwords, mode 0600"),
    Row("sink", None, _sink, "form of layers: auto, index, erofs, squashfs, directory"),
    Row("registries", None, registries.parse, "how each registry is reached"),
)


def load(
    environ: Mapping[str, str] | None = None,
    *,
    site_file: str = SITE_FILE,
    user_file: str = USER_FILE,
) -> Settings:
    """Return the settings of this user on this machine.

    Root reads the site's file only.

    Raises:
        SettingsError: a file or variable can't be read as settings.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    files = [site_file] if os.geteuid() == 0 else [site_file, os.path.expanduser(user_file)]
    for path in files:
        for name, value in read_file(path).items():
            if name in ("store", "service_user") and path != site_file:
                raise SettingsError(f"{path}: '{name}' belongs to {site_file}")
            if name == "registries" and name in values:
                values[name] = _merged(values[name], value, path)
                origins[name] = f"{site_file}, {path}"
            else:
                values[name], origins[name] = value, path
    site_store = values.pop("store", None)
    # The site's store belongs to its service user; a user's own pulls go to the user's store.
    if site_store is not None and os.geteuid() == 0:
        values["store"] = site_store
    for row in TABLE:
        if row.variable is not None and environ.get(row.variable):
            values[row.name] = _parse(row, environ[row.variable], row.variable)
            origins[row.name] = row.variable
    if "store" not in values:
        values["store"] = f"/tmp/hpcbox-{os.geteuid()}"  # noqa: S108 - 0700, checked when opened
        origins["store"] = "default"
    return Settings(**values, origins=origins)


def read_file(path: str) -> dict[str, Any]:
    """Return the values of one TOML file, parsed; an absent file is an empty one.

    Raises:
        SettingsError: the file isn't TOML, has an unknown key or a wrong value.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    rows = {row.name: row for row in TABLE}
    values = {}
    for key, value in table.items():
        if key not in rows:
            near = difflib.get_close_matches(key, rows, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(rows)}"
            raise SettingsError(f"{path}: unknown setting '{key}'", hint=hint)
        values[key] = _parse(rows[key], value, path)
    return values


def _parse(row: Row, value: Any, origin: str) -> Any:
    try:
        return row.parse(value)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{origin}: {row.name}: {error}") from error


def _merged(
    site: Mapping[str, Registry], user: Mapping[str, Registry], path: str
) -> dict[str, Registry]:
    try:
        return registries.merged(site, user)
    except ValueError as error:
        raise SettingsError(f"{path}: registries: {error}") from error


def with_user_registries(settings: Settings, user_file: str = USER_FILE) -> Settings:
    """Return a site's settings with what this user's own file says of registries.

    For a process that has become the job's user: whoever fetches with the user's credentials
    reaches registries as the user does.

    Raises:
        SettingsError: the file is wrong, or contradicts the site's.
    """
    path = os.path.expanduser(user_file)
    values = read_file(path)
    known = _merged(settings.registries, values.get("registries", {}), path)
    return replace(settings, registries=known, netrc=values.get("netrc", settings.netrc))


def compile_site(path: str) -> str:
    """Return the JSON text of a site's TOML file for `load_compiled` and the node program.

    Raises:
        SettingsError: the file is wrong, or lacks what a site must say.
    """
    values = read_file(path)
    values.setdefault("store", "/var/lib/hpcbox")
    values.setdefault("service_user", "hpcbox")
    # A node's store is a cache for all; a user's own keeps what the user pulled while it fits.
    values.setdefault("store_high_percent", 90)
    values.setdefault("store_low_percent", 80)
    settings = Settings(**values)
    table = {
        item.name: getattr(settings, item.name)
        for item in fields(settings)
        if item.name not in ("registries", "origins")
    }
    table["registries"] = {
        name: registries.as_table(registry) for name, registry in settings.registries.items()
    }
    return json.dumps({"version": COMPILED_VERSION, **table}, indent=1, sort_keys=True) + "\n"


def load_compiled(path: str) -> Settings:
    """Return the settings that `compile_site` wrote.

    Raises:
        SettingsError: the file can't be read or has another version.
    """
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    if table.pop("version", None) != COMPILED_VERSION:
        raise SettingsError(
            f"{path} was compiled by another version",
            hint="run 'hpcbox settings --compile' again",
        )
    table["mounts"] = tuple(table["mounts"])
    table["registries"] = registries.parse(table["registries"])
    return Settings(**table, origins=dict.fromkeys(table, path))
