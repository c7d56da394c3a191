"""Tests of the announced interface: libsyslet and syslet_loop.abi."""
