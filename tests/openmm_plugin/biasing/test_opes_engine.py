"""OPES of a particle on a line: walls, notes of deposits, a state that comes back exactly."""

import sys

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_plugin.biasing.opes_engine import opes_engine, require_opes
from openmm_plugin.biasing.options import BiasOptions
from symplectic_cv.errors import BackendError

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="openmm-opes needs Python 3.11")
OPTIONS = BiasOptions(
    opes=True, barrier=20.0, bias_factor=8.0, width=0.2, low=-2.0, high=2.0, wall=50.0
)
PACE = 20


@pytest.fixture
def particle():
    """particle(): engine and simulation of one coordinate in a double well of 12 kJ/mol."""

    def build():
        system = openmm.System()
        system.addParticle(2.0)
        well = openmm.CustomExternalForce("12*(x^2-1)^2 + 500*(y^2+z^2)")
        well.addParticle(0, [])
        system.addForce(well)
        mode = openmm.CustomExternalForce("x")
        mode.addParticle(0, [])
        engine = opes_engine(system, [mode], OPTIONS, PACE)
        integrator = openmm.LangevinMiddleIntegrator(300.0, 2.0, 0.005)
        integrator.setRandomNumberSeed(3)
        topology = app.Topology()
        residue = topology.addResidue("P", topology.addChain())
        topology.addAtom("P", app.Element.getBySymbol("C"), residue)
        platform = openmm.Platform.getPlatformByName("Reference")
        simulation = app.Simulation(topology, system, integrator, platform)
        simulation.context.setPositions([[-1.0, 0.0, 0.0]])
        simulation.context.setVelocitiesToTemperature(300.0, 1)
        return engine, simulation

    return build


def _run(engine, simulation, hills):
    deposits = []
    for _ in range(hills):
        engine.step(simulation, PACE)
        deposits.append(engine.last)
    return deposits


def test_deposits_are_noted_with_the_bias_that_was_felt(particle):
    engine, simulation = particle()
    deposits = _run(engine, simulation, 150)
    assert deposits[0].bias == -20.0
    kt = 8.31446261815324e-3 * 300.0
    for deposit in deposits:
        assert deposit.weight == pytest.approx(np.exp(deposit.bias / kt))
        assert deposit.offset(kt) == 0.0
    assert max(deposit.bias for deposit in deposits) > -12.0
    assert engine.bias.shape == OPTIONS.grid(1).shape
    assert engine.bias.min() >= -20.0 - 1e-9


@pytest.mark.statistical
def test_the_weights_undo_the_bias(particle):
    """The barrier of 12 kJ/mol of the double well, from weighted frames in blocks of time."""
    engine, simulation = particle()
    deposits = _run(engine, simulation, 3000)[500:]
    x = np.array([deposit.modes[0] for deposit in deposits])
    weight = np.array([deposit.weight for deposit in deposits])
    kt = 8.31446261815324e-3 * 300.0
    assert (np.abs(np.diff(np.sign(x))) > 0).sum() > 30  # it crosses

    def rise(x, weight):
        """−kT ln of the weight per length around the barrier over that around the minima."""
        top, bottom = np.abs(x) < 0.15, np.abs(np.abs(x) - 1.0) < 0.15
        return -kt * np.log(2.0 * weight[top].sum() / weight[bottom].sum())

    blocks = [rise(a, b) for a, b in zip(np.split(x, 10), np.split(weight, 10), strict=True)]
    error = np.std(blocks, ddof=1) / np.sqrt(10)
    fine = np.linspace(-0.15, 0.15, 301)
    exact = -kt * np.log(
        np.exp(-12.0 * (fine**2 - 1.0) ** 2 / kt).mean()
        / np.exp(-12.0 * ((1.0 + fine) ** 2 - 1.0) ** 2 / kt).mean()
    )
    assert error < 1.0
    assert abs(rise(x, weight) - exact) < 3.0 * error


def test_a_state_that_is_put_back_gives_the_same_way(particle):
    engine, simulation = particle()
    _run(engine, simulation, 40)
    arrays = {key: np.array(value) for key, value in engine.state().items()}
    checkpoint = simulation.context.createCheckpoint()
    expected = _run(engine, simulation, 40)

    again, other = particle()
    other.context.loadCheckpoint(checkpoint)
    other.currentStep = 40 * PACE
    again.load(arrays, other.context)
    np.testing.assert_array_equal(again.bias, arrays["bias"])
    found = _run(again, other, 40)
    for one, two in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.modes, two.modes)
        assert one.bias == two.bias
    np.testing.assert_array_equal(again.bias, engine.bias)


def test_beyond_the_grid_the_bias_is_flat_and_a_wall_rises(particle):
    engine, simulation = particle()
    _run(engine, simulation, 30)
    engine.updateContext(simulation.context)
    group = {engine._force.getForceGroup()}

    def energy(x):
        simulation.context.setPositions([[x, 0.0, 0.0]])
        state = simulation.context.getState(energy=True, groups=group)
        return state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)

    for edge, beyond in ((2.0, 2.3), (-2.0, -2.7)):
        rise = energy(beyond) - energy(edge)
        assert rise == pytest.approx(0.5 * 50.0 * (beyond - edge) ** 2, abs=1e-6)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openmm_opes", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'symplectic-cv\[opes\]'"):
        require_opes()
