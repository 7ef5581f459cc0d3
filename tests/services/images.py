"""The lab's images: built once into the cache, served by every lab's registry.

Each has at least two layers, an environment variable HPCBOX_LAB_IMAGE and the file
/etc/hpcbox-lab-image with 64 hex digits that no other image (and no host) has: marker().
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import debian, layers, made_layers
from tests.services.commands import require, run
from tests.services.large_recipes import LARGE_RECIPES
from tests.services.recipes import RECIPES, Program, Recipe
from tests.services.registry import Registry
from tests.services.spec import PROGRAMS, cache_root

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator, Sequence

    from tests.services.layers import Layer

# Raise it when the way layers or configs are made changes.
FORMAT = 2
# What wheels are built for: pip takes exactly these.
PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28")
IMAGE_MARKER = "etc/hpcbox-lab-image"
PATH_VARIABLE = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {
    **debian.PACKAGES,
    "mpicc.mpich": "libmpich-dev",
    "mpicc.openmpi": "libopenmpi-dev",
    "gcc": "gcc",
    "docker-registry": "docker-registry",
}
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"


def storage() -> Path:
    """The registry's storage folder that holds the built images."""
    return cache_root() / "images-registry" / "storage"


def ensure(recipes: Sequence[Recipe] = RECIPES) -> None:
    """Build and store the images that are missing or whose recipe has changed.

    Raises:
        LabError: a tool is missing or fails.
    """
    if all(_is_current(recipe) for recipe in recipes):
        return
    require(PACKAGES)
    with _locked():
        for recipe in recipes:
            if not _is_current(recipe):
                print(f"lab: building image {recipe.reference} (once)", file=sys.stderr)
                _build(recipe)


def marker(name: str) -> str:
    """The 64 hex digits in /etc/hpcbox-lab-image of an image ("mpich")."""
    recipe = next(one for one in (*RECIPES, *LARGE_RECIPES) if one.name == name)
    return _key("marker", _recipe_key(recipe))


def digest(name: str) -> str:
    """The digest of a built image's manifest, "sha256:…"."""
    note = json.loads(_note(name).read_text(encoding="utf-8"))
    return str(note["digest"])


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((FORMAT, parts)).encode()).hexdigest()


def _recipe_key(recipe: Recipe) -> str:
    sources = [(PROGRAMS / one.source).read_bytes() for one in recipe.programs]
    headers = [file.read_bytes() for file in sorted(PROGRAMS.glob("*.h"))]
    made = [(name, _made_layers()) for name in recipe.made]
    additions = filter(
        None,
        (recipe.development, recipe.wheels, recipe.libraries, recipe.unpacked, made,
         recipe.removed),
    )  # fmt: skip
    root = debian.key(recipe.suite, recipe.included)
    return _key(recipe, root, sources, headers, *additions)


def _made_layers() -> bytes:
    """What layers of made_layers.py depend on."""
    return Path(made_layers.__file__).read_bytes()


def _note(name: str) -> Path:
    return cache_root() / "images" / f"{name}.json"


