"""A model in one call, in two steps, in a folder."""

from __future__ import annotations

import contextlib
import json
import logging

import mdtraj as md
import numpy as np
import pytest
import torch

from symplectic_cv.data.trajectories import TrajectoryData
from symplectic_cv.errors import HamiltonianError, OptionError, OutputError
from symplectic_cv.flows.options import Chart, Coupling
from symplectic_cv.models.model_folder import load_model
from symplectic_cv.training.fit import fit, prepare, train, train_in_folder
from symplectic_cv.training.internal_preparation import PreparedInternal
from symplectic_cv.training.loop import flushed_denormals
from symplectic_cv.training.options import TrainingOptions

SMALL = {"steps": 6, "batch": 32, "layers": 1, "hidden": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def data(topology, wobble) -> TrajectoryData:
    return TrajectoryData.from_array(wobble(240), topology)


def same(one, other) -> bool:
    a, b = one.model.state_dict(), other.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_one_call_is_the_two_steps(data):
    options = TrainingOptions(seed=2, **SMALL)
    steps = train(prepare(data, options=options))
    arrays = train(prepare(data.positions, data.molecule, options=options, lengths=data.lengths))
    once = fit(data, seed=2, **SMALL)
    assert same(once, steps)
    assert same(once, arrays)
    assert once.validation_nll == steps.validation_nll


def test_an_mdtraj_trajectory_is_data(data, topology):
    trajectory = md.Trajectory(data.positions, topology)
    assert same(fit(trajectory, **SMALL), fit(data, **SMALL))


def test_the_chart_decides_what_is_trained(data):
    prepared = prepare(data, options=TrainingOptions(chart="internal", **SMALL))
    assert isinstance(prepared, PreparedInternal)
    result = fit(data, chart="internal", **SMALL)
    assert result.model.options.chart is Chart.INTERNAL
    assert same(result, train(prepared))


def test_prepare_takes_the_options_of_fit_by_name(data):
    options = TrainingOptions(chart="internal", seed=3, **SMALL)
    by_name = prepare(data, chart="internal", seed=3, **SMALL)
    assert by_name.options == options
    assert same(train(by_name), train(prepare(data, options=options)))
    with pytest.raises(OptionError, match="`seed` within `options`"):
        prepare(data, options=options, seed=4)


@pytest.mark.parametrize("call", [fit, prepare])
def test_options_of_another_chart_are_refused_with_those_there_are(data, call):
    with pytest.raises(OptionError, match=r"`order` needs `chart='torsion'`.*steps, batch"):
        call(data, chart="internal", order=3)
    with pytest.raises(OptionError, match=r"`n_mode` is unknown; options are steps, batch"):
        call(data, chart="internal", n_mode=3)


@pytest.mark.parametrize("chart", ["cartesian", "torsion"])
def test_a_path_is_refused_with_the_remedy(chart):
    with pytest.raises(OptionError, match="got str: read the file with `read_trajectories`"):
        fit("trajectory.xtc", chart=chart)
    with pytest.raises(OptionError, match=r"must be a TrajectoryData; got list: .*from_array"):
        fit([1, 2], chart=chart)


def test_an_internal_model_of_a_plain_string_can_be_loaded(data, tmp_path):
    result = fit(data, chart="internal", folder=tmp_path / "model", **SMALL)
    loaded = load_model(tmp_path / "model")
    assert loaded.options.coupling is Coupling.SPLINE
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), result.model.parameters(),
                                                 strict=True))  # fmt: skip


