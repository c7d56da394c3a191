"""Builds the native parts: the binding with the engine in it, and the cffi module.

SYSLET_SANITIZE=address,undefined builds with those sanitizers and with asserts on; it
is what `make san` sets. Everything else is in pyproject.toml.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

SANITIZERS = os.environ.get("SYSLET_SANITIZE", "")


def sources(*folders: str) -> list[str]:
    """The C files of these folders, in a fixed order."""
    return [str(path) for each in folders for path in sorted(Path(each).glob("*.c"))]


def options() -> dict[str, list[str]]:
    """Compiler and linker options; link-time optimisation joins the small files."""
    compile_args = ["-std=gnu11", "-fvisibility=hidden", "-Wall", "-Wextra"]
    if SANITIZERS:
        flags = [f"-fsanitize={SANITIZERS}", "-fno-omit-frame-pointer", "-O1", "-g"]
        stop = ["-fno-sanitize-recover=undefined", "-UNDEBUG"]
        return {
            "extra_compile_args": [*compile_args, *flags, *stop],
            "extra_link_args": flags,
        }
    flags = ["-O2", "-flto"]
    # The asserts of the engine guard lifetimes: they are kept.
    return {
        "extra_compile_args": [*compile_args, *flags, "-UNDEBUG"],
        "extra_link_args": flags,
    }


setup(
    ext_modules=[
        Extension(
            "syslet_loop._native",
            sources("native/python", "native/engine"),
            depends=[str(path) for path in sorted(Path("native").rglob("*.h"))],
            **options(),
        )
    ],
    cffi_modules=["native/abi/memory_build.py:ffi", "native/abi/abi_build.py:ffi"],
)
