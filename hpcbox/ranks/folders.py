"""Where the folders of a job's steps are: links in the user's home, then likely folders."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from hpcbox.ranks import layout


@dataclass(frozen=True, slots=True)
class StepFolder:
    """A step whose output is on disk.

    Attributes:
        job, step: ids as Slurm prints them ("12", "0").
        folder: where its files are.
        attempt: which run of the same ids it is, from 1.
    """

    job: str
    step: str
    folder: str
    attempt: int = 1


def find(
    job: str, *, home: str = "", cluster: str = "", places: Iterable[str] = ()
) -> tuple[StepFolder, ...]:
    """Return the newest run of each of a job's steps, in the order of their ids.

    Args:
        job: its own number (JobDetail.number).
        home: the user's home directory, whose links are followed first; "" for none.
        cluster: looks at this cluster's links only; "" at all clusters'.
        places: folders in which steps' folders may lie; what isn't there is passed over.
    """
    found: dict[str, StepFolder] = {}
    for place in dict.fromkeys(places):
        for name in _names(place):
            ids = layout.parse_folder_name(name)
            if ids is not None and ids[0] == job:
                folder = StepFolder(job, ids[1], os.path.join(place, name), ids[2])
                known = found.get(ids[1])
                if known is None or known.attempt < folder.attempt:
                    found[ids[1]] = folder
    if home:
        # A link names the newest run, wherever it is.
        found |= {folder.step: folder for folder in _linked(job, home, cluster)}
    return tuple(sorted(found.values(), key=_order))


def _linked(job: str, home: str, cluster: str) -> list[StepFolder]:
    registry = layout.registry_folder(home)
    folders = []
    for name in [cluster] if cluster else sorted(_names(registry)):
        for link in _names(os.path.join(registry, name)):
            number, _, step = link.partition(".")
            folder = os.path.realpath(os.path.join(registry, name, link))
            if number == job and step and os.path.isdir(folder):
                ids = layout.parse_folder_name(os.path.basename(folder))
                folders.append(StepFolder(job, step, folder, ids[2] if ids else 1))
    return folders


def _order(folder: StepFolder) -> tuple[bool, int, str]:
    """Numbered steps by number, after those with names."""
    is_number = folder.step.isascii() and folder.step.isdigit()
    return is_number, int(folder.step[:18]) if is_number else 0, folder.step


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