def _is_current(recipe: Recipe) -> bool:
    try:
        note = json.loads(_note(recipe.name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(note["key"] == _recipe_key(recipe))


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    cache_root().mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(cache_root() / "images.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(recipe: Recipe) -> None:
    parts = _parts(recipe)
    config = _config(recipe, parts)
    with (
        tempfile.TemporaryDirectory(dir=cache_root()) as scratch,
        Registry(storage().parent) as registry,
    ):
        for part in parts:
            registry.push_blob(recipe.name, part.file)
        registry.push_blob(recipe.name, config)
        manifest, media_type = _manifest(recipe, config, parts)
        pushed = registry.push_manifest(recipe.name, "1", manifest, media_type)
        note = Path(scratch, "note")
        note.write_text(json.dumps({"key": _recipe_key(recipe), "digest": pushed}))
        _note(recipe.name).parent.mkdir(exist_ok=True)
        note.rename(_note(recipe.name))


def _parts(recipe: Recipe) -> list[Layer]:
    """The layers of an image, bottom first; those that other images have too are made once."""
    suite, machine = recipe.suite, platform.machine()
    root = debian.key(suite, recipe.included)
    wanted: list[tuple[str, layers.Fill]] = []
    if recipe.debian:
        wanted.append((root, partial(_add_root, recipe)))
    if recipe.packages:
        key = _key("packages", root, recipe.packages)
        wanted.append((key, partial(debian.add_packages, suite, recipe.packages)))
    if recipe.unpacked:
        key = _key("unpacked", root, recipe.unpacked)
        wanted.append((key, partial(_add_unpacked, recipe)))
    for wheels in filter(None, (recipe.wheels, recipe.libraries)):
        key = _key("wheels", machine, suite, wheels)
        wanted.append((key, partial(_add_wheels, suite, wheels)))
    wanted += [(_key(name, _made_layers()), made_layers.FILLS[name]) for name in recipe.made]
    if recipe.programs:
        key = _key("programs", _recipe_key(recipe))
        wanted.append((key, partial(_add_programs, recipe)))
    wanted.append((_key("marker layer", _recipe_key(recipe)), partial(_add_marker, recipe)))
    return [layers.cached(cache_root() / "layers", key, fill) for key, fill in wanted]


def _add_root(recipe: Recipe, tar: tarfile.TarFile) -> None:
    layers.add_tree(tar, debian.root(recipe.suite, recipe.included))


def _add_unpacked(recipe: Recipe, tar: tarfile.TarFile) -> None:
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        debian.unpack(recipe.suite, recipe.unpacked, Path(scratch, "tree"))
        layers.add_tree(tar, Path(scratch, "tree"))


def _add_programs(recipe: Recipe, tar: tarfile.TarFile) -> None:
    folders = {os.path.dirname(one.target) for one in recipe.programs} - {""}
    for folder in sorted(folders):
        layers.add_folder(tar, folder)
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        development = Path(scratch, "development")
        if recipe.development:
            debian.unpack(recipe.suite, recipe.development, development)
        for one in recipe.programs:
            layers.add_file(tar, one.target, _program(one, scratch, development), 0o755)


def _program(program: Program, scratch: str, development: Path) -> bytes:
    source = PROGRAMS / program.source
    if not program.compiler:
        return source.read_bytes()
    binary = Path(scratch, "program")
    words = [word.replace("{development}", os.fspath(development)) for word in program.compiler]
    # The source comes first: libraries are searched for what is missing by then.
    run([words[0], os.fspath(source), *words[1:], "-o", os.fspath(binary)])
    return binary.read_bytes()


def _add_wheels(suite: str, wheels: tuple[str, ...], tar: tarfile.TarFile) -> None:
    """Add wheels from PyPI as the image's Python finds them."""
    version = debian.PYTHON[suite]
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        run(["/usr/bin/python3", "-m", "venv", f"{scratch}/pip"])
        run([f"{scratch}/pip/bin/python", "-m", "pip", "install", "--quiet", "--no-deps",
             "--disable-pip-version-check", "--no-compile", "--only-binary=:all:",
             f"--python-version={version}", *wheels,
             f"--target={scratch}/tree/usr/local/lib/python{version}/dist-packages",
             *(f"--platform={name}_{platform.machine()}" for name in PLATFORMS)])  # fmt: skip
        layers.add_tree(tar, Path(scratch, "tree"))


def _add_marker(recipe: Recipe, tar: tarfile.TarFile) -> None:
    layers.add_folder(tar, "etc")
    layers.add_file(tar, IMAGE_MARKER, f"{marker(recipe.name)}\n".encode())
    made_layers.add_removals(tar, recipe.removed)


def _config(recipe: Recipe, parts: list[Layer]) -> bytes:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    variables = [PATH_VARIABLE, f"HPCBOX_LAB_IMAGE={recipe.reference}", *recipe.extra_env]
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {
            "Env": variables,
            "WorkingDir": recipe.workdir,
            "Cmd": recipe.command,
        },
        "rootfs": {"type": "layers", "diff_ids": [part.diff_id for part in parts]},
    }
    return json.dumps(config).encode()


def _manifest(recipe: Recipe, config: bytes, parts: list[Layer]) -> tuple[bytes, str]:
    """The manifest's bytes and media type (OCI image-spec 1.0; Docker manifest v2 schema 2)."""
    if recipe.docker:
        media_type = f"{DOCKER}.distribution.manifest.v2+json"
        config_type = f"{DOCKER}.container.image.v1+json"
        layer_type = f"{DOCKER}.image.rootfs.diff.tar.gzip"
    else:
        media_type = f"{OCI}.manifest.v1+json"
        config_type = f"{OCI}.config.v1+json"
        layer_type = f"{OCI}.layer.v1.tar+gzip"
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {
            "mediaType": config_type,
            "digest": f"sha256:{hashlib.sha256(config).hexdigest()}",
            "size": len(config),
        },
        "layers": [
            {"mediaType": layer_type, "digest": part.digest, "size": part.size_bytes}
            for part in parts
        ],
    }
    return json.dumps(manifest).encode(), media_type
