"""Runs a program under a seccomp filter that refuses what the usual container runtimes refuse (EPERM)."""

import ctypes
import os
import platform
import struct
import sys

EPERM = 1
ENOSYS = 38
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, JEQ, JSET, JGE, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
X32 = 0x40000000
# CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
NAMESPACES = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000

# System calls by number: (x86_64, aarch64).
DENIED = {
    "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280), "clock_settime": (227, 112),
    "delete_module": (176, 106), "fanotify_init": (300, 262), "finit_module": (313, 273),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433),
    "init_module": (175, 105), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "kcmp": (312, 272), "kexec_load": (246, 104), "keyctl": (250, 219),
    "lookup_dcookie": (212, 18), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "pidfd_getfd": (438, 438), "pivot_root": (155, 41),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117),
    "quotactl": (179, 60), "reboot": (169, 142), "request_key": (249, 218), "setdomainname": (171, 162),
    "sethostname": (170, 161), "setns": (308, 268), "settimeofday": (164, 170), "swapoff": (168, 225),
    "swapon": (167, 224), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97),
    "userfaultfd": (323, 282), "vhangup": (153, 58),
}
CLONE, CLONE3 = (56, 220), (435, 435)
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}


def instruction(code, value, on_true=0, on_false=0):
    return struct.pack("=HBBI", code, on_true, on_false, value)


def program():
    audit, column = ARCHITECTURES[platform.machine()]
    code = [instruction(LOAD, 4), instruction(JEQ, audit, 1, 0), instruction(RETURN, KILL), instruction(LOAD, 0)]
    if column == 0:
        code += [instruction(JGE, X32, 0, 1), instruction(RETURN, ERRNO | EPERM)]
    # clone3 hides its flags behind a pointer; ENOSYS makes the C library take clone.
    code += [instruction(JEQ, CLONE3[column], 0, 1), instruction(RETURN, ERRNO | ENOSYS)]
    for numbers in DENIED.values():
        code += [instruction(JEQ, numbers[column], 0, 1), instruction(RETURN, ERRNO | EPERM)]
    code += [
        instruction(JEQ, CLONE[column], 0, 3),
        instruction(LOAD, 16),
        instruction(JSET, NAMESPACES, 0, 1),
        instruction(RETURN, ERRNO | EPERM),
        instruction(RETURN, ALLOW),
    ]
    return b"".join(code)


def main():
    text = program()
    buffer = ctypes.create_string_buffer(text, len(text))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    filter_ = Filter(len(text) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execv(sys.argv[1], sys.argv[1:])


main()