def test_a_folder_holds_the_model_and_what_is_known_of_its_training(data, tmp_path):
    result = fit(data, folder=tmp_path / "model", **SMALL)
    assert same(result, fit(data, **SMALL))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json", "history.csv", "model.safetensors",
    ]  # fmt: skip
    training = json.loads((tmp_path / "model" / "config.json").read_text())["training"]
    assert training["frames"] == 240
    assert training["trajectories"] == ["array"]
    assert training["validation_nll_nats"] == result.validation_nll
    result.save(tmp_path / "again")
    for name in ("config.json", "history.csv", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_a_folder_is_never_overwritten_and_a_complete_one_is_read(data, tmp_path):
    first = fit(data, folder=tmp_path / "model", **SMALL)
    with pytest.raises(OutputError, match="already holds another run"):
        fit(data, folder=tmp_path / "model", **SMALL)
    again = fit(data, folder=tmp_path / "model", resume=True, **SMALL)
    assert same(first, again)
    assert again.validation_nll == first.validation_nll
    assert [row.step for row in again.history] == [row.step for row in first.history]
    with pytest.raises(OutputError, match="is complete, with seed 0, not 5: give the same"):
        fit(data, folder=tmp_path / "model", resume=True, seed=5, **SMALL)
    with pytest.raises(OutputError, match=r"is complete, with temperature_k 300.0, not 310.0"):
        fit(data, 310.0, folder=tmp_path / "model", resume=True, **SMALL)


def test_two_processes_do_not_train_in_one_folder(data, tmp_path):
    prepared = prepare(data, **SMALL)

    def second(step, row):
        with pytest.raises(OutputError, match="another process is running"):
            train_in_folder(prepare(data, **SMALL), tmp_path / "model", resume=True)

    train_in_folder(prepared, tmp_path / "model", progress=second)
    assert not (tmp_path / "model" / "checkpoint").exists()


def test_a_killed_training_goes_on_in_its_folder(data, tmp_path):
    def kill(step, row):
        raise KeyboardInterrupt

    options = SMALL | {"steps": 40}
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        fit(data, folder=tmp_path / "killed", progress=kill, **options)
    with pytest.raises(OutputError, match="seed was 0 and is now 5"):
        fit(data, seed=5, folder=tmp_path / "killed", resume=True, **options)
    resumed = fit(data, folder=tmp_path / "killed", resume=True, **options)
    assert same(resumed, fit(data, **options))


def test_energies_are_an_array_in_kj_per_mol_and_wrong_ones_are_refused(data):
    energies = np.random.default_rng(0).normal(size=240)
    prepared = prepare(
        data,
        options=TrainingOptions(chart="internal", energy_weight=1.0, **SMALL),
        energies=energies,
    )
    kt = 0.00831446261815324 * 300.0
    n = len(prepared.training)
    assert prepared.training_energy.shape == (n,)
    assert set(np.round(prepared.training_energy.numpy(), 9)) <= set(np.round(energies / kt, 9))
    assert fit(data, chart="internal", energies=energies, **SMALL).options.energy_weight == 1.0
    with pytest.raises(OptionError, match=r"`energies` has shape \(10,\)"):
        fit(data, chart="internal", energies=energies[:10], **SMALL)
    with pytest.raises(HamiltonianError, match="1 frames have no finite energy"):
        fit(data, chart="internal", energies=np.r_[energies[:-1], np.nan], **SMALL)
    with pytest.raises(OptionError, match="`energies` need `chart='internal'`"):
        prepare(data, energies=energies)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chart": "polar"}, "`chart` must be cartesian, internal or torsion; got 'polar'"),
        ({"coupling": "cubic"}, "`coupling` must be affine, spline or autoregressive"),
        ({"momenta": "none"}, "`momenta` must be maxwell or rademacher"),
        ({"stepps": 5}, "`stepps` is unknown; options are steps, batch"),
        ({"steps": 2.5}, "`steps` must be a whole number"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"device": "tpu"}, "`device` must be auto, cpu or cuda"),
        ({"temperature": -3.0}, "`temperature` must be positive"),
    ],
)
def test_unknown_options_are_refused_by_name(data, options, words):
    with pytest.raises(OptionError, match=words):
        fit(data, **options)


def test_arrays_need_their_atoms(data, molecule):
    with pytest.raises(OptionError, match="`molecule` is missing"):
        prepare(data.positions)
    with pytest.raises(OptionError, match=r"`frames` has shape \(240, 9, 3\)"):
        prepare(data.positions[:, :9], molecule)
    with pytest.raises(OptionError, match="`lengths` add up to 3"):
        prepare(data.positions, molecule, lengths=[1, 2])


def test_nothing_of_the_process_is_changed_by_a_training(data):
    def denormals() -> bool:
        return float(torch.tensor([1e-40]) * 1.0) != 0.0

    logger = logging.getLogger("lightning.pytorch")
    before = logger.level, torch.get_num_threads(), denormals()
    fit(data, **SMALL)
    assert (logger.level, torch.get_num_threads(), denormals()) == before
    with flushed_denormals():
        assert not denormals()
        with flushed_denormals():
            pass
        assert not denormals()
    assert denormals() == before[2]
