"""Builds syslet_loop._abi: libsyslet and the engine in it, for Python, through cffi.

API mode: the compiler checks the declarations below against syslet.h and hub.h. Run by
setup.py; `syslet_loop/abi.py` is the door to what it makes. Both layouts are declared:
that of version 6 under the header's names, that of versions 3 to 5 as `..._v3`.
"""

import os
from pathlib import Path

from cffi import FFI

SANITIZERS = os.environ.get("SYSLET_SANITIZE", "")
NATIVE = Path("native")  # setup.py runs at the root of the sources
SOURCES = sorted(NATIVE.glob("abi/*.c")) + sorted(NATIVE.glob("engine/*.c"))

# What the header has not: it shows one layout at a time.
VERSION_3 = """
    struct syslet_uatom_v3 {
        unsigned long flags; unsigned long nr; long *ret_ptr;
        struct syslet_uatom_v3 *next; unsigned long *arg_ptr[6]; void *private;
    };
    struct async_head_user_v3 {
        unsigned long kernel_ring_idx; unsigned long user_ring_idx;
        struct syslet_uatom_v3 **completion_ring; unsigned long ring_size_bytes;
        unsigned long head_stack; unsigned long head_eip;
        unsigned long new_thread_stack; unsigned long new_thread_eip;
    };
    void *async_exec_v3(void *, void *);
    long async_wait_v3(unsigned long, unsigned long, void *);
    long async_register_v3(void *, unsigned long);
    long async_unregister_v3(void *, unsigned long);
    long async_thread_v3(void *, void *);
    long syslet_cancel_v3(void *, void *);
    """

ffi = FFI()
ffi.cdef(
    """
    #define SYSLET_ASYNC ...
    #define SYSLET_SYNC ...
    #define SYSLET_NO_COMPLETE ...
    #define SYSLET_STOP_ON_NONZERO ...
    #define SYSLET_STOP_ON_ZERO ...
    #define SYSLET_STOP_ON_NEGATIVE ...
    #define SYSLET_STOP_ON_NON_POSITIVE ...
    #define SYSLET_STOP_MASK ...
    #define SYSLET_SKIP_TO_NEXT_ON_STOP ...
    #define SYSLET_NR_UMEM_ADD ...
    #define SYSLET_NR_ASYNC_EXEC ...
    #define SYSLET_NR_ASYNC_WAIT ...
    #define SYSLET_NR_ASYNC_THREAD ...
    #define SYSLET_NR_ASYNC_REGISTER ...
    #define SYSLET_NR_ASYNC_UNREGISTER ...
    #define SYSLET_FAULTS_SIGNALS ...
    #define SYSLET_FAULTS_PROBES ...

    struct syslet_uatom {
        uint32_t flags; uint32_t nr; uint64_t ret_ptr; uint64_t next;
        uint64_t arg_ptr[6]; uint64_t private;
    };
    struct async_head_user {
        uint64_t kernel_ring_idx; uint64_t user_ring_idx;
        uint64_t completion_ring_ptr; uint64_t ring_size_bytes;
        uint64_t head_stack; uint64_t head_ip;
        uint64_t new_thread_stack; uint64_t new_thread_ip;
    };
    struct syslet_uatom *async_exec(struct syslet_uatom *, struct async_head_user *);
    long async_wait(unsigned long, unsigned long, struct async_head_user *);
    long async_register(struct async_head_user *, unsigned long);
    long async_unregister(struct async_head_user *, unsigned long);
    long async_thread(void *, struct async_head_user *);
    long syslet_cancel(struct syslet_uatom *, struct async_head_user *);

    """
    + VERSION_3
    + """

    long umem_add(unsigned long *, unsigned long);
    long syslet_threads_max(long);
    long syslet_faults(int);

    struct hub;
    struct hub *hub_new(void);
    int hub_fd(const struct hub *);
    int64_t hub_exec(struct hub *, uint64_t atom, uint64_t ticket);
    int hub_take(struct hub *, uint64_t *ticket, uint64_t *last, int *end);
    int hub_cancel(struct hub *, uint64_t ticket);
    int hub_wait(struct hub *);
    int hub_free(struct hub *);
    """
)


def options() -> dict[str, list[str]]:
    """Compiler and linker options, as setup.py's."""
    compile_args = ["-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra", "-UNDEBUG"]
    if SANITIZERS:
        flags = [f"-fsanitize={SANITIZERS}", "-fno-omit-frame-pointer", "-O1", "-g"]
        stop = ["-fno-sanitize-recover=undefined"]
        return {
            "extra_compile_args": [*compile_args, *flags, *stop],
            "extra_link_args": [*flags, "-pthread"],
        }
    return {
        "extra_compile_args": [*compile_args, "-O2"],
        "extra_link_args": ["-pthread"],
    }


ffi.set_source(
    "syslet_loop._abi",
    """
    #include "native/abi/syslet.h"
    #include "native/abi/hub.h"

    """
    + VERSION_3,
    sources=[str(path) for path in SOURCES],
    include_dirs=["."],
    depends=[str(path) for path in sorted(NATIVE.rglob("*.h"))],
    **options(),
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
