"""The smallest size of those scripts in benchmarks/ that train in many processes."""

import re

import pytest
from helpers import markdown_rows


@pytest.mark.slow
def test_scaling(run, tmp_path):
    smallest = ["--steps", 1, "--filters", 2, "--values", 1, "--presets", "l1"]
    head, *growth, _, agreement = markdown_rows(run("scaling", *smallest, "--plot", "plot.png"))
    assert head == ["what", "value", "images/s", "memory MB"]
    things = [["batch", "1"], ["image side", "64"], ["logical devices", "1"], ["processes", "1"]]
    assert [row[:2] for row in growth] == things
    assert all(float(rate) > 0 and 100 < float(memory) < 10_000 for *_, rate, memory in growth)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert agreement[:3] == ["l1", "mirrored", "1"] and float(agreement[3]) < 0.1 and float(agreement[4]) < 0.01


SOAK = {
    "kills": (["--number", 1, "--epochs", 1], r"1 times killed.*\n.*survived: 1, in .*\nbytes lost: 0 of [1-9]"),
    "fuzz": (["--number", 1], r"inputs tried: .*; 5 in all\n.*\ntracebacks, hangs and crashes: 0"),
    "memory": (["--steps", "1,2"], r"step    1: \d{3,4} MB, \d+ file handles\nstep    2: \d{3,4} MB"),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", SOAK)
def test_soak(run, verb):
    arguments, expected = SOAK[verb]
    assert re.search(expected, run("soak", verb, *arguments))
