"""Runs a command whose processes Linux refuses the tiles of AMX: in every library a CPU that has them does then what
one with AVX512-VNNI alone does.

    .venv/bin/python benchmarks/without_amx.py make bench

AMX has to be asked for (https://docs.kernel.org/arch/x86/xstate.html). A filter of system calls answers that it may
not be used (https://docs.kernel.org/userspace-api/seccomp_filter.html).
"""

import ctypes
import errno
import os
import struct
import sys

from maskedge.bundle.cpu import ARCH_PRCTL, ARCH_REQ_XCOMP_PERM

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RETURN_ERROR, ALLOW = 0x00050000, 0x7FFF0000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16
"""Where a filter finds them, bytes."""

FILTER = [  # instruction, instructions to skip if it is so, or if not, number
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 3, ARCH_PRCTL),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (JUMP_IF_EQUAL, 0, 1, ARCH_REQ_XCOMP_PERM),
    (RETURN, 0, 0, RETURN_ERROR | errno.EPERM),
    (RETURN, 0, 0, ALLOW),
]


class Program(ctypes.Structure):
    """A filter, as Linux takes it."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def refuse_amx() -> None:
    """From this process and all that it starts. Raises OSError where Linux does not filter."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in FILTER))
    program = Program(len(FILTER), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if refused or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "Linux does not filter system calls here")


if __name__ == "__main__":
    refuse_amx()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # the command that was asked for
