"""The on-disk format of erofs, Linux's read-only file system: as much of it as hpcbox uses.

Facts: linux/fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. All numbers are little
endian. An inode lies at a multiple of 32 bytes behind the start of the metadata; that multiple is
its number (nid). Used are uncompressed files, inodes of 64 bytes, attributes beside their inode.
"""

import stat
import struct

MAGIC = 0xE0F5E1E2
SUPER_OFFSET = 1024
SLOT = 32
"""Inodes lie at multiples of this."""

COMPAT_MTIME = 0x2
INCOMPAT_CHUNKED_FILE = 0x4
INCOMPAT_DEVICE_TABLE = 0x8

# magic, checksum, compatible features, block bits, extension slots, root nid, inodes, seconds and
# nanoseconds of its making, blocks, first metadata block, first shared attribute block, uuid, name,
# incompatible features, compression, extra devices, device table's slot, folder block bits, name
# prefixes and where they start, packed inode.
SUPER = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQ24x")

# Digest, blocks, where it starts in one address space for all devices (not used).
DEVICE = struct.Struct("<64sII56x")

# Layout and version, attribute size, mode, (reserved), size, layout's own word, number, owner,
# group, seconds, nanoseconds, names, (reserved).
INODE = struct.Struct("<HHHHQIIIIqII16x")

# Where a chunk of a file lies: block (upper bits), device, block (lower bits).
CHUNK = struct.Struct("<HHI")

FILE_IN_ONE_CHUNK = struct.Struct("<HHHHQIIIIqII16x HHI 24x")
"""An inode with the only chunk's place behind it, up to the next inode."""

# Inode, offset of the name in the block, type.
ENTRY = struct.Struct("<QHBx")

# Filter, number of shared attributes.
ATTRIBUTES = struct.Struct("<IB7x")
# Length of the name behind its prefix, the prefix's number, length of the value.
ATTRIBUTE = struct.Struct("<BBH")
USER_PREFIX = b"user."
USER_INDEX = 1

# i_format of 64-byte inodes: the lowest bit is the version, three bits above it the layout.
PLAIN, INLINE, CHUNKED = 0 << 1 | 1, 2 << 1 | 1, 4 << 1 | 1

CHUNK_INDEXES = 0x20
MAXIMUM_CHUNK_BITS = 31
"""Of a chunk's size, above the bits of a block."""

MAXIMUM_BLOCKS = 2**32 - 1

TYPES = {
    stat.S_IFREG: 1,
    stat.S_IFDIR: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
    stat.S_IFLNK: 7,
}
"""Type of a folder's entry by the kind in st_mode."""
