"""A model of a Hamiltonian in one call, in a folder."""

from __future__ import annotations

import contextlib

import pytest
import torch

from symplectic_cv.errors import OptionError, OutputError
from symplectic_cv.flows.options import Coupling, Flow
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.models.model_folder import load_phase_space_model
from symplectic_cv.training.variational_fit import variational

SMALL = {"steps": 20, "batch": 32, "layers": 1, "hidden": 4, "device": "cpu"}


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("flow", ["point", "linear", "continuous"])
def test_a_plain_string_names_the_flow(flow):
    model = variational(Ringworld(), flow=flow, **SMALL).model
    assert model.options.flow is Flow(flow)
    assert model.is_point == (flow == "point")


def test_a_single_coordinate_has_splines():
    assert variational(DoubleWell(), **SMALL).model.options.coupling is Coupling.SPLINE


def test_a_folder_is_written_resumed_and_read(tmp_path):
    def kill(step, row):
        raise KeyboardInterrupt

    whole = variational(Ringworld(), folder=tmp_path / "whole", **SMALL)
    assert same(load_phase_space_model(tmp_path / "whole"), whole.model)
    with pytest.raises(OutputError, match="already holds another run"):
        variational(Ringworld(), folder=tmp_path / "whole", **SMALL)
    again = variational(Ringworld(), folder=tmp_path / "whole", resume=True, **SMALL)
    assert same(again.model, whole.model)
    assert [row.step for row in again.history] == [row.step for row in whole.history]
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        variational(Ringworld(), folder=tmp_path / "killed", progress=kill, **SMALL)
    with pytest.raises(OutputError, match="beta was"):
        variational(Ringworld(), 2.0, folder=tmp_path / "killed", resume=True, **SMALL)
    resumed = variational(Ringworld(), folder=tmp_path / "killed", resume=True, **SMALL)
    assert same(resumed.model, whole.model)
    assert not (tmp_path / "killed" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"flow": "planar"}, "`flow` must be point, linear or continuous"),
        ({"rotation": True}, "`rotation` is unknown"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be a finite number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        variational(Ringworld(), **options)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    def second(step, row):
        with pytest.raises(OutputError, match="another process is running"):
            variational(Ringworld(), folder=tmp_path / "model", resume=True, **SMALL)

    variational(Ringworld(), folder=tmp_path / "model", progress=second, **SMALL)
    assert not (tmp_path / "model" / "checkpoint").exists()
