"""The cause of each error, from facts: kernels and machines that are not at hand."""

from __future__ import annotations

import errno

import pytest

from syslet_loop.diagnosis import Cause, Facts, gather, killed, why_not

NEW = Facts(release="6.18.2", version="#1 SMP", disabled=0)
GVISOR = Facts(release="4.4.0", version="#1 SMP Sun Jan 10 15:06:54 PST 2016")


@pytest.mark.parametrize(
    ("error", "facts", "name"),
    [
        ("ENOSYS", GVISOR, "gvisor"),
        ("EINVAL", GVISOR, "gvisor"),
        ("ENOSYS", Facts(release="5.0.1"), "missing"),
        ("ENOSYS", Facts(release="5.0.1", seccomp=2), "missing"),
        ("ENOSYS", Facts(release="6.1.0", seccomp=2), "seccomp"),
        ("ENOSYS", Facts(release="odd", seccomp=2, disabled=0), "seccomp"),
        ("EPERM", Facts(release="6.6.1", disabled=2, seccomp=2), "sysctl"),
        ("EPERM", Facts(release="6.6.1", disabled=2, is_admin=True), "sysctl"),
        ("EPERM", Facts(release="6.6.1", disabled=1), "sysctl"),
        ("EPERM", Facts(release="6.6.1", disabled=1, is_admin=True), "policy"),
        ("EPERM", Facts(release="6.6.1", disabled=1, in_group=True), "policy"),
        ("EPERM", Facts(release="6.6.1", disabled=0, seccomp=2), "seccomp"),
        ("EPERM", NEW, "policy"),
        ("EACCES", NEW, "policy"),
        ("ENOMEM", Facts(release="5.4.0", memlock=65536), "memlock"),
        ("ENOMEM", Facts(release="5.4.0", memlock=-1), "memory"),
        ("ENOMEM", NEW, "memory"),
        ("EMFILE", Facts(release="6.8.0", nofile=16), "descriptors"),
        ("ENFILE", NEW, "descriptors"),
        ("EINVAL", Facts(release="5.15.0"), "old"),
        ("EOPNOTSUPP", Facts(release="5.15.0", seccomp=2), "old"),
        ("EOPNOTSUPP", Facts(release="6.8.0", seccomp=2), "seccomp"),
        ("ETIME", NEW, "silent"),
        ("EIO", NEW, "unknown"),
    ],
)
def test_causes(error: str, facts: Facts, name: str) -> None:
    cause = why_not(getattr(errno, error), facts)
    assert cause.name == name
    assert cause.text and cause.remedy.endswith(".")


def test_signals() -> None:
    assert "seccomp" in killed(31).text and "SIGSYS" in killed(31).text
    assert "seccomp" not in killed(9).text


def test_the_facts_about_this_process() -> None:
    facts = gather()
    assert facts.numbers > (3, 0) and facts.seccomp in (0, 1, 2)
    assert facts.nofile > 0
    assert isinstance(why_not(errno.EPERM, facts), Cause)


@pytest.mark.parametrize(
    ("release", "numbers"),
    [("6.1.0-13-amd64", (6, 1)), ("6.18.44", (6, 18)), ("7", (0, 0)), ("x.y", (0, 0))],
)
def test_numbers(release: str, numbers: tuple[int, int]) -> None:
    assert Facts(release=release).numbers == numbers
