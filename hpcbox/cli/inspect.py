"""`hpcbox inspect`: an image's manifest, config and MPI."""

import argparse
import json
import os
from typing import Any

from hpcbox import principals
from hpcbox.errors import HpcboxError, ImageNotFound, StoreError
from hpcbox.image.local_path import parse_typed
from hpcbox.image.opened import open_image
from hpcbox.image.progress import size_text
from hpcbox.rootfs import known_mpi
from hpcbox.rootfs.mpi import MpiSupport
from hpcbox.rootfs.sources import source_of
from hpcbox.settings import Settings
from hpcbox.store import paths, records

HELP = "Show an image's manifest, config and MPI, from the store or else from where it lies."
EXAMPLES = """  hpcbox inspect registry.site:5000/mpich:1
  hpcbox inspect --json sha256:0123456789ab"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of this verb."""
    parser.add_argument("image", metavar="IMAGE", help="a reference, or a digest in the store")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what is known of the image.

    Raises:
        HpcboxError: neither the store nor its origin has it.
    """
    principals.become_service(settings.service_user)
    try:
        table = _from_store(arguments.image, settings)
    except ImageNotFound:
        if arguments.image.startswith("sha256:"):
            raise
        table = _from_source(arguments.image, settings)
    if arguments.json:
        supports = table.pop("mpi")
        table["mpi"] = None if supports is None else [one.as_json() for one in supports]
        print(json.dumps(table, indent=1))
    else:
        print(_text(table))
    return 0


def _from_store(image: str, settings: Settings) -> dict[str, Any]:
    record = records.find(settings.store, image, settings.default_registry)
    digest_hex = record.digest.removeprefix("sha256:")
    documents = {}
    for name in ("manifest", "config"):
        path = paths.image(settings.store, digest_hex, name)
        try:
            with open(path, encoding="utf-8") as file:
                documents[name] = json.load(file)
        except (OSError, ValueError) as error:
            raise StoreError(f"cannot read {path}: {error}") from error
    supports = known_mpi.of_record(settings.store, record)
    return {"digest": record.digest, "source": "store", "mpi": supports, **documents}


def _from_source(image: str, settings: Settings) -> dict[str, Any]:
    source = source_of(parse_typed(image, settings.default_registry), settings)
    resolved = source.resolve()
    opened = open_image(source, resolved)
    return {
        "digest": str(opened.digest),
        "source": resolved.registry,
        "mpi": known_mpi.recall(str(opened.digest), os.environ),
        "manifest": json.loads(resolved.body),
        "config": json.loads(opened.config_body),
    }


def _text(table: dict[str, Any]) -> str:
    config = table["config"]
    run_config = config.get("config") or {}
    layers = table["manifest"]["layers"]
    compressed = size_text(sum(layer["size"] for layer in layers))
    rows = [
        ("digest", table["digest"]),
        ("from", table["source"]),
        ("platform", f"{config.get('os')}/{config.get('architecture')}"),
        ("created", config.get("created") or "-"),
        ("layers", f"{len(layers)}, {compressed} compressed"),
        ("entrypoint", json.dumps(run_config.get("Entrypoint") or [])),
        ("command", json.dumps(run_config.get("Cmd") or [])),
        ("workdir", run_config.get("WorkingDir") or "-"),
        ("user", run_config.get("User") or "-"),
        *(("mpi", item) for item in _mpi_rows(table["mpi"])),
        *(("environment", item) for item in run_config.get("Env") or []),
    ]
    return "\n".join(f"{name:<12} {HpcboxError(str(value))}" for name, value in rows)


def _mpi_rows(supports: tuple[MpiSupport, ...] | None) -> list[str]:
    if supports is None:
        return ["unknown until pulled"]
    return [str(one) for one in supports] or ["none found"]
