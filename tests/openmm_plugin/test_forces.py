"""Exported modes as OpenMM forces: both backends against the model and each other."""

import copy
import threading
from functools import partial

import numpy as np
import openmm
import pytest
import torch
from scattered import (
    BOXES,
    INDICES,
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
from scipy.spatial.transform import Rotation
from torch import Tensor

from openmm_plugin.forces import _EnergyAndForces, check_atoms, evaluate, mode_forces
from openmm_plugin.running.failure import NO_VALUE
from openmm_plugin.versions import choose_backend
from symplectic_cv.errors import BackendError, ModelError, OptionError, SelectionError
from symplectic_cv.exporting.export import export
from symplectic_cv.exporting.torchscript import load_exported

BACKENDS = ["python", "torchforce"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(make_model):
    """A double model of ten atoms scattered among twenty."""
    return make_model(torch.float64, INDICES, 20).requires_grad_(False)


@pytest.fixture(scope="module")
def cv(model, tmp_path_factory):
    """cv.pt alone: TorchScript through both backends (the native core has its own tests)."""
    path = tmp_path_factory.mktemp("exported") / "cv.pt"
    export(model, MODES, path)
    path.with_suffix(".safetensors").unlink()
    return path


@pytest.fixture(scope="module")
def frames(wobble):
    """Positions of all twenty atoms, the modelled ones jittered, turned and translated."""
    return scatter(wobble(4, seed=2))


@pytest.fixture(scope="module")
def expected(model):
    """expected(x): values of the chosen modes by the model itself."""

    def values(x):
        return model.collective_variables(torch.as_tensor(x[INDICES]), MODES).numpy()

    return values


@pytest.fixture(scope="module")
def make_system(model):
    """make_system(box): twenty free particles with the masses of the model."""
    return partial(free_system, model.molecule.masses)


@pytest.fixture(scope="module")
def contexts(cv, make_system):
    """A context per backend, made once: TorchScript's first calls are slow."""
    return {backend: modes_context(cv, make_system(), backend) for backend in BACKENDS}


@pytest.mark.parametrize("backend", BACKENDS)
def test_energies_are_the_modes_of_the_model(contexts, frames, expected, backend):
    for x in frames:
        energies, forces = all_modes(contexts[backend], x)
        np.testing.assert_allclose(energies, expected(x), rtol=0, atol=TOLERANCE)
        assert (forces[:, OTHERS] == 0.0).all()
    assert np.ptp([expected(x) for x in frames], axis=0).min() > 1e-3


def test_the_force_is_of_the_class_that_was_asked_for(cv, make_system):
    classes = {"python": "PythonForce", "torchforce": "TorchForce"}
    for backend, name in classes.items():
        forces = mode_forces(cv, make_system(), backend)
        assert [type(force).__name__ for force in forces] == [name] * 2
        assert [force.getName().split(" (")[0] for force in forces] == [
            "symplectic-cv mode 3",
            "symplectic-cv mode 0",
        ]
    chosen = mode_forces(cv, make_system())[0]
    assert type(chosen).__name__ == classes[choose_backend("auto", has_core=False)]


def test_both_backends_agree(contexts, frames):
    for x in frames:
        energies, forces = all_modes(contexts["torchforce"], x)
        others, other_forces = all_modes(contexts["python"], x)
        assert np.abs(forces).max() > 1.0
        np.testing.assert_allclose(energies, others, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(forces, other_forces, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_single_precision_model_gives_the_same_through_both(
    make_model, make_system, frames, tmp_path, backend
):
    """As trainings make them: float32 networks, where the order of operations could show."""
    single = make_model(torch.float32, INDICES, 20).requires_grad_(False)
    export(single, MODES, tmp_path / "cv.pt")
    (tmp_path / "cv.safetensors").unlink()
    module, _ = load_exported(tmp_path / "cv.pt")
    context = modes_context(tmp_path / "cv.pt", make_system(), backend)
    energies, forces = all_modes(context, frames[0])
    values = single.collective_variables(torch.as_tensor(frames[0][INDICES]), MODES)
    np.testing.assert_allclose(energies, values.numpy(), rtol=0, atol=TOLERANCE)
    x = torch.as_tensor(frames[0]).requires_grad_(True)
    for k, value in enumerate(module(x)):
        (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
        scale = float(gradient.abs().max())
        np.testing.assert_allclose(forces[k], -gradient.numpy(), rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_are_minus_the_finite_differences_of_the_energy(contexts, frames, backend):
    context, h = contexts[backend], 1e-5
    _, forces = all_modes(context, frames[0])
    for atom, axis in [(2, 0), (4, 2), (9, 1), (12, 0), (18, 2), (0, 1)]:
        ends = []
        for sign in (1, -1):
            x = frames[0].copy()
            x[atom, axis] += sign * h
            ends.append(all_modes(context, x)[0])
        difference = -(ends[0] - ends[1]) / (2 * h)
        np.testing.assert_allclose(forces[:, atom, axis], difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_there_is_no_net_force_and_no_net_torque(contexts, frames, backend):
    for x in frames:
        _, forces = all_modes(contexts[backend], x)
        scale = np.abs(forces).max()
        assert np.abs(forces.sum(1)).max() < 1e-10 * scale
        assert np.abs(np.cross(x - x[INDICES].mean(0), forces).sum(1)).max() < 1e-10 * scale


@pytest.mark.parametrize("backend", BACKENDS)
def test_forces_turn_with_the_molecule(contexts, frames, backend):
    turn = Rotation.from_euler("xyz", [0.4, -1.1, 2.0]).as_matrix()
    energies, forces = all_modes(contexts[backend], frames[1])
    turned, turned_forces = all_modes(contexts[backend], frames[1] @ turn.T + [1.0, -2.0, 0.5])
    np.testing.assert_allclose(turned, energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(turned_forces, forces @ turn.T, rtol=0, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inside_a_custom_cv_force(cv, make_system, contexts, frames, expected, backend):
    """(a²b) of both modes: values, energy, and forces by the chain rule."""
    system = make_system()
    bias = openmm.CustomCVForce("a^2*b")
    for name, force in zip("ab", mode_forces(cv, system, backend), strict=True):
        bias.addCollectiveVariable(name, force)
    system.addForce(bias)
    context = context_of(system)
    for x in frames[:2]:
        energy, forces = energy_and_forces(context, x)
        a, b = expected(x)
        np.testing.assert_allclose(bias.getCollectiveVariableValues(context), [a, b], atol=1e-9)
        assert energy == pytest.approx(a * a * b, abs=1e-9)
        _, of_modes = all_modes(contexts[backend], x)
        by_rule = 2 * a * b * of_modes[0] + a * a * of_modes[1]
        np.testing.assert_allclose(forces, by_rule, rtol=0, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["clone", "xml", "deepcopy", "system xml"])
def test_copies_give_the_same(cv, make_system, contexts, frames, backend, way):
    system = make_system()
    (force, _) = mode_forces(cv, system, backend)
    if way == "system xml":
        system.addForce(force)
        system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    elif way == "xml":
        text = openmm.XmlSerializer.serialize(force)
        system.addForce(openmm.XmlSerializer.deserialize(text))
    else:
        copies = {"clone": openmm.XmlSerializer.clone, "deepcopy": copy.deepcopy}
        system.addForce(copies[way](force))
    del force
    energy, forces = energy_and_forces(context_of(system), frames[2])
    energies, of_modes = all_modes(contexts[backend], frames[2])
    assert energy == pytest.approx(energies[0], abs=1e-12)
    np.testing.assert_allclose(forces, of_modes[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", BOXES)
def test_a_wrapped_molecule_has_the_values_and_forces_of_the_whole_one(
    cv, make_system, contexts, frames, backend, shape
):
    box = BOXES[shape]
    system = make_system(box)
    context = modes_context(cv, system, backend)
    assert system.usesPeriodicBoundaryConditions()
    # whole at a corner of the box, so that wrapping tears it along every edge
    x = frames[3] - frames[3][INDICES].mean(0)
    energies, forces = all_modes(contexts[backend], x)
    for positions in (x, wrap(x, box)):
        found, found_forces = all_modes(context, positions)
        np.testing.assert_allclose(found, energies, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found_forces, forces, rtol=0, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_box_of_the_moment_counts_not_the_first_one(cv, make_system, contexts, frames, backend):
    """Under a barostat the box changes, with the same positions in memory."""
    context = modes_context(cv, make_system(BOXES["cubic"]), backend)
    x = frames[3] - frames[3][INDICES].mean(0)
    energies, _ = all_modes(contexts[backend], x)
    torn = x.copy()
    torn[INDICES[5]] += [0.0, 2.1, 0.0]
    before, _ = all_modes(context, torn)
    context.setPeriodicBoxVectors(*(np.eye(3) * 2.1))
    after, _ = all_modes(context, torn)
    np.testing.assert_allclose(after, energies, rtol=0, atol=1e-9)
    assert np.abs(before - energies).max() > 1e-2


def test_without_a_box_nothing_is_unwrapped(cv, make_system, expected, frames):
    """A molecule longer than an abandoned box stays as it is."""
    x = frames[0].copy()
    x[INDICES[9]] += [5.0, 0.0, 0.0]
    for backend in BACKENDS:
        energies, _ = all_modes(modes_context(cv, make_system(), backend), x)
        np.testing.assert_allclose(energies, expected(x), rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_contexts_evaluated_in_turn_do_not_mix(cv, make_system, frames, expected, backend):
    contexts = [modes_context(cv, make_system(), backend) for _ in range(2)]
    forces = [all_modes(contexts[0], x)[1] for x in frames[:2]]
    for _ in range(3):
        for k in (0, 1):
            energies, found = all_modes(contexts[k], frames[k])
            np.testing.assert_allclose(energies, expected(frames[k]), rtol=0, atol=1e-9)
            np.testing.assert_allclose(found, forces[k], rtol=0, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_contexts_in_two_threads_do_not_mix(cv, make_system, frames, expected, backend):
    contexts = [modes_context(cv, make_system(), backend) for _ in range(2)]
    for context in contexts:
        all_modes(context, frames[2])  # TorchScript compiles in its first calls
    start = threading.Barrier(2)
    found = [[], []]

    def work(k):
        start.wait()
        found[k] = [all_modes(contexts[k], frames[(k + i) % 2])[0] for i in range(40)]

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for k in (0, 1):
        assert len(found[k]) == 40
        for i, energies in enumerate(found[k]):
            right = expected(frames[(k + i) % 2])
            np.testing.assert_allclose(energies, right, rtol=0, atol=1e-9)


def test_evaluate_gives_the_modes_and_leaves_the_forces_usable(cv, make_system, frames, expected):
    for backend in BACKENDS:
        forces = mode_forces(cv, make_system(), backend)
        for x in frames[:2]:
            np.testing.assert_allclose(evaluate(forces, 20, x), expected(x), atol=1e-9)
        with pytest.raises(OptionError, match=r"shape \(10, 3\), not \(20, 3\)"):
            evaluate(forces, 20, frames[0][:10])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_mode_without_a_value_is_an_error_that_recovery_knows(cv, make_system, frames, backend):
    """All modelled atoms in one point: the positions are finite, the orientation is not unique."""
    context = modes_context(cv, make_system(), backend)
    before = all_modes(context, frames[0])[0]
    broken = frames[0].copy()
    broken[INDICES] = 0.0
    with pytest.raises(openmm.OpenMMException) as info:
        all_modes(context, broken)
    assert any(words in str(info.value) for words in NO_VALUE)
    np.testing.assert_array_equal(all_modes(context, frames[0])[0], before)


def test_torchforce_gets_forces_in_the_precision_of_its_positions(cv):
    module = torch.jit.script(_EnergyAndForces(load_exported(cv)[0], 0, len(MODES)))
    for dtype in (torch.float32, torch.float64):
        energy, forces = module(torch.randn(20, 3, dtype=dtype), None)
        assert energy.dtype == forces.dtype == dtype


class _WithoutValue(torch.nn.Module):
    """A collective variable whose gradient is lost."""

    @torch.jit.export
    def values_and_gradients(
        self, positions: Tensor, box: Tensor | None, combinations: Tensor
    ) -> tuple[Tensor, Tensor]:
        return torch.zeros(2), torch.full((1, 20, 3), float("nan"))

    def forward(self, positions: Tensor) -> Tensor:
        return positions


def test_torchforce_refuses_a_value_that_is_not_finite():
    module = torch.jit.script(_EnergyAndForces(torch.jit.script(_WithoutValue()), 0, 2))
    with pytest.raises(torch.jit.Error, match="not finite"):
        module(torch.zeros(20, 3), None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_atoms_outside_of_the_system_are_refused(cv, backend):
    system = openmm.System()
    for _ in range(18):
        system.addParticle(12.0)
    with pytest.raises(SelectionError, match=r"is atom 19, but the system has only 18 atoms"):
        mode_forces(cv, system, backend)


def test_wrong_masses_are_refused(cv, make_system):
    system = make_system()
    system.setParticleMass(12, 35.45)
    with pytest.raises(SelectionError, match=r"\(atom 13\) has .* atom 13 has 35\.450 Da"):
        mode_forces(cv, system)
    system.setParticleMass(12, 1.008)  # a hydrogen where the model has a heavy atom
    with pytest.raises(SelectionError, match=r"atom 13 has 1\.008 Da"):
        mode_forces(cv, system)


def test_repartitioned_hydrogen_mass_is_allowed(model, make_system):
    """A methyl carbon that gave 3 × 2 Da to its hydrogens; the hydrogen that took 2 Da."""
    system = make_system()
    carbon = next(
        index for index, mass in zip(INDICES, model.molecule.masses, strict=True) if mass < 13
    )
    system.setParticleMass(int(carbon), 12.011 - 6.0)
    check_atoms(model.molecule.to_json(), system)
    hydrogen = {
        "name": "H",
        "element": "H",
        "residue": "ALA",
        "residue_number": 2,
        "system_index": 0,
        "mass_da": 1.008,
    }
    system.setParticleMass(0, 3.024)
    check_atoms({"atoms": [hydrogen]}, system)
    system.setParticleMass(0, 12.011)
    with pytest.raises(SelectionError, match="ALA2-H"):
        check_atoms({"atoms": [hydrogen]}, system)


def test_a_file_that_is_no_exported_variable_is_refused(cv, make_system, tmp_path):
    with pytest.raises(ModelError, match=r"missing\.pt: no such file"):
        mode_forces(tmp_path / "missing.pt", make_system())
    (tmp_path / "cut.pt").write_bytes(cv.read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"cut\.pt: truncated, altered"):
        mode_forces(tmp_path / "cut.pt", make_system())


def test_torchforce_that_cannot_be_used_is_an_error_not_a_crash(cv, make_system, monkeypatch):
    monkeypatch.setattr("openmm_plugin.versions.torchforce_problem", lambda: "it is broken")
    with pytest.raises(BackendError, match="`backend=torchforce`: it is broken"):
        mode_forces(cv, make_system(), "torchforce")


def test_torch_evaluates_with_one_thread_and_keeps_its_threads(cv, make_system, monkeypatch):
    monkeypatch.setattr("openmm_plugin.forces.core_problem", lambda: "it is not compiled")
    used = []
    evaluate_modes = torch.from_numpy

    def noting(array):
        used.append(torch.get_num_threads())
        return evaluate_modes(array)

    monkeypatch.setattr(torch, "from_numpy", noting)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        forces = mode_forces(cv, make_system(), "python")
        assert torch.get_num_threads() == 2
        n_atoms = make_system().getNumParticles()
        evaluate(forces, n_atoms, np.random.default_rng(0).normal(size=(n_atoms, 3)))
        assert used
        assert set(used) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
