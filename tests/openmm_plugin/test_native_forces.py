"""The native force, and PythonForce with the same core, against the model in float64."""

import copy
import threading
from functools import partial

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit
from scattered import (
    BOXES,
    INDICES,
    KJ,
    MODES,
    OTHERS,
    all_modes,
    context_of,
    energy_and_forces,
    free_system,
    modes_context,
    scatter,
    wrap,
)

from openmm_plugin.forces import NATIVE, evaluate, mode_forces
from openmm_plugin.native_library import evaluations, make_force
from openmm_plugin.versions import library_files
from symplectic_cv.errors import BackendError, ModelError
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.exported_files import exported_files
from symplectic_cv.exporting.torchscript import script

pytestmark = pytest.mark.second_openmm

BACKENDS = ["native", "python"]
COUPLINGS = ["affine", "spline"]


@pytest.fixture(scope="module", params=COUPLINGS)
def model(request, make_model):
    return make_model(torch.float64, INDICES, 20, layers=4, hidden=24, coupling=request.param)


@pytest.fixture(scope="module")
def cv(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "cv.pt"
    export(model, MODES, path)
    return path


@pytest.fixture(scope="module")
def frames(wobble):
    """Positions of all twenty atoms, the modelled ones jittered, turned and translated."""
    return scatter(wobble(5, seed=2))


@pytest.fixture(scope="module")
def expected(model):
    """expected(x, box): energies (2,) and forces (2, 20, 3) by the exported module."""
    module = script(model, MODES)

    def values(x, box=None):
        box = None if box is None else torch.as_tensor(box)
        identity = torch.eye(2, dtype=torch.float64)
        energies, gradients = module.values_and_gradients(torch.as_tensor(x), box, identity)
        return energies.numpy(), -gradients.numpy()

    return values


@pytest.fixture(scope="module")
def make_system(model):
    """make_system(box): twenty free particles with the masses of the model."""
    return partial(free_system, model.molecule.masses)


def _assert_agree(found, right):
    np.testing.assert_allclose(found[0], right[0], rtol=0, atol=1e-5)
    scale = np.abs(right[1]).max((1, 2), keepdims=True)
    assert (np.abs(found[1] - right[1]) < 1e-4 * scale).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_energies_and_forces_are_those_of_the_model(cv, make_system, frames, expected, backend):
    context = modes_context(cv, make_system(), backend)
    for x in frames:
        energies, forces = all_modes(context, x)
        _assert_agree((energies, forces), expected(x))
        assert (forces[:, OTHERS] == 0.0).all()
        assert np.abs(forces).max() > 1.0
        assert np.abs(forces.sum(1)).max() < 1e-10
        arms = x - x[INDICES].mean(0)
        assert np.abs(np.cross(arms, forces).sum(1)).max() < 1e-10


def test_on_the_cpu_platform(cv, make_system, frames, expected):
    """Positions in single precision there: modes of nm-sized frames keep three digits."""
    context = modes_context(cv, make_system(), "native", "CPU")
    single = frames[0].astype(np.float32).astype(np.float64)
    energies, forces = all_modes(context, single)
    right = expected(single)
    np.testing.assert_allclose(energies, right[0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(forces, right[1], rtol=0, atol=1e-2 * np.abs(right[1]).max())


def test_native_is_what_auto_takes_and_its_modes_are_named(cv, make_system):
    for backend in ("auto", "native"):
        forces = mode_forces(cv, make_system(), backend)
        assert [force.getName().split(" (")[0] for force in forces] == [
            "symplectic-cv mode 3",
            "symplectic-cv mode 0",
        ]
        assert [NATIVE in openmm.XmlSerializer.serialize(force) for force in forces] == [True] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_inside_a_custom_cv_force(cv, make_system, frames, expected, backend):
    system = make_system()
    bias = openmm.CustomCVForce("a^2*b")
    for name, force in zip("ab", mode_forces(cv, system, backend), strict=True):
        bias.addCollectiveVariable(name, force)
    system.addForce(bias)
    context = context_of(system)
    for x in frames:
        energy, forces = energy_and_forces(context, x)
        (a, b), of_modes = expected(x)
        np.testing.assert_allclose(bias.getCollectiveVariableValues(context), [a, b], atol=1e-5)
        assert energy == pytest.approx(a * a * b, abs=1e-4)
        by_rule = 2 * a * b * of_modes[0] + a * a * of_modes[1]
        np.testing.assert_allclose(forces, by_rule, rtol=0, atol=2e-4 * np.abs(by_rule).max())


def test_in_openmms_own_metadynamics(cv, make_system, frames, expected):
    """BiasVariable and app.Metadynamics, hills and all."""
    system = make_system()
    variables = [
        app.BiasVariable(force, -20.0, 20.0, 0.5, gridWidth=81)
        for force in mode_forces(cv, system, "native")
    ]
    meta = app.Metadynamics(system, variables, 300.0, 10.0, 1.0, 5)
    simulation = app.Simulation(
        app.Topology(),
        system,
        openmm.LangevinMiddleIntegrator(300.0, 10.0, 0.0002),
        openmm.Platform.getPlatformByName("Reference"),
    )
    simulation.context.setPositions(frames[0])
    meta.step(simulation, 20)
    values = meta.getCollectiveVariables(simulation)
    state = simulation.context.getState(positions=True)
    x = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    np.testing.assert_allclose(values, expected(x)[0], rtol=0, atol=1e-5)
    assert np.ptp(meta.getFreeEnergy().value_in_unit(KJ)) > 1.0


@pytest.mark.parametrize("way", ["clone", "xml", "deepcopy", "system xml"])
def test_copies_give_the_same_to_the_last_bit(cv, make_system, frames, way):
    system = make_system(BOXES["cubic"])
    force = mode_forces(cv, system, "native")[0]
    force.setForceGroup(5)
    name = force.getName()
    original = _context_with(make_system(BOXES["cubic"]), force)
    if way == "system xml":
        holder = make_system(BOXES["cubic"])
        holder.addForce(openmm.XmlSerializer.clone(force))
        text = openmm.XmlSerializer.serialize(holder)
        system = openmm.XmlSerializer.deserialize(text)
        copied = system.getForce(system.getNumForces() - 1)
        context = context_of(system)
    else:
        if way == "xml":
            copied = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))
        else:
            copied = {"clone": openmm.XmlSerializer.clone, "deepcopy": copy.deepcopy}[way](force)
        context = _context_with(system, copied)
    assert copied.getForceGroup() == 5
    assert copied.getName() == name
    assert copied.usesPeriodicBoundaryConditions()
    energy, forces = energy_and_forces(context, frames[2])
    right, right_forces = energy_and_forces(original, frames[2])
    assert energy == right
    np.testing.assert_array_equal(forces, right_forces)


def _context_with(system, force):
    system.addForce(openmm.XmlSerializer.clone(force))
    return context_of(system)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", BOXES)
def test_a_wrapped_molecule_is_made_whole(cv, make_system, frames, expected, shape, backend):
    box = BOXES[shape]
    context = modes_context(cv, make_system(box), backend)
    x = frames[3] - frames[3][INDICES].mean(0)
    for positions in (x, wrap(x, box)):
        _assert_agree(all_modes(context, positions), expected(x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_box_of_the_moment_counts(cv, make_system, frames, expected, backend):
    """Also inside CustomCVForce, whose own Context holds the modes."""
    plain = modes_context(cv, make_system(BOXES["cubic"]), backend)
    system = make_system(BOXES["cubic"])
    sum_of_both = openmm.CustomCVForce("a+b")
    for name, force in zip("ab", mode_forces(cv, system, backend), strict=True):
        sum_of_both.addCollectiveVariable(name, force)
    system.addForce(sum_of_both)
    inside = context_of(system)
    x = frames[3] - frames[3][INDICES].mean(0)
    torn = x.copy()
    torn[INDICES[5]] += [0.0, 2.1, 0.0]
    before, _ = all_modes(plain, torn)
    assert np.abs(before - expected(x)[0]).max() > 1e-2
    for context in (plain, inside):
        energy_and_forces(context, torn)
        context.setPeriodicBoxVectors(*(np.eye(3) * 2.1))
    _assert_agree(all_modes(plain, torn), expected(x))
    assert energy_and_forces(inside, torn)[0] == pytest.approx(expected(x)[0].sum(), abs=2e-5)


def test_the_modes_of_a_system_share_one_evaluation(cv, make_system, frames):
    system = make_system()
    forces = mode_forces(cv, system, "native")
    for force in forces:
        system.addForce(force)
    context = context_of(system)
    start = evaluations(forces[0])
    energy_and_forces(context, frames[0])
    assert evaluations(forces[1]) == start + 1
    energy_and_forces(context, frames[1])
    energy_and_forces(context, frames[1])
    assert evaluations(forces[0]) == start + 2


def test_contexts_evaluated_in_turn_do_not_mix(cv, make_system, frames, expected):
    contexts = [modes_context(cv, make_system(), "native") for _ in range(3)]
    for _ in range(3):
        for k, context in enumerate(contexts):
            _assert_agree(all_modes(context, frames[k]), expected(frames[k]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_contexts_in_threads_do_not_mix(cv, make_system, frames, expected, backend):
    contexts = [modes_context(cv, make_system(), backend) for _ in range(4)]
    right = [expected(x)[0] for x in frames]
    start = threading.Barrier(4)
    found = [[] for _ in contexts]

    def work(k):
        start.wait()
        found[k] = [all_modes(contexts[k], frames[(k + i) % 5])[0] for i in range(60)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k, energies in enumerate(found):
        assert len(energies) == 60
        for i, values in enumerate(energies):
            np.testing.assert_allclose(values, right[(k + i) % 5], rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_finite_stops_openmm(cv, make_system, frames, backend):
    context = modes_context(cv, make_system(), backend)
    broken = frames[0].copy()
    broken[INDICES[3], 1] = np.nan
    with pytest.raises(openmm.OpenMMException, match="not finite"):
        energy_and_forces(context, broken)
    together = frames[0].copy()
    together[INDICES] = together[INDICES[0]]  # no orientation: values, but no forces
    with pytest.raises(openmm.OpenMMException, match="not finite"):
        energy_and_forces(context, together)
    elsewhere = frames[0].copy()
    elsewhere[OTHERS[0]] = np.nan
    assert np.isfinite(all_modes(context, elsewhere)[0]).all()
    assert np.isfinite(all_modes(context, frames[0])[0]).all()


def test_the_native_error_names_mode_and_force(cv, make_system, frames):
    context = modes_context(cv, make_system(), "native")
    broken = frames[0].copy()
    broken[INDICES[3]] = np.inf
    with pytest.raises(openmm.OpenMMException, match=r"mode 0 of symplectic-cv mode 3 \(.*broken"):
        energy_and_forces(context, broken)


def test_xml_that_was_tampered_with_is_refused(cv, make_system):
    text = openmm.XmlSerializer.serialize(mode_forces(cv, make_system(), "native")[0])
    start = text.index('file="') + 6
    end = text.index('"', start)
    place = end - 400  # among the weights
    digit = "A" if text[place] != "A" else "B"
    for altered, message in (
        (text[:place] + digit + text[place + 1 :], "altered since it was written"),
        (text[:place] + "#" + text[place + 1 :], "not base64"),
        (text[: start + 4000] + text[end:], "truncated"),
        (text.replace('mode="0"', 'mode="7"'), "no mode at place 7"),
        (text.replace('version="1"', 'version="9"'), "another version"),
        (text.replace('sha256="', 'sha256="0'), "SHA-256"),
    ):
        assert altered != text
        with pytest.raises(openmm.OpenMMException, match=message):
            openmm.XmlSerializer.deserialize(altered)


def test_a_system_that_is_too_small_is_refused_by_the_context(cv, make_system):
    force = mode_forces(cv, make_system(), "native")[0]
    small = openmm.System()
    for _ in range(12):
        small.addParticle(12.0)
    small.addForce(force)
    with pytest.raises(openmm.OpenMMException, match=r"atom 13 is not in the system.*12 particles"):
        context_of(small)


def test_evaluate_gives_the_modes(cv, make_system, frames, expected):
    for backend in BACKENDS:
        forces = mode_forces(cv, make_system(), backend)
        right = expected(frames[1])[0]
        np.testing.assert_allclose(evaluate(forces, 20, frames[1]), right, rtol=0, atol=1e-5)


def test_either_file_of_an_export_may_be_named(cv, make_system, tmp_path):
    core = cv.with_suffix(".safetensors")
    assert exported_files(cv) == exported_files(core) == (cv, core)
    (tmp_path / "cv.safetensors").write_bytes(core.read_bytes())
    assert len(mode_forces(tmp_path / "cv.safetensors", make_system(), "native")) == 2
    with pytest.raises(ModelError, match=r"torchforce. needs the cv\.pt"):
        mode_forces(tmp_path / "cv.safetensors", make_system(), "torchforce")
    with pytest.raises(ModelError, match="not a file of"):
        mode_forces(_written(tmp_path / "cv.txt", b"x"), make_system())


def _written(path, content):
    path.write_bytes(content)
    return path


def test_files_of_two_exports_are_not_mixed(cv, model, make_system, tmp_path):
    _written(tmp_path / "cv.pt", cv.read_bytes())
    export(model, [1], tmp_path / "other.pt")
    (tmp_path / "cv.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"not of the same export as cv\.pt"):
        mode_forces(tmp_path / "cv.pt", make_system())


def test_a_damaged_file_is_an_error_of_its_own(cv, make_system, tmp_path):
    damaged = bytearray(cv.with_suffix(".safetensors").read_bytes())
    damaged[-40] ^= 1
    path = _written(tmp_path / "cv.safetensors", bytes(damaged))
    for backend in ("native", "python"):
        with pytest.raises(ModelError, match="altered since"):
            mode_forces(path, make_system(), backend)
    with pytest.raises(openmm.OpenMMException, match="altered since"):
        make_force(NATIVE, bytes(damaged), False, "damaged", mode=0)


def test_a_force_compiled_for_another_openmm_is_never_loaded(cv, make_system, monkeypatch):
    files = {(7, 1): next(iter(library_files().values()))}
    monkeypatch.setattr("openmm_plugin.versions.library_files", lambda: files)
    with pytest.warns(UserWarning, match=r"through python: .* against OpenMM 7\.1, installed"):
        assert type(mode_forces(cv, make_system())[0]).__name__ == "PythonForce"
    with pytest.raises(BackendError, match=r"compiled against OpenMM 7\.1, installed is"):
        mode_forces(cv, make_system(), "native")
