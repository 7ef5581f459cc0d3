"""Layers for tests of file system images: of everything, in sizes where something changes."""

import random
import tarfile

from tests.services.small_images import Item, file, folder, hardlink, symlink, tar


def ordinary_layer() -> bytes:
    """A layer of a thousand files, folders, links and fifos; each has an entry."""
    chance = random.Random(1)  # noqa: S311 - the same layer each time
    items: list[Item] = [folder("./", 0o711)]
    for number in range(40):
        where = f"folder-{number}"
        items.append(folder(where, 0o700 + number))
        for inner in range(chance.choice([0, 1, 3, 40, 200 if number % 20 == 0 else 5])):
            size = chance.choice([0, 1, 511, 512, 513, 4095, 4096, 4097, 70000])
            name = f"{where}/{'n' * chance.randint(1, 200)}-{inner}"
            items.append(file(name, chance.randbytes(size), chance.randrange(0o1000)))
        items.append(Item(f"{where}/old", b"1", mtime=-(10**9)))
        items.append(Item(f"{where}/fine", b"2", pax={"mtime": "1600000000.123456789"}))
        items.append(symlink(f"{where}/short", "../there"))
        items.append(symlink(f"{where}/long", "x/" * chance.randint(1, 2000) + "end"))
        items.append(hardlink(f"{where}/again", f"{where}/old"))
        items.append(hardlink(f"{where}/!and-again", f"{where}/old"))
        items.append(Item(f"{where}/pipe", kind=tarfile.FIFOTYPE, mode=0o640))
        note = {f"SCHILY.xattr.user.note{each}": "v" * 100 * each for each in range(number % 7)}
        items.append(Item(f"{where}/noted", b"abc", pax=note))
    return tar(*items)
