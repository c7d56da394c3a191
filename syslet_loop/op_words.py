"""What operations do, in a sentence each: the docstrings of methods made from rows.

Only for operations that generic.py makes methods of; those that are written by hand say
it themselves. Read by generic.py, and by nothing that runs. A test compares the names
with the operations table.
"""

SAYS: dict[str, str] = {
    "nop": "Give `value` and do nothing else.",
    "openat": "Open a file and give its fd, which no child inherits. `mode` is for a "
    "file that is made.",
    "close": "Close an fd, whether or not it reports an error.",
    "read": "Read from the fd's own position: the data if `buf` is a size, else how "
    "many bytes were put into that memory. 0 bytes are the end.",
    "write": "Write all of `data` at the fd's own position and give how many bytes.",
    "pread64": "Read at `offset` bytes from the beginning; the position stays.",
    "pwrite64": "Write all of `data` at `offset`; the position stays.",
    "readv": "Read into several pieces of memory, in their order: how many bytes.",
    "writev": "Write several pieces of memory, in their order: how many bytes.",
    "preadv": "As readv, at `offset`.",
    "pwritev": "As writev, at `offset`.",
    "preadv2": "As preadv, with RWF_* flags.",
    "pwritev2": "As pwritev, with RWF_* flags.",
    "lseek": "Move the fd's own position; gives the new one.",
    "faccessat2": "Whether a file may be used so: 0, or an error. `mode` is made of "
    "os.R_OK, os.W_OK, os.X_OK, os.F_OK.",
    "readlinkat": "Where a symbolic link points to, as bytes.",
    "getdents64": "Entries of a directory as the kernel has them, b'' at the end; "
    "`files.os.listdir` and `files.scandir` read them.",
    "getxattr": "An extended attribute of a file, by path.",
    "setxattr": "Set an extended attribute of a file, by path.",
    "lgetxattr": "As getxattr, of a symbolic link itself.",
    "lsetxattr": "As setxattr, of a symbolic link itself.",
    "fgetxattr": "An extended attribute of an open file.",
    "fsetxattr": "Set an extended attribute of an open file.",
    "listxattr": "The names of a file's extended attributes, each with a NUL.",
    "flistxattr": "The names of an open file's extended attributes, each with a NUL.",
    "removexattr": "Remove an extended attribute of a file.",
    "fremovexattr": "Remove an extended attribute of an open file.",
    "fsync": "Wait until content and metadata of a file are on the disk.",
    "fdatasync": "Wait until the content of a file is on the disk.",
    "sync_file_range": "Start or wait for writing a part of a file to the disk; "
    "`length` 0 is up to the end.",
    "ftruncate": "Make an open file `length` bytes long.",
    "truncate": "Make a file `length` bytes long, by path.",
    "fallocate": "Make room for a part of a file, or with a FALLOC_FL_* mode free it.",
    "unlinkat": "Remove a file, or with AT_REMOVEDIR (0x200) an empty directory.",
    "renameat2": "Rename, atomically; with RENAME_NOREPLACE (1) only if `new` is not "
    "there, with RENAME_EXCHANGE (2) swap both.",
    "mkdirat": "Make a directory, with `mode` less the umask.",
    "mknodat": "Make a FIFO, a device or a socket: `mode` has its kind.",
    "symlinkat": "Make a symbolic link at `path` that says `target`.",
    "linkat": "Make another name for a file.",
    "fchmod": "Change the mode of an open file.",
    "fchmodat": "Change the mode of a file, by path.",
    "fchown": "Change owner and group of an open file; -1 leaves one as it is.",
    "fchownat": "Change owner and group of a file, by path; -1 leaves one as it is.",
    "copy_file_range": "Copy between files inside the kernel: how many bytes. An "
    "offset is None for the fd's own position, or a cell that is moved on.",
    "sendfile": "Send from a file to another fd, all of it: how many bytes. `offset` "
    "is None for the file's own position, or a cell that is moved on.",
    "splice": "Move between a pipe and an fd, without a copy: how many bytes.",
    "tee": "Copy from a pipe to a pipe; the data stays in the first: how many bytes.",
    "fadvise64": "Say how a part of a file will be used, with os.POSIX_FADV_*.",
    "sync": "Write everything that is cached to the disks.",
    "syncfs": "Write what is cached of one file system to its disk.",
    "flock": "Lock or unlock an open file, with fcntl.LOCK_*; it waits for the lock "
    "unless LOCK_NB is given.",
    "dup3": "Have `new` be a duplicate of `old`; what it was is closed.",
    "eventfd2": "A counter as an fd, `initial` at first.",
    "memfd_create": "A file in memory, without a name in any directory.",
    "timerfd_create": "A timer as an fd, of a time.CLOCK_*; see timerfd_settime.",
    "pidfd_open": "An fd for a process, readable when it has ended.",
    "inotify_init1": "A queue of file system events; see inotify_add_watch.",
    "inotify_add_watch": "Have events of a path reported; gives the watch's number.",
    "socket": "A new socket, which no child inherits.",
    "bind": "Give a socket an address.",
    "listen": "Accept connections; `backlog` of them may wait.",
    "connect": "Connect a socket to an address; for TCP it waits for the peer.",
    "shutdown": "End one direction of a connection, or both: socket.SHUT_*.",
    "futex": "Wait on, wake or requeue at a 32-bit word: the raw call, FUTEX_* as "
    "`operation`; futex_wait and futex_wake are the usual ones.",
    "kill": "Send a signal to a process; signal 0 asks whether it is there.",
    "tgkill": "Send a signal to a thread.",
    "getpid": "The number of this process.",
    "getppid": "The number of the parent process.",
    "gettid": "The number of the thread that runs the flight.",
    "getuid": "The number of the real user.",
    "geteuid": "The number of the effective user.",
    "getgid": "The number of the real group.",
    "getegid": "The number of the effective group.",
    "sched_yield": "Let another thread run.",
    "getrandom": "Random bytes from the kernel's generator.",
    "getcwd": "The current directory, as bytes with a NUL at the end.",
}
