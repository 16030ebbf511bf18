"""Hostile programs: none escapes, none passes, the judge is alive after each, nothing is left running."""

import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from r1lit.sandbox import AssertTest, IOTest, Limits, judge, trouble

sys.path.insert(0, str(Path(__file__).parent))
from hostile import HANGING, LOOPING, MODULES, SCRIPTS

SLEEP = "98765.4321"
TIGHT = {"memory_mb": 192, "processes": 8, "file_mb": 4, "output_kb": 256}
QUICK = Limits(wall_s=0.4, cpu_s=0.3, **TIGHT)
PATIENT = Limits(wall_s=6.0, cpu_s=4.0, **TIGHT)


@pytest.fixture(scope="module", params=["bubblewrap", "namespaces"])
def isolation(request):
    problem = trouble(request.param)
    if problem:
        pytest.skip(f"{request.param} does not work here: {problem}")
    return request.param


class World:
    """What the programs are after: a token in a file, in the environment, at two servers, in this memory."""

    def __init__(self, folder):
        self.token = f"token-{secrets.token_hex(16)}"
        self.folder = folder / "home"
        self.folder.mkdir()
        self.file = self.folder / "secret.txt"
        self.file.write_text(self.token)
        self.file.chmod(0o644)
        os.environ["R1LIT_TEST_TOKEN"] = self.token
        self.servers = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self.port = self.servers[0].getsockname()[1]
        self.servers[1].bind(f"\0r1lit-test-{self.port}")
        self.servers[1].listen()
        self.visits = 0
        for server in self.servers:
            threading.Thread(target=self.serve, args=(server,), daemon=True).start()

    def serve(self, server):
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            self.visits += 1
            link.sendall(self.token.encode())
            link.close()

    def fill(self, program):
        values = {
            "FILE": self.file,
            "FOLDER": self.folder,
            "HOME": Path.home(),
            "PORT": self.port,
            "PID": os.getpid(),
            "SLEEP": SLEEP,
        }
        for name, value in values.items():
            program = program.replace(f"{{{name}}}", str(value))
        return program

    def close(self):
        for server in self.servers:
            server.close()
        del os.environ["R1LIT_TEST_TOKEN"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("outside"))
    yield made
    made.close()


def left_over():
    """Processes of sandboxes that this process has started, and those that the programs started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"r1lit-sandbox-of-{os.getpid()}\0" in line or SLEEP in line:
            found.append((name, line[-80:]))
    return found


def check_all_is_well(isolation, world):
    until = time.monotonic() + 5
    while left_over() and time.monotonic() < until:
        time.sleep(0.02)
    assert left_over() == []
    assert sorted(world.folder.iterdir()) == [world.file]
    assert world.file.read_text() == world.token
    assert world.visits == 0
    good = judge("print(input()[::-1])", IOTest("abc\n", "cba"), isolation=isolation)
    assert good.passed, good


@pytest.mark.parametrize("name", SCRIPTS)
def test_hostile_script(name, isolation, world):
    limits = QUICK if name in LOOPING else PATIENT
    verdict = judge(world.fill(SCRIPTS[name]), IOTest("input\n", world.token), limits, isolation=isolation)
    assert not verdict.passed, verdict
    assert verdict.reason
    assert verdict.wall_s < limits.wall_s + 2
    assert not {"attached", "changed"} & set(verdict.output.split()), verdict
    check_all_is_well(isolation, world)


FAIR = "def check(candidate):\n    assert candidate() == 'TOKEN'\n\ncheck(answer)"
CARELESS = "import math\nassert abs(answer() - 7.25) < 1e-6 or math.isclose(answer(), 7.25) or answer() in ['TOKEN']"


@pytest.mark.parametrize("name", MODULES)
def test_hostile_module(name, isolation, world):
    limits = QUICK if name in HANGING else PATIENT
    test = AssertTest(FAIR.replace("TOKEN", world.token))
    verdict = judge(world.fill(MODULES[name]), test, limits, isolation=isolation)
    assert not verdict.passed, verdict
    assert verdict.reason
    check_all_is_well(isolation, world)


@pytest.mark.parametrize("name", [name for name in MODULES if "equal" in name or "replace" in name or "name" in name])
def test_hostile_module_and_a_careless_test(name, isolation, world):
    test = AssertTest(CARELESS.replace("TOKEN", world.token))
    verdict = judge(MODULES[name], test, PATIENT, isolation=isolation)
    assert not verdict.passed, verdict


@pytest.mark.parametrize("name", ["exit when called", "leave when called", "close the line", "exit at once"])
def test_a_test_that_expects_an_error_is_not_passed_by_ending(name, isolation):
    test = AssertTest("try:\n    answer()\nexcept:\n    pass\nelse:\n    raise AssertionError")
    verdict = judge(MODULES[name], [test, AssertTest("assert True", names=())], PATIENT, isolation=isolation)
    # Leaving by SystemExit is an error like another; the process goes on.
    assert verdict.passed == (name == "leave when called"), verdict


def test_stopping_the_iteration_does_not_end_the_tests_loop(isolation):
    program = "def answer(x): raise StopIteration"
    verdict = judge(program, AssertTest("assert all(map(answer, [1, 2]))\nassert list(map(answer, [1])) == []"))
    assert not verdict.passed, verdict


@pytest.mark.parametrize("name", ["read the secret's file", "connect to a server", "connect to an abstract socket"])
def test_without_isolation_the_attacks_succeed(name, world):
    """The tests above could fail: what they try works where nothing hinders it."""
    before = world.visits
    assert judge(world.fill(SCRIPTS[name]), IOTest("", world.token), PATIENT, isolation="plain").passed
    world.visits = before
