import sys
from types import SimpleNamespace

import pytest
import torch

from r1lit.callbacks import StageRecord
from r1lit.callbacks.energy import EnergyMeter

RANGE = 262_143_328_850  # microjoules: a real one


class Machine:
    """A folder of counters as Linux shows them; real ones belong to the machine's administrator."""

    def __init__(self, folder, zones):
        self.folder = folder
        for number, name in zones.items():
            zone = folder / f"intel-rapl:{number}"
            zone.mkdir(parents=True)
            (zone / "name").write_text(name + "\n")
            (zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
            self.set(number, 0)

    def set(self, number, microjoules):
        (self.folder / f"intel-rapl:{number}" / "energy_uj").write_text(f"{microjoules}\n")


def test_packages_and_memory_are_added_and_their_parts_are_not_counted_twice(tmp_path):
    zones = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "2": "psys"}
    machine = Machine(tmp_path, zones)
    meter = EnergyMeter(powercap=tmp_path)
    assert meter.wh == 0
    for number in zones:
        machine.set(number, 3_600_000_000)  # one watt-hour
    meter.update()
    assert meter.wh == pytest.approx(3.0)


def test_a_counter_that_starts_again_goes_on(tmp_path):
    machine = Machine(tmp_path, {"0": "package-0"})
    machine.set("0", RANGE - 99)
    meter = EnergyMeter(powercap=tmp_path)
    machine.set("0", 3_600_000_000 - 100)
    meter.update()
    assert meter.wh == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("break_it", ["no folder", "not allowed", "no package", "not a number"])
def test_where_the_machine_does_not_tell_nothing_is_made_up(tmp_path, break_it):
    if break_it != "no folder":
        Machine(tmp_path, {"0": "psys" if break_it == "no package" else "package-0"})
    energy = tmp_path / "intel-rapl:0" / "energy_uj"
    if break_it == "not allowed":  # what even the administrator cannot read: a folder
        energy.unlink()
        energy.mkdir()
    if break_it == "not a number":
        energy.write_text("")
    meter = EnergyMeter(powercap=tmp_path)
    meter.update()
    assert meter.wh is None


def test_a_counter_that_goes_away_leaves_no_half_of_a_sum(tmp_path):
    machine = Machine(tmp_path, {"0": "package-0", "1": "package-1"})
    meter = EnergyMeter(powercap=tmp_path)
    machine.set("0", 5)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    meter.update()
    assert meter.wh is None


def fake_nvml(energies):
    """What of pynvml is used; there is no GPU to ask."""

    class NVMLError(Exception):
        pass

    def total(handle):
        if handle not in energies:
            raise NVMLError("Not Supported")
        return energies[handle]

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"u{index}"))


def test_gpus_are_added_to_the_processors(tmp_path, monkeypatch, two_gpus):
    machine = Machine(tmp_path, {"0": "package-0"})
    energies = {"GPU-u0": 1000, "GPU-u1": 2000}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(energies))
    meter = EnergyMeter([0, 1], tmp_path)
    energies |= {"GPU-u0": 1000 + 7_200_000, "GPU-u1": 2000 + 3_600_000}  # millijoules
    machine.set("0", 3_600_000_000)
    meter.update()
    assert meter.wh == pytest.approx(4.0)


@pytest.mark.parametrize("nvml", [None, fake_nvml({"GPU-u0": 1})], ids=["not installed", "one GPU does not tell"])
def test_processors_without_their_gpus_would_mislead(tmp_path, monkeypatch, two_gpus, nvml):
    Machine(tmp_path, {"0": "package-0"})
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert EnergyMeter([0, 1], tmp_path).wh is None


def measured(tmp_path, wh):
    record = StageRecord()
    machine = Machine(tmp_path / "counters", {"0": "package-0"})
    record._energy = EnergyMeter(powercap=machine.folder)
    machine.set("0", int(wh * 3.6e9))
    return record


def test_energy_of_interrupted_runs_is_added(tmp_path):
    first = measured(tmp_path / "a", 2.0)
    second = measured(tmp_path / "b", 0.5)
    second.load_state_dict(first.state_dict())
    assert second.state_dict()["energy_wh"] == pytest.approx(2.5)


@pytest.mark.parametrize("earlier", [{"wall_s": 1.0, "energy_wh": None}, {"wall_s": 1.0}])
def test_a_part_that_was_not_measured_leaves_the_whole_unknown(tmp_path, earlier):
    record = measured(tmp_path, 2.0)
    record.load_state_dict(earlier)
    assert record.state_dict()["energy_wh"] is None


def test_the_record_tells_it_but_not_of_a_stage_that_earlier_runs_began(tmp_path):
    record = measured(tmp_path, 2.0)
    whole, resumed = {"wall_s": 0.0}, {"wall_s": 1e6}
    record._add_energy(whole)
    record._add_energy(resumed)
    assert whole["energy_wh"] == pytest.approx(2.0)
    assert "energy_wh" not in resumed
