import os

import pytest

from sar_keras.data.memory import memory_limit

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
V1, V2 = "memory.limit_in_bytes", "memory.max"
# What version 1 has where there is no limit.
UNLIMITED = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        # Version 2, on its own and beside version 1.
        ("0::/docker/a\n", {f"docker/a/{V2}": "1000\n"}, 1000),
        ("0::/docker/a\n", {f"unified/docker/a/{V2}": "1000\n"}, 1000),
        ("0::/\n", {V2: "1000\n"}, 1000),
        # Version 1, among other controllers, in any order.
        ("5:memory:/docker/a\n4:cpu,cpuacct:/\n", {f"memory/docker/a/{V1}": "1000\n"}, 1000),
        ("4:cpu:/b\n5:hugetlb,memory:/a\n0::/c\n", {f"memory/a/{V1}": "1000\n"}, 1000),
        # The smallest of nested groups counts, wherever it is.
        ("0::/a/b/c\n", {f"a/b/c/{V2}": "max\n", f"a/b/{V2}": "1000\n", f"a/{V2}": "2000\n"}, 1000),
        ("0::/a/b/c\n", {f"a/b/c/{V2}": "3000\n", f"a/{V2}": "2000\n"}, 2000),
        ("5:memory:/a/b\n", {f"memory/a/b/{V1}": UNLIMITED, f"memory/{V1}": "1000\n"}, 1000),
        ("0::/a\n5:memory:/b\n", {f"a/{V2}": "2000", f"memory/b/{V1}": "1000"}, 1000),
        # A container that is told the name of its group outside, but sees only what is in it.
        ("5:memory:/docker/a\n", {f"memory/{V1}": "1000\n"}, 1000),
        ("0::/../../a\n", {V2: "1000\n"}, 1000),
        # No limit, no such files, a group of another process, a limit beyond the machine's memory.
        ("0::/a\n", {f"a/{V2}": "max\n"}, MACHINE),
        ("5:memory:/a\n", {f"memory/a/{V1}": UNLIMITED}, MACHINE),
        ("0::/a\n", {}, MACHINE),
        ("0::/a\n", {f"b/{V2}": "1000\n", f"a/b/{V2}": "1000\n", f"memory/a/{V1}": "1000\n"}, MACHINE),
        ("4:cpu:/a\n", {f"a/{V2}": "1000\n", f"memory/a/{V1}": "1000\n"}, MACHINE),
        ("", {V2: "1000\n"}, MACHINE),
        (None, {V2: "1000\n"}, MACHINE),
        ("0::/a:b c\n", {f"a:b c/{V2}": "1000\n"}, 1000),
        ("0::/a\n", {f"a/{V2}": str(2**60)}, MACHINE),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path, groups, files, limit):
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit(tmp_path) == limit


def test_without_sysconf_a_limit_counts_too(tmp_path, monkeypatch):
    monkeypatch.delattr("os.sysconf")
    assert memory_limit(tmp_path) == 8 * 2**30
    for name, text in (("proc/self/cgroup", "0::/"), ("sys/fs/cgroup/memory.max", "1000")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_limit(tmp_path) == 1000


def test_of_this_process():
    assert 0 < memory_limit() <= MACHINE
