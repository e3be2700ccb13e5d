"""OpenMM's platforms: which of them can be used here, and the properties that runs get on them."""

from __future__ import annotations

import warnings
from typing import Any

import openmm

from symplectic_cv.errors import OptionError, RunWarning

SMALL_SYSTEM = 100
"""The largest number of atoms for which Reference is faster than the parallel CPU platform."""
PRECISIONS = ("single", "mixed", "double")
PRECISION = "mixed"
"""The precision of GPUs where none is named: positions and sums in float64, forces in float32."""
ON_A_CPU = "Portable Computing Language"
"""An OpenCL that computes on the CPU. OpenMM does not support it; it is never taken by itself."""


class ChosenPlatform(openmm.Platform):
    """A platform of OpenMM with the properties that Contexts of this package get on it.

    Args:
        platform: The platform.
        properties: Its properties, such as Precision and DeviceIndex.
    """

    def __init__(self, platform: openmm.Platform, properties: dict[str, str]) -> None:
        self.this = platform.this  # OpenMM makes platforms, and has no constructor for them
        self.properties = properties


def properties_of(platform: openmm.Platform) -> dict[str, str]:
    """The properties of a chosen platform; none of any other."""
    return dict(platform.properties) if isinstance(platform, ChosenPlatform) else {}


def device_problem(platform: openmm.Platform) -> str | None:
    """The reason why no device of a platform can be used, or None where one can.

    A plugin for a GPU is loaded, and its platform known, where there is no GPU too.
    """
    try:
        devices = platform.getDevices()
    except openmm.OpenMMException as error:
        return str(error).strip().splitlines()[0]
    return None if len(devices) > 0 else "it finds no device"


def number_of_devices(platform: openmm.Platform) -> int:
    """The number of devices of a platform, at least 1."""
    return 1 if device_problem(platform) else len(platform.getDevices())


def choose_platform(
    name: str | None,
    n_atoms: int,
    precision: str | None = None,
    device_index: str | None = None,
) -> openmm.Platform:
    """The named platform, or the one that is fastest for a system of this size.

    Args:
        name: The name of the platform. Where None, Reference for small systems, else the fastest
            one that has a device; a RunWarning tells where a faster one has none.
        n_atoms: The number of atoms of the system.
        precision: `single`, `mixed` or `double` on a GPU; mixed where None.
        device_index: The GPU, counted from 0, or several with commas, as OpenMM takes them; its
            own choice where None.

    Raises:
        OptionError: The platform is not installed, or has no device here; or it has no such
            property.
    """
    count = openmm.Platform.getNumPlatforms()
    known = {}
    for place in range(count):
        platform = openmm.Platform.getPlatform(place)
        known[platform.getName()] = platform
    if name is None:
        chosen = known["Reference"] if n_atoms <= SMALL_SYSTEM else _fastest(list(known.values()))
    elif name not in known:
        raise OptionError(
            f"`platform={name}` is not installed here; there is {', '.join(sorted(known))}"
        )
    else:
        chosen = known[name]
        problem = device_problem(chosen)
        if problem is not None:
            raise OptionError(
                f"`platform={name}` has no device here ({problem}): leave `platform` out, or name "
                "CPU"
            )
    return ChosenPlatform(chosen, _properties(chosen, precision, device_index))


def _fastest(platforms: list[openmm.Platform]) -> openmm.Platform:
    """The fastest platform with a device; a warning where a faster one has none."""
    by_speed = sorted(platforms, key=lambda platform: platform.getSpeed(), reverse=True)
    unusable = []
    for platform in by_speed:
        problem = device_problem(platform)
        if problem is None and not _is_on_a_cpu(platform):
            break
        if problem is not None:
            unusable.append(f"{platform.getName()} has no device here ({problem})")
    if unusable:
        warnings.warn(
            f"{'; '.join(unusable)}: the run is on {platform.getName()}", RunWarning, stacklevel=3
        )
    return platform


def _is_on_a_cpu(platform: openmm.Platform) -> bool:
    """Whether all devices of a platform are the CPU, by another name."""
    devices = [dict(device.items()) for device in platform.getDevices()]
    return all(device.get("OpenCLPlatformName") == ON_A_CPU for device in devices)


def _properties(
    platform: openmm.Platform, precision: str | None, device_index: str | None
) -> dict[str, str]:
    """The properties of a platform for these options."""
    if precision is not None and precision not in PRECISIONS:
        raise OptionError(
            f"`precision` must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}; got "
            f"{precision!r}"
        )
    names = platform.getPropertyNames()
    wanted: dict[str, Any] = {"Precision": precision, "DeviceIndex": device_index}
    options = {"Precision": "precision", "DeviceIndex": "device_index"}
    for key, value in wanted.items():
        if value is not None and key not in names:
            raise OptionError(
                f"`{options[key]}` is for GPUs: the platform {platform.getName()} has no such "
                "choice"
            )
    if "Precision" not in names:
        return {}
    properties = {"Precision": precision or PRECISION}
    if device_index is not None:
        places = [place.strip() for place in str(device_index).split(",")]
        if not all(place.isdigit() for place in places):
            raise OptionError(
                f"`device_index` must be whole numbers with commas, such as 0 or 0,1; got "
                f"{device_index!r}"
            )
        properties["DeviceIndex"] = ",".join(places)
    return properties


def named_platform(name: str, properties: dict[str, str]) -> openmm.Platform:
    """The platform that another process has chosen, with its properties."""
    return ChosenPlatform(openmm.Platform.getPlatformByName(name), properties)


def one_device(platform: openmm.Platform, place: int) -> openmm.Platform:
    """The platform with one of its devices, for the process at this place among several.

    The processes take the devices in turn: those of `device_index`, or all of the platform.

    Args:
        platform: The platform.
        place: The place of the process, from 0.
    """
    properties = properties_of(platform)
    if "DeviceIndex" not in platform.getPropertyNames():
        return platform
    named = properties.get("DeviceIndex")
    devices = named.split(",") if named else [str(k) for k in range(number_of_devices(platform))]
    return ChosenPlatform(platform, properties | {"DeviceIndex": devices[place % len(devices)]})
