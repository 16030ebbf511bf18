"""The energy that a stage takes, read from the counters of processors and GPUs where the machine tells them."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Linux keeps the counters of Intel's and AMD's processors here; most systems let the administrator alone read them."""
_JOULES_PER_WH = 3600.0


@dataclass
class _Counter:
    read: Callable[[], int]
    """Microjoules since some moment."""
    range: int
    """Where it starts again from 0."""
    last: int = 0


class EnergyMeter:
    """Adds up what processors, memory and GPUs take from now on.

    All of the machine's processors are counted, whoever uses them, and of GPUs those named. Of several machines this
    knows its own alone.

    Args:
        gpus: Numbers of the CUDA devices, as torch counts them. They are read by way of NVML (package
            ``nvidia-ml-py``); without it nothing is told, as processors alone would mislead.
        powercap: Folder of the processors' counters.
    """

    def __init__(self, gpus: Sequence[int] = (), powercap: Path = POWERCAP) -> None:
        self._microjoules = 0
        try:
            self._counters = [*_processors(powercap), *map(_gpu, gpus)]
            for counter in self._counters:
                counter.last = counter.read()
        except (OSError, ValueError, ImportError):
            self._counters = []

    def update(self) -> None:
        """Reads the counters; to be called more often than they start again, which takes some minutes."""
        try:
            for counter in self._counters:
                now = counter.read()
                self._microjoules += (now - counter.last) % counter.range
                counter.last = now
        except (OSError, ValueError):
            self._counters = []

    @property
    def wh(self) -> float | None:
        """Watt-hours up to the last update; None where the machine does not tell."""
        return self._microjoules / 1e6 / _JOULES_PER_WH if self._counters else None


def _processors(powercap: Path) -> Iterator[_Counter]:
    """Counters of packages and of memory; those of cores are parts of a package's, and ``psys`` holds them all."""
    zones = sorted(powercap.glob("intel-rapl:*"))
    names = [(zone, (zone / "name").read_text().strip()) for zone in zones]
    if not any(name.startswith("package") for _, name in names):
        raise OSError(f"{powercap}: no counter of a processor")
    for zone, name in names:
        if name.startswith("package") or name == "dram":
            yield _Counter(partial(_number, zone / "energy_uj"), _number(zone / "max_energy_range_uj") + 1)


def _number(path: Path) -> int:
    return int(path.read_text())


def _gpu(index: int) -> _Counter:
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        # By its UUID: NVML numbers all GPUs, torch the visible ones.
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(index).uuid}")
    except nvml.NVMLError as error:
        raise OSError(f"GPU {index}: {error}") from error

    def read() -> int:
        try:
            return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000  # millijoules since the driver started
        except nvml.NVMLError as error:
            raise OSError(f"GPU {index}: {error}") from error

    return _Counter(read, 2**64 * 1000)
