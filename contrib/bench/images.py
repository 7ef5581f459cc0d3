"""make bench-images: a registry's image to a ready root, against podman, skopeo+umoci and a floor.

    images.py [--rounds N] [--images NAME…] [--ways NAME…] [--scratch FOLDER] [--json FILE]

Each round brings every image by every way into an empty folder on disk; the order turns from round
to round and the first round doesn't count. The ways: `floor` (the blobs fetched, decompressed, both
digests checked, nothing written), hpcbox with each sink (as on a node: root becomes a service
user), podman (overlay) and skopeo+umoci, both as root. The registry is on loopback and not counted.
Wall seconds last until all is on disk; CPU seconds are those of all of a way's processes; memory is
the sum of their peaks; written is what they wrote to files, while the disk's own count has all that
was written on this machine meanwhile.

Then, each with every sink: pulling again what is there; a layer that shrinks 1000:1; the first
command in the root, cold and warm, against an unpacked folder. And once: the tree against umoci's.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "contrib" / "bench")]

import image_extras  # noqa: E402
import image_figures  # noqa: E402
from image_figures import Results  # noqa: E402
from image_pull import SINKS  # noqa: E402
from image_ways import OWN, PEERS, UMOCI, Place, missing_programs, remove, run  # noqa: E402
from measured import occupied_bytes  # noqa: E402
from report import Figure, publish, report_file  # noqa: E402

from tests.services import images  # noqa: E402
from tests.services.failure import LabError  # noqa: E402
from tests.services.large_recipes import LARGE_RECIPES  # noqa: E402
from tests.services.registry import Registry  # noqa: E402

IMAGES = ("small", "medium", "ml")
ZEROS = "zeros"
SERVICE = "nobody"


def measured(place: Place, ways: list[str], names: list[str], rounds: int) -> dict[str, Results]:
    """Return per image what each way took, in as many rounds after one that doesn't count."""
    results = {name: Results() for name in names}
    for number in range(rounds + 1):
        order = ways if number % 2 == 0 else list(reversed(ways))
        for name in names:
            for way in order:
                cost = run(place, way, name)
                folder = place.folder(way, name)
                told = "" if number else " (doesn't count)"
                print(
                    f"round {number}: {name} by {way}: {cost.wall_seconds:.2f} s,"
                    f" {cost.cpu_seconds:.2f} s CPU{told}",
                    file=sys.stderr,
                )
                if number:
                    results[name].costs.setdefault(way, []).append(cost)
                results[name].occupied[way] = occupied_bytes(folder)
                if way in SINKS:
                    results[name].uncompressed_bytes = uncompressed_bytes(folder)
                # The stores are still needed, and of the peers' one tree to compare with.
                if way in PEERS and (way != UMOCI or number < rounds):
                    remove(folder)
    return results


def uncompressed_bytes(folder: Path) -> int:
    """What the layers of a store are as tars, as their records say."""
    sizes = {}
    for file in (folder / "store" / "layers").glob("*/layer.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        # A layer may be there twice: as it came, and as it fits the layers below.
        sizes[record["diff_id"]] = int(record["size_bytes"])
    return sum(sizes.values())


def available(wanted: list[str]) -> list[str]:
    """Leave out, with a word, the peers whose programs aren't installed."""
    ways = []
    for way in wanted:
        missing = missing_programs(way)
        if missing:
            print(f"{way}: not measured — apt-get install {' '.join(missing)}", file=sys.stderr)
        else:
            ways.append(way)
    return ways


def built(wanted: list[str]) -> list[str]:
    """Build the images that are missing; leave out, with the reason, those that can't be built."""
    names = []
    for recipe in LARGE_RECIPES:
        if recipe.name in wanted:
            try:
                images.ensure([recipe])
                names.append(recipe.name)
            except LabError as error:
                print(f"{recipe.name}: not measured — {error}", file=sys.stderr)
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="that count (3)")
    parser.add_argument("--images", nargs="+", choices=IMAGES, default=list(IMAGES))
    every = [*OWN, *PEERS]
    parser.add_argument("--ways", nargs="+", choices=every, default=every)
    parser.add_argument("--scratch", default="/var/tmp", help="a folder on a disk (/var/tmp)")  # noqa: S108
    parser.add_argument("--json", help="write the figures here as well")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark; return the exit code."""
    arguments = _arguments()
    if os.geteuid() != 0:
        raise SystemExit("bench-images needs root: podman's overlay and the first runs mount")
    # What `timeout` sends: the scratch folder is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ways = available(arguments.ways)
    figures: list[Figure] = []
    names = built([*arguments.images, ZEROS])
    scratch = Path(tempfile.mkdtemp(prefix="hpcbox-bench-", dir=arguments.scratch))
    # The service user must reach its store below.
    scratch.chmod(0o711)
    try:
        with Registry(images.storage().parent) as registry:
            place = Place(registry.address, scratch, pwd.getpwnam(SERVICE).pw_uid)
            counted = [name for name in names if name != ZEROS]
            results = measured(place, ways, counted, arguments.rounds)
            for name, result in results.items():
                figures += image_figures.costs(name, result)
                figures += image_extras.repeated(place, registry, ways, name)
                figures += image_extras.compared(place, ways, name)
                figures += image_extras.first_runs(place, ways, name)
            if ZEROS in names:
                figures += image_extras.zeros(place, ways, ZEROS)
    finally:
        for folder in scratch.iterdir():
            remove(folder)
        scratch.rmdir()
    code = publish("images", figures)
    if arguments.json:
        shutil.copyfile(report_file("images"), arguments.json)
    return code


if __name__ == "__main__":
    sys.exit(main())
