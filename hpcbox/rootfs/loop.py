"""Loop devices: files that the kernel mounts only as block devices.

For file systems that can't be mounted from a file itself: squashfs, erofs before Linux 6.12, and
erofs in a file of tmpfs or overlayfs. Each device is read-only and is taken back by the kernel when
its last user has gone (LO_FLAGS_AUTOCLEAR): when this process dies in between, and with the mount.
loop(4); structures and numbers stand in linux/loop.h. Needs Linux 5.8 (LOOP_CONFIGURE).
"""

import errno
import os
import struct
from fcntl import ioctl

_CONTROL = "/dev/loop-control"
_ATTEMPTS = 100

_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_READ_ONLY = 1
_LO_FLAGS_AUTOCLEAR = 4
_BLOCK_BYTES = 512
# struct loop_config: file, block size, and of its loop_info64 the flags alone; 0 for all else.
_CONFIGURATION = struct.Struct("=II 52x I 176x 64x")


def is_available() -> bool:
    """Say whether this machine has loop devices."""
    return os.path.exists(_CONTROL)


def attached(file: int) -> int:
    """Return a descriptor of a loop device that shows a file; it ends with its last user.

    Blocks are 512 bytes, the smallest that a file system has here. Reads go through the file's page
    cache, which stays warm for the next step when this mount is gone; direct I/O would begin anew,
    and was no faster.

    Raises:
        OSError: there are no loop devices, or none is free.
    """
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    configuration = _CONFIGURATION.pack(
        file, _BLOCK_BYTES, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR
    )
    try:
        for _ in range(_ATTEMPTS):
            number = ioctl(control, _LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                ioctl(device, _LOOP_CONFIGURE, configuration)
            except OSError as error:
                os.close(device)
                # EBUSY: another process was faster with the device that was free.
                if error.errno != errno.EBUSY:
                    raise
                continue
            return device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, f"no loop device in {_ATTEMPTS} attempts")
