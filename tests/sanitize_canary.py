"""A program with an error that AddressSanitizer must catch; run by sanitize.sh only.

A syslet asks the kernel to fill more memory than there is: the length goes through a
raw system call, where the verifier cannot know what it means.
"""

import os
import socket

import syslet_loop
from syslet_loop import memory, syslet

RECVFROM = 45 if os.uname().machine == "x86_64" else 207
