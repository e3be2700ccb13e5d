"""Modes in a user's own script with OpenMM's metadynamics."""

import numpy as np
import openmm
import pytest
from ligands import torsion_model
from openmm import app, unit

import openmm_plugin
from openmm_plugin.biasing.options import HILL_SHARE
from openmm_plugin.forces import evaluate
from symplectic_cv.errors import OptionError
from symplectic_cv.exporting.export import export

REFERENCE = openmm.Platform.getPlatformByName("Reference")


@pytest.fixture(scope="module")
def cv(bent_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("cv") / "cv.pt"
    export(bent_model, [0, 2, 1], path)
    return path


def _own_script(vacuum, variables, relaxed, steps=100):
    """The script of a user: metadynamics of 100 steps with a hill each 10."""
    system = openmm.XmlSerializer.clone(vacuum.system)
    meta = app.Metadynamics(system, variables, 300 * unit.kelvin, 8.0, 2.0, 10)
    integrator = openmm.LangevinMiddleIntegrator(
        300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtosecond
    )
    simulation = app.Simulation(vacuum.topology, system, integrator, REFERENCE)
    simulation.context.setPositions(relaxed)
    meta.step(simulation, steps)
    return meta, simulation


@pytest.mark.parametrize("backend", ["python", "native"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_modes_drive_openmms_metadynamics(cv, vacuum, relaxed, backend, suffix):
    variables = openmm_plugin.bias_variables(
        cv.with_suffix(suffix), vacuum.system, [1, 0], width=(0.3, 0.5), backend=backend
    )
    meta, simulation = _own_script(vacuum, variables, relaxed)
    assert simulation.currentStep == 100
    assert [variable.biasWidth for variable in variables] == [0.3, 0.5]
    assert [variable.gridWidth for variable in variables] == [101, 61]  # 2.5 points per width
    assert meta.getFreeEnergy().shape == (61, 101)
    assert 2.0 < meta._totalBias.max() <= 20.0  # ten hills that overlap in part
    positions = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    here = np.array(meta.getCollectiveVariables(simulation))
    forces = [variable.force for variable in variables]
    np.testing.assert_allclose(evaluate(forces, 22, positions._value), here, rtol=1e-6)


def test_a_model_gives_the_same_variables_as_its_file(bent_model, cv, vacuum, relaxed):
    by_file = openmm_plugin.bias_variables(cv, vacuum.system, [2, 0], backend="python")
    by_model = openmm_plugin.bias_variables(bent_model, vacuum.system, [2, 0], backend="python")
    values = [
        evaluate([variable.force for variable in variables], 22, relaxed)
        for variables in (by_file, by_model)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    assert [variable.biasWidth for variable in by_model] == [0.25, 0.25]
    assert [variable.gridWidth for variable in by_model] == [121, 121]


def test_the_width_is_measured_where_positions_are_given(cv, vacuum, relaxed):
    (alone,) = openmm_plugin.bias_variables(
        cv, vacuum.system, [0], positions=relaxed, backend="python", range=(-7.0, 8.0)
    )
    (named,) = openmm_plugin.bias_variables(
        cv,
        vacuum.system,
        [0],
        topology=vacuum.topology,
        positions=relaxed,
        backend="python",
        range=(-7.0, 8.0),
    )
    assert alone.biasWidth == named.biasWidth
    assert 0.15 * HILL_SHARE <= alone.biasWidth <= HILL_SHARE
    assert alone.gridWidth >= 2.5 * 15.0 / alone.biasWidth
    assert (alone.minValue, alone.maxValue) == (-7.0, 8.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modes": [0, 7]}, r"`modes` 0 7: .*cv\.pt holds the modes 0 2 1"),
        ({"modes": []}, "`modes` names 0 modes"),
        ({"width": "wide"}, "`width` wide: neither auto nor numbers"),
        ({"width": -1.0}, "`width` must be positive"),
        ({"range": (3.0, -3.0)}, "`range` 3 -3"),
        (
            {"backend": "fast"},
            "`backend` must be auto, native, python or torchforce; got 'fast'",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(cv, vacuum, settings, message):
    with pytest.raises(OptionError, match=message):
        openmm_plugin.bias_variables(cv, vacuum.system, **settings)


def test_modes_of_torsions_bring_their_own_ends(tmp_path):
    model = torsion_model()
    system = openmm.System()
    for mass in model.molecule.masses:
        system.addParticle(float(mass))
    (ends,) = model.ends([1])
    (variable,) = openmm_plugin.bias_variables(model, system, [1], width=0.3)
    assert ends[0] - 1e-3 <= variable.minValue <= ends[0]
    assert ends[1] <= variable.maxValue <= ends[1] + 1e-3
    export(model, [0, 1], tmp_path)
    (again,) = openmm_plugin.bias_variables(tmp_path / "cv.json", system, [1], width=0.3)
    assert (again.minValue, again.maxValue) == (variable.minValue, variable.maxValue)
    (given,) = openmm_plugin.bias_variables(model, system, [1], width=0.3, range=(-9.0, 9.0))
    assert (given.minValue, given.maxValue) == (-9.0, 9.0)
