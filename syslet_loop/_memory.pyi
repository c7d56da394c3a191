# What cffi builds from native/abi/memory_build.py. It has no types of its own: what a C
# type has for fields is known when a program runs.

from typing import Any

ffi: Any
