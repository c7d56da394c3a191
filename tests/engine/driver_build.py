"""Builds tests/engine/_driver: the plain C engine and a fake kernel, for Python.

`python tests/engine/driver_build.py`; the Makefile and conftest.py call it. With
SYSLET_SANITIZE=address,undefined the sanitizers are built in, as in setup.py. The
engine's asserts are on.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
ENGINE = HERE.parents[1] / "native" / "engine"
FUZZ = HERE.parent / "fuzz"
SANITIZERS = os.environ.get("SYSLET_SANITIZE", "")

# What the engine's host records of a flight; it stands behind flight_host().
HOST = """
struct record {
    uint32_t landed;  /* how often host->landed was called */
    uint32_t emitted; /* how often host->emitted was */
    uint32_t pauses;  /* host->emitted answers false */
    uint64_t report;  /* the last one */
    struct flight *launches; /* prepared: launched by the landing */
};
"""

# Of the kernel's interface, what tests ask for by name.
RING = """
enum { RING_READ = ..., RING_WRITE = ..., RING_READV = ..., RING_WRITEV = ...,
       RING_READ_FIXED = ..., RING_WRITE_FIXED = ...,
       RING_ACCEPT = ..., RING_CONNECT = ..., RING_RECV = ..., RING_SEND = ...,
       RING_RECVMSG = ..., RING_SENDMSG = ..., RING_SPLICE = ..., RING_TIMEOUT = ...,
       RING_WAITID = ..., RING_FUTEX_WAIT = ..., SETUP_NO_SQARRAY = ...,
       SETUP_DEFER_TASKRUN = ..., SETUP_SINGLE_ISSUER = ..., FEAT_SINGLE_MMAP = ...,
       FEAT_NODROP = ..., FEAT_EXT_ARG = ..., FEAT_NO_IOWAIT = ...,
       ENTER_NO_IOWAIT = ... };
"""

# What was reported of a watch.
SEEN = """
struct seen {
    struct watch watch;
    uint32_t reports;
    uint32_t mask; /* of all of them */
};
"""

FUNCTIONS = """
static void note_landed(void *context, struct flight *flight)
{
    struct record *record = flight_host(flight);
    (void)context;
    record->landed += 1;
    if (record->launches != NULL) {
        struct flight *next = record->launches;
        record->launches = NULL;
        flight_launch(next);
    }
}

static bool note_emitted(void *context, struct flight *flight, uint64_t report)
{
    struct record *record = flight_host(flight);
    (void)context;
    record->emitted += 1;
    record->report = report;
    return record->pauses == 0;
}

static void note_watched(void *context, struct watch *watch, uint32_t mask)
{
    struct seen *seen = (struct seen *)watch;
    (void)context;
    seen->reports += 1;
    seen->mask |= mask;
}

static const struct host recording_host = {
    .landed = note_landed, .emitted = note_emitted, .watched = note_watched};

static const struct kernel *real_kernel(void)
{
    return &kernel_real;
}
"""


def declarations(header: Path) -> str:
    """A header as cffi reads it: no comments, directives, asserts, inline functions."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    text = re.sub(r"^#.*?(?<!\\)$", "", text, flags=re.M | re.S)
    text = re.sub(r"_Static_assert\([^;]*;", "", text)
    return re.sub(r"^extern [^;]*;", "", text, flags=re.M)


def make() -> cffi.FFI:
    """The builder of the module."""
    ffi = cffi.FFI()
    names = "kernel.h program.h limits.h watch.h engine.h fixed.h"
    for name in names.split():
        ffi.cdef(declarations(ENGINE / name))
    fake = declarations(HERE / "fake_kernel.h").replace("struct sqe *sqes;", "...;")
    ffi.cdef(re.sub(r"\.\.\.;\s*uint32_t sq_entries;", "...;", fake))
    ffi.cdef(declarations(HERE / "narrow_kernel.h") + RING)
    ffi.cdef(HOST + SEEN + "static const struct host recording_host;")
    ffi.cdef("const struct kernel *real_kernel(void);")
    ffi.cdef("const char *fuzz_one(const uint8_t *data, size_t size);")
    ffi.cdef("uint64_t fuzz_accepted(void);")
    options = ["-std=gnu11", "-Wall", "-Wextra", "-O1", "-g", "-UNDEBUG"]
    options += [f"-iquote{ENGINE}", f"-iquote{HERE}"]  # limits.h is ours and C's
    options.append(f"-iquote{FUZZ}")
    flags = []
    if SANITIZERS:
        flags = [f"-fsanitize={SANITIZERS}", "-fno-omit-frame-pointer"]
        options += [*flags, "-fno-sanitize-recover=undefined"]
    includes = '#include "engine.h"\n#include "limits.h"\n#include "fake_kernel.h"\n'
    includes += '#include "fuzz.h"\n#include "narrow_kernel.h"\n#include "uring.h"\n'
    includes += '#include "watch.h"\n'
    includes += '#include "fixed.h"\n'
    ffi.set_source(
        "_driver",
        includes + HOST + SEEN + FUNCTIONS,
        sources=[
            str(path)
            for path in (
                *sorted(ENGINE.glob("*.c")),
                HERE / "fake_kernel.c",
                HERE / "fake_device.c",
                HERE / "narrow_kernel.c",
                *sorted(FUZZ.glob("fuzz*.c")),
            )
        ],
        extra_compile_args=options,
        extra_link_args=[*flags, "-lpthread"],
        py_limited_api=False,
    )
    return ffi


def build() -> None:
    """Compile into this folder; objects go to build/driver."""
    target = HERE.parents[1] / "build" / ("driver-san" if SANITIZERS else "driver")
    made = Path(make().compile(tmpdir=str(target)))
    (HERE / made.name).write_bytes(made.read_bytes())


if __name__ == "__main__":
    build()
