"""The version of a package, from the databases that a root keeps as text: dpkg's and apk's.

Loaded on nodes: standard library only.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from hpcbox.rootfs.root_files import RootFiles

# File, and how the lines with a package's name and version begin; the name comes first.
_DATABASES = (
    ("/var/lib/dpkg/status", "Package: ", "Version: "),
    ("/lib/apk/db/installed", "P:", "V:"),
)
_MAXIMUM_BYTES = 32 * 2**20
_MAXIMUM_VERSION = 32


def version(root: "RootFiles", names: "Collection[str]") -> str:
    """Return the makers' version of the first package of these names, "" when there is none.

    Names are compared without the number of a library's interface: "libmpich" for libmpich12.
    """
    for path, name_mark, version_mark in _DATABASES:
        try:
            descriptor = root.open(path)
        except OSError:
            continue
        with open(descriptor, "rb") as file:
            text = file.read(_MAXIMUM_BYTES).decode("utf-8", "replace")
        name = ""
        for line in text.split("\n"):
            if line.startswith(name_mark):
                name = line.removeprefix(name_mark).removesuffix("t64").rstrip("0123456789")
            elif name in names and line.startswith(version_mark):
                return upstream(line.removeprefix(version_mark))
    return ""


def upstream(packaged: str) -> str:
    """Return the makers' version in a package's: "4.2.1" of "1:4.3.0+really4.2.1-1".

    "" when it isn't made of numbers, letters and points. Format: deb-version(7).
    """
    text = packaged.strip().rpartition(":")[2].partition("-")[0]
    text = text.rpartition("really")[2].partition("+")[0].partition("~")[0]
    is_plain = text.isascii() and text.replace(".", "").isalnum() and len(text) <= _MAXIMUM_VERSION
    return text if is_plain and text[0].isdigit() else ""
