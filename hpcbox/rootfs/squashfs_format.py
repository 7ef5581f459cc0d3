"""The on-disk format of squashfs 4.0: as much of it as hpcbox uses, compressed with zstd.

Facts: linux/fs/squashfs/squashfs_fs.h and how the kernel checks it (super.c, inode.c, xattr_id.c).
All numbers are little endian. Files' blocks come first; then tables, each in metadata blocks of up
to 8192 bytes behind a header of two bytes: inodes, folders, and where fragments, owners and
attributes are. Those three end in the positions of their metadata blocks, and the kernel wants the
tables in exactly this order with nothing between the last of them.
"""

import stat
import struct

MAGIC = 0x73717368
VERSION = (4, 0)
ZSTD = 6
BLOCK_BITS = 17
BLOCK = 1 << BLOCK_BITS
"""Of a file's content."""

METADATA = 8192
STORED = 0x8000
"""In a metadata block's header: it isn't compressed."""

BLOCK_STORED = 1 << 24
"""In a data block's size: it isn't compressed. The size 0 is a block of zeros."""

NONE = 2**32 - 1
NO_TABLE = 2**64 - 1
ALIGNMENT = 4096
"""Of the whole: a loop device has whole sectors only."""

# Magic, inodes, time, block size, fragments, compression, block bits, flags, owners, version (2),
# the root's inode, bytes used; where the tables begin: owners, attributes, inodes, folders,
# fragments, exports.
SUPER = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")

FOLDER, FILE, SYMLINK, DEVICE, FIFO = 1, 2, 3, 5, 6
EXTENDED = 7
"""Added to the type of an inode with further fields."""

# Type, mode, owner, group, seconds, number.
INODE = struct.Struct("<HHHHII")
# Metadata block and offset of what is in it; names; size; the number of the folder above.
FOLDER_INODE = struct.Struct("<IIHHI")  # block, names, size, offset, parent
LONG_FOLDER_INODE = struct.Struct("<IIIIHHI")  # names, size, block, parent, 0, offset, attributes
FILE_INODE = struct.Struct("<IIII")  # first block, fragment, offset in it, size
LONG_FILE_INODE = struct.Struct("<QQQIIII")  # block, size, holes, names, fragment, offset, attrs
SYMLINK_INODE = struct.Struct("<II")  # names, size of the target, which follows
DEVICE_INODE = struct.Struct("<II")  # names, number of the device
FIFO_INODE = struct.Struct("<I")  # names

FOLDER_SIZE_MORE = 3
"""A folder's size counts `.` and `..`, which are not there, as three bytes."""

# Entries less one, metadata block of their inodes, a number that theirs are told relative to.
ENTRIES = struct.Struct("<III")
MAXIMUM_ENTRIES = 256
# Offset in the metadata block, number, type, length of the name less one.
ENTRY = struct.Struct("<HhHH")

FRAGMENT = struct.Struct("<QII")  # where, size, 0
ATTRIBUTE_SET = struct.Struct("<QII")  # where, how many, their size
ATTRIBUTE_TABLE = struct.Struct("<QII")  # where attributes begin, how many sets, 0
ATTRIBUTE = struct.Struct("<HH")  # prefix, length of the name behind it
VALUE = struct.Struct("<I")
USER_PREFIX = b"user."
USER = 0

TYPES = {
    stat.S_IFDIR: FOLDER,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: DEVICE,
    stat.S_IFIFO: FIFO,
}
