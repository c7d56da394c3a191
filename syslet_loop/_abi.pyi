"""What cffi makes of native/abi/abi_build.py: types are known when it runs."""

from typing import Any

ffi: Any
lib: Any
