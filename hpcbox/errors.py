"""Every error that hpcbox raises, and the exit code that a person or script sees for it.

    HpcboxError                     70  a defect: please report
    ├── RequestError                64  wrong flags, wrong values
    ├── SettingsError               78  a settings file or variable is wrong
    ├── PermissionRefused           77  this account may not do that
    ├── ImageError                  65
    │   ├── ReferenceInvalid        64
    │   ├── ManifestInvalid         65
    │   ├── DigestMismatch          65
    │   ├── BlobInvalid             65  a layer that is no (compressed) tar
    │   ├── ImageTooLarge           65  more bytes or files than the settings allow
    │   ├── ImageNotFound           66
    │   ├── RegistryRefused         77  401, 403
    │   └── RegistryUnreachable     69  no route, time-out, 5xx, stall
    ├── LayerRejected               65  an entry that may not be unpacked
    ├── StoreError                  74
    │   ├── StoreFull               73
    │   ├── StoreBusy               75  in use, try again later
    │   ├── ImageRemoved            75  it was removed while it was looked up
    │   └── RecordDamaged           74  what the store has written is not what it reads
    ├── OutputError                 73  a file or folder that a user named can't be written
    ├── ContainerError             125
    │   ├── MountRefused           125  a mount that the rules forbid or that has no source
    │   └── NodeSetupFailed        125
    ├── ClusterError                69
    │   ├── NoAllocation            64  a command that needs a job has none
    │   └── SlurmUnavailable        69  Slurm's commands are missing, fail or don't answer
    └── RankError                  125
        ├── NodeUnreachable        125  no connection to a node, or not the node it claims to be
        ├── AgentFailed            125  a node's agent can't be started or spoke out of turn
        ├── LaunchRefused          125  this image or option can't be launched this way
        └── RankLost               125  a rank, or its node, went without saying how

The codes are sysexits.h's, except for 125: "hpcbox could not start it", as in docker-run(1).
`run`, `srun` and the plugin turn every error into 125, so that a command's own codes stay its own.
This module is loaded on every node and step: standard library only, nothing but classes.
"""


class HpcboxError(Exception):
    """What failed and why, in one line; `hint` says what to do about it."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """`what failed: why — what to do`, always one line."""
        text = self.message if self.hint is None else f"{self.message} — {self.hint}"
        return one_line(text)


class RequestError(HpcboxError):
    """A flag or a value on the command line is wrong."""

    exit_code = 64


class SettingsError(HpcboxError):
    """A settings file, or an environment variable read as a setting, is wrong."""

    exit_code = 78


class PermissionRefused(HpcboxError):
    """The account that runs hpcbox may not do this."""

    exit_code = 77


class ImageError(HpcboxError):
    """An image can't be used as it is."""

    exit_code = 65


class ReferenceInvalid(ImageError):
    """The text isn't an image reference."""

    exit_code = 64


class ManifestInvalid(ImageError):
    """A manifest, index or image config breaks its specification, or is too large."""


class DigestMismatch(ImageError):
    """Bytes differ from the digest or the size that they were asked for by.

    Attributes:
        digest: that digest, `sha256:HEX`, or "" where another transfer can't bring other bytes.
    """

    def __init__(self, message: str, *, hint: str | None = None, digest: str = "") -> None:
        super().__init__(message, hint=hint)
        self.digest = digest


class BlobInvalid(ImageError):
    """A layer's bytes break the form that they are in: compression or tar."""


class ImageTooLarge(ImageError):
    """An image has more bytes or files than the settings allow."""


class ImageNotFound(ImageError):
    """The registry has no such repository, tag, manifest or blob, or none for this platform."""

    exit_code = 66


class RegistryRefused(ImageError):
    """The registry answered 401 or 403."""

    exit_code = 77


class RegistryUnreachable(ImageError):
    """The registry doesn't answer, answers with a server error, or stopped sending."""

    exit_code = 69


class LayerRejected(HpcboxError):
    """A layer holds an entry that may not be unpacked.

    Attributes:
        entry: the entry's name as it stands in the layer.
        reason: why it was refused.
    """

    exit_code = 65

    def __init__(self, entry: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"layer entry '{shorten(entry)}' refused: {reason}", hint=hint)
        self.entry = entry
        self.reason = reason


class StoreError(HpcboxError):
    """The node store can't be read or written."""

    exit_code = 74


class StoreFull(StoreError):
    """No space is left for a layer."""

    exit_code = 73


class StoreBusy(StoreError):
    """An image or layer is in use."""

    exit_code = 75


class ImageRemoved(StoreError):
    """An image was removed from the store between being looked up and being held."""

    exit_code = 75


class RecordDamaged(StoreError):
    """A record in the store can't be read, though this version of hpcbox has written it."""


class OutputError(HpcboxError):
    """A file or folder that the user named for a result can't be written."""

    exit_code = 73


class ContainerError(HpcboxError):
    """The container could not be made or entered."""

    exit_code = 125


class MountRefused(ContainerError):
    """A mount has no source, or a target that the rules forbid."""


class NodeSetupFailed(ContainerError):
    """The node lacks something that hpcbox needs."""


class ClusterError(HpcboxError):
    """Slurm can't be asked, or says no."""

    exit_code = 69


class NoAllocation(ClusterError):
    """There is no such job, or none where one is needed."""

    exit_code = 64


class SlurmUnavailable(ClusterError):
    """Slurm's commands are missing, fail, or don't answer in time."""


class RankError(HpcboxError):
    """Ranks could not be started or kept."""

    exit_code = 125


class NodeUnreachable(RankError):
    """A node can't be reached, refuses the user, or isn't the node it claims to be."""


class AgentFailed(RankError):
    """A node's agent can't be started, has another version, or broke the protocol."""


class LaunchRefused(RankError):
    """The image or an option can't be launched in this way."""


class RankLost(RankError):
    """A rank or its node went away without an exit status."""


def one_line(text: str) -> str:
    """Escape control characters: what came from an image or a user can't move a cursor."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def shorten(text: str, length: int = 200) -> str:
    """At most `length` characters of the text on one line; an ellipsis replaces its middle."""
    # First the characters that take several on a line: the length is that of what is shown.
    line = one_line(text)
    if len(line) <= length:
        return line
    half = (length - 1) // 2
    return f"{line[:half]}…{line[-half:]}"
