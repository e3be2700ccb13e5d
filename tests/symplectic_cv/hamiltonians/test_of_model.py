"""The Hamiltonian of a model: from its folder, an object, and in the variables of the model."""

import json
import shutil

import pytest
import torch

from symplectic_cv.errors import ModelError, OptionError
from symplectic_cv.hamiltonians.double_well import DoubleWell
from symplectic_cv.hamiltonians.of_model import (
    analytic_hamiltonian,
    compared_hamiltonians,
    hamiltonian_record,
    in_variables_of,
    require_molecule,
    with_floor_of,
)
from symplectic_cv.hamiltonians.reduced import ReducedHamiltonian
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.models.model_folder import config_digest
from symplectic_cv.training.variational_fit import variational

SMALL = {"steps": 4, "layers": 1, "hidden": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model folder of a double well at β = 2."""
    folder = tmp_path_factory.mktemp("of-model") / "well"
    variational("double-well", beta=2.0, folder=folder, **SMALL)
    return folder


def test_a_folder_names_its_hamiltonian_and_temperature(folder):
    reduced = analytic_hamiltonian(folder)
    assert isinstance(reduced.hamiltonian, DoubleWell)
    assert reduced.beta == 2.0
    assert reduced.floor == hamiltonian_record(folder)["energy_floor_nats"]


def test_a_given_hamiltonian_replaces_that_of_the_folder(folder):
    ring = Ringworld()
    assert analytic_hamiltonian(folder, ring, 3.0) == ReducedHamiltonian(ring, 3.0)
    given = ReducedHamiltonian(Ringworld(), 0.5)
    assert analytic_hamiltonian(folder, given) is given


OWN = """
from pathlib import Path
from symplectic_cv.hamiltonians.double_well import DoubleWell
Path({ran!r}).write_text("ran")
class Mine(DoubleWell):
    name = "mine"
"""


def test_a_file_that_a_model_names_runs_only_when_the_caller_names_it(folder, tmp_path):
    """The digest of config.json has no key: anyone can write another name and a new digest."""
    ran = tmp_path / "ran"
    own = tmp_path / "own.py"
    own.write_text(OWN.format(ran=str(ran)))
    edited = tmp_path / "edited"
    shutil.copytree(folder, edited)
    config = json.loads((edited / "config.json").read_text())
    config["hamiltonian"]["system"] = f"{own}:Mine"
    config["config_sha256"] = config_digest(config)
    (edited / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"own\.py:Mine.*never run: name the `hamiltonian`"):
        analytic_hamiltonian(edited)
    assert not ran.exists()
    reduced = analytic_hamiltonian(edited, f"{own}:Mine")
    assert ran.exists()
    assert (reduced.hamiltonian.name, reduced.beta) == ("mine", 2.0)
    assert reduced.floor == hamiltonian_record(folder)["energy_floor_nats"]
    with pytest.raises(OptionError, match="ringworld has 2 coordinates, the model 1"):
        analytic_hamiltonian(edited, "ringworld")


def test_another_temperature_keeps_the_variables_of_the_model(folder):
    """βV of the same point, at another β: energies in nats grow in proportion to β."""
    result = variational("double-well", beta=2.0, **SMALL)
    own = result.reduced
    (other,) = compared_hamiltonians(result.model, own, to_beta=4.0).values()
    assert (other.scale, other.floor) == (own.scale, own.floor)
    q = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
    torch.testing.assert_close(other.configuration(q), 2.0 * own.configuration(q))


def test_models_and_hamiltonians_that_do_not_fit_are_refused(folder, make_model):
    result = variational("double-well", **SMALL)
    with pytest.raises(OptionError, match="ringworld has 2 coordinates, the model 1"):
        in_variables_of(result.model, result.reduced, Ringworld(), 1.0)
    with pytest.raises(OptionError, match="is a model of double-well, not of a molecule"):
        require_molecule(folder)
    molecular = make_model()
    assert require_molecule(molecular) is molecular
    with pytest.raises(OptionError, match="this model: is a model of a molecule"):
        analytic_hamiltonian(molecular)
    with pytest.raises(ModelError, match="does not say which Hamiltonian"):
        analytic_hamiltonian(result.model)


def test_the_cap_of_a_trajectorys_model_counts_from_its_most_likely_structure(make_model):
    model = make_model()

    class Bowl(DoubleWell):
        dimension = model.dimension

        def potential(self, q):
            return 3.0 + (q * q).sum(-1)

    reduced = with_floor_of(model, Bowl(), {})
    centre = model.flow.inverse(torch.zeros(1, model.dimension, dtype=model.dtype))[0]
    assert reduced.floor == pytest.approx(3.0 + float((centre * centre).sum().detach()))
    assert with_floor_of(model, Bowl(), {"energy_floor_nats": -7.0}).floor == -7.0
