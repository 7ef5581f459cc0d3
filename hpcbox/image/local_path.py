"""A typed reference as everybody reads it: relative paths absolute, what lies here looked at.

A job's nodes have other working directories and other accounts have other homes, so a path is made
whole where it was typed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hpcbox.errors import (
    ImageNotFound,
    ReferenceInvalid,
    RegistryRefused,
    RegistryUnreachable,
    RequestError,
    shorten,
)
from hpcbox.image import reference as grammar
from hpcbox.image.reference import LocalReference, Reference


def parse_typed(text: str, default_registry: str, folder: str = "") -> Reference | LocalReference:
    """Return what a text refers to that was typed in a folder, by default the working directory.

    Raises:
        ReferenceInvalid: the text is no reference; says what was meant if something of that name
            lies here.
        RequestError: a relative path was typed in a folder that is gone.
    """
    try:
        found = grammar.parse(text, default_registry)
    except ReferenceInvalid as error:
        meant = what_lies_at(text)
        if not meant:
            raise
        raise ReferenceInvalid(error.message, hint=_may_be_meant(meant)) from error
    if isinstance(found, Reference) or not found.has_path:
        return found
    # Once more, since the whole path may be longer or odder than what was typed.
    return grammar.parse(str(_whole(found, folder)), default_registry)


@contextmanager
def path_in_mind(text: str) -> Iterator[None]:
    """Within this context a registry that lacks an image is a hint that a path was meant.

    Raises:
        ImageError: as it was raised, with a hint if something of that name lies here.
    """
    try:
        yield
    except (ImageNotFound, RegistryRefused, RegistryUnreachable) as error:
        meant = what_lies_at(text) if isinstance(grammar.parse(text), Reference) else []
        if not meant:
            raise
        raise type(error)(error.message, hint=_may_be_meant(meant)) from error


def what_lies_at(text: str) -> list[str]:
    """Return the ways to write an image that lies at this path; none when nothing does."""
    if not text or "\0" in text:
        return []
    path = text if text.startswith(("/", "./", "../")) else f"./{text}"
    if os.path.isfile(os.path.join(path, "oci-layout")):
        return [f"{grammar.OCI_FOLDER}{path}"]
    if os.path.isdir(path):
        return [f"{grammar.FOLDER}{path}"]
    if os.path.isfile(path):
        return [f"{grammar.OCI_ARCHIVE}{path}", f"{grammar.DOCKER_ARCHIVE}{path}"]
    return []


def _may_be_meant(texts: list[str]) -> str:
    return " or ".join(f"'{shorten(text, 120)}'" for text in texts) + " may be meant"


def _whole(reference: LocalReference, folder: str) -> LocalReference:
    location = os.path.expanduser(reference.location)
    while location.startswith("./"):
        location = location[2:].lstrip("/")
    if not location.startswith("/"):
        location = f"{folder or _working_folder()}/{location}".removesuffix("/")
    if reference.form == grammar.FOLDER:
        location = location.removesuffix("/.").rstrip("/") or "/"
    return replace(reference, location=location)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError as error:
        raise RequestError(
            "the working directory is gone", hint="write the image's path from / on"
        ) from error
