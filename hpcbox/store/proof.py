"""Proof that a user may read a blob that the store already has.

A layer in the store is no right to it: it may be private, and its digest is no secret. In site
mode a process of the user fetches, so its word that "the registry said yes" is worth nothing. So
the store keeps, of each blob it has read, some short pieces at random places; who can fetch pieces
at those places, chosen at random again, from where the image is said to be has access to the
blob. That costs a range request instead of the blob.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

_PIECES = 16
_PIECE_BYTES = 32
_ASKED = 3
# A piece of few different bytes (zeros of a tar that isn't compressed) could be guessed.
_LEAST_DIFFERENT = 12

Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Samples:
    """Pieces of a blob by their offset."""

    pieces: dict[int, bytes]

    def to_json(self) -> dict[str, str]:
        """Return the form in which layer.json holds this."""
        return {str(offset): piece.hex() for offset, piece in self.pieces.items()}

    @classmethod
    def from_json(cls, table: dict[str, str]) -> "Samples":
        """Return what `to_json` wrote; raises ValueError for anything else."""
        return cls({int(offset): bytes.fromhex(piece) for offset, piece in table.items()})

    def questions(self, chance: random.Random | None = None) -> list[Window]:
        """Return windows (offset, length) to ask for; none when too few pieces prove anything."""
        telling = [
            (offset, len(piece))
            for offset, piece in self.pieces.items()
            if len(set(piece)) >= _LEAST_DIFFERENT
        ]
        if len(telling) < _ASKED:
            return []
        return (chance or random.SystemRandom()).sample(telling, _ASKED)

    def agree(self, windows: Sequence[Window], answers: Sequence[bytes]) -> bool:
        """Say whether the answers are the pieces that lie in the windows."""
        expected = [self.pieces[offset] for offset, _ in windows]
        return bool(expected) and list(answers) == expected


@dataclass(slots=True)
class Sampler:
    """Takes the samples of a blob while it passes.

    Attributes:
        size_bytes: the blob's size.
    """

    size_bytes: int
    chance: random.Random = field(default_factory=random.SystemRandom)
    _offsets: list[int] = field(init=False)
    _pieces: dict[int, bytes] = field(init=False, default_factory=dict)
    _position: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        last = max(self.size_bytes - _PIECE_BYTES, 0)
        self._offsets = sorted({self.chance.randint(0, last) for _ in range(_PIECES)})

    def feed(self, piece: bytes) -> None:
        """Take what the next bytes of the blob hold of the samples."""
        start, end = self._position, self._position + len(piece)
        self._position = end
        for offset in self._offsets:
            if offset >= end:
                break
            if offset + _PIECE_BYTES > start:
                wanted = piece[max(offset - start, 0) : offset + _PIECE_BYTES - start]
                self._pieces[offset] = self._pieces.get(offset, b"") + wanted

    def samples(self) -> Samples:
        """Return the samples, after the last piece was fed."""
        return Samples(dict(self._pieces))
