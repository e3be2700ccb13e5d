"""Units: kT in kJ/mol, and errors that are one line."""

import pytest

from symplectic_cv.errors import OptionError, UserError
from symplectic_cv.units import BOLTZMANN, thermal_energy


def test_boltzmann_is_the_si_value_per_mole():
    assert abs(BOLTZMANN / (1.380649e-23 * 6.02214076e23 / 1000.0) - 1.0) < 1e-15


def test_thermal_energy_is_proportional_to_the_temperature():
    assert thermal_energy(300.0) == pytest.approx(2.494338785445972, rel=1e-14)
    assert thermal_energy(600.0) == pytest.approx(2.0 * thermal_energy(300.0), rel=1e-15)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(OptionError, match="`temperature` must be positive, in K"):
        thermal_energy(temperature)


def test_a_user_error_is_one_line():
    assert str(UserError("two\n   lines\tand a tab")) == "two lines and a tab"
