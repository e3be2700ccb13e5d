"""The choice of a platform, of its device and of its precision, with devices or without."""

import openmm
import pytest

from openmm_plugin import platforms
from openmm_plugin.platforms import (
    SMALL_SYSTEM,
    ChosenPlatform,
    choose_platform,
    device_problem,
    named_platform,
    one_device,
    properties_of,
)
from symplectic_cv.errors import OptionError, RunWarning


class Gpu:
    """A platform as OpenMM shows it, with a list of devices or an error in its place."""

    def __init__(self, devices, name="CUDA", speed=100.0):
        self.this = None
        self.devices, self.name, self.speed = devices, name, speed

    def getName(self):
        return self.name

    def getSpeed(self):
        return self.speed

    def getPropertyNames(self):
        return ("DeviceIndex", "Precision")

    def getDevices(self):
        if isinstance(self.devices, Exception):
            raise self.devices
        return self.devices


@pytest.fixture
def with_gpu(monkeypatch):
    """with_gpu(devices): OpenMM knows a fast platform with these devices beside its own."""
    own = [openmm.Platform.getPlatformByName(name) for name in ("Reference", "CPU")]

    def install(*gpus):
        known = [*own, *gpus]
        monkeypatch.setattr(openmm.Platform, "getNumPlatforms", lambda: len(known))
        monkeypatch.setattr(openmm.Platform, "getPlatform", lambda k: known[k])
        monkeypatch.setattr(
            platforms, "ChosenPlatform", lambda platform, properties: (platform, properties)
        )

    return install


def test_small_systems_run_on_reference_and_large_ones_on_the_fastest(with_gpu):
    with_gpu()
    assert choose_platform(None, SMALL_SYSTEM)[0].getName() == "Reference"
    assert choose_platform(None, SMALL_SYSTEM + 1)[0].getName() == "CPU"
    assert choose_platform("CPU", 5)[0].getName() == "CPU"


def test_an_unknown_platform_is_refused():
    with pytest.raises(
        OptionError, match=r"`platform=Abacus` is not installed here; there is .*CPU"
    ):
        choose_platform("Abacus", 22)


def test_a_gpu_is_taken_in_mixed_precision(with_gpu):
    with_gpu(Gpu([{"DeviceIndex": "0"}]))
    platform, properties = choose_platform(None, 500)
    assert platform.getName() == "CUDA"
    assert properties == {"Precision": "mixed"}
    _, properties = choose_platform("CUDA", 500, "double", "1, 2")
    assert properties == {"Precision": "double", "DeviceIndex": "1,2"}


@pytest.mark.parametrize("devices", [[], openmm.OpenMMException("no driver\nand more")])
def test_a_platform_without_a_device_is_left_with_one_line(with_gpu, devices):
    with_gpu(Gpu(devices))
    with pytest.warns(RunWarning, match=r"^CUDA has no device here \(.*\): the run is on CPU$"):
        platform, properties = choose_platform(None, 500)
    assert platform.getName() == "CPU"
    assert properties == {}
    with pytest.raises(OptionError, match="`platform=CUDA` has no device here"):
        choose_platform("CUDA", 500)


def test_an_opencl_on_the_cpu_is_never_taken_by_itself(with_gpu):
    device = {"DeviceIndex": "0", "OpenCLPlatformName": platforms.ON_A_CPU}
    with_gpu(Gpu([device], "OpenCL", 50.0))
    assert choose_platform(None, 500)[0].getName() == "CPU"
    assert choose_platform("OpenCL", 500)[0].getName() == "OpenCL"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("CUDA", 5, "half"), "`precision` must be single, mixed or double; got 'half'"),
        (("CUDA", 5, None, "first"), "`device_index` must be whole numbers"),
        (("CPU", 5, "double"), "`precision` is for GPUs: the platform CPU has no such choice"),
        (("CPU", 5, None, "0"), "`device_index` is for GPUs"),
    ],
)
def test_what_a_platform_cannot_do_is_refused(with_gpu, arguments, message):
    with_gpu(Gpu([{"DeviceIndex": "0"}]))
    with pytest.raises(OptionError, match=message):
        choose_platform(*arguments)


def test_a_chosen_platform_is_one_of_openmm():
    platform = choose_platform("CPU", 5)
    assert isinstance(platform, openmm.Platform)
    assert platform.getName() == "CPU"
    system = openmm.System()
    system.addParticle(1.0)
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, platform, properties_of(platform))
    assert context.getPlatform().getName() == "CPU"
    assert device_problem(platform) is None
    assert properties_of(openmm.Platform.getPlatformByName("CPU")) == {}


def test_processes_take_the_devices_in_turn(monkeypatch):
    gpu = Gpu([{"DeviceIndex": str(k)} for k in range(3)])
    monkeypatch.setattr(ChosenPlatform, "getPropertyNames", lambda self: gpu.getPropertyNames())
    monkeypatch.setattr(ChosenPlatform, "getDevices", lambda self: gpu.getDevices())
    everything = ChosenPlatform(gpu, {"Precision": "mixed"})
    taken = [properties_of(one_device(everything, place))["DeviceIndex"] for place in range(5)]
    assert taken == ["0", "1", "2", "0", "1"]
    named = ChosenPlatform(gpu, {"Precision": "mixed", "DeviceIndex": "2,5"})
    taken = [properties_of(one_device(named, place))["DeviceIndex"] for place in range(3)]
    assert taken == ["2", "5", "2"]


def test_platforms_without_devices_are_shared():
    cpu = named_platform("CPU", {})
    assert one_device(cpu, 3) is cpu
