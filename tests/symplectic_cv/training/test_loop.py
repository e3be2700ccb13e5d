"""The loop of all trainings: its checkpoints run no code."""

import pickle

import pytest
import torch

from symplectic_cv.errors import OutputError
from symplectic_cv.hamiltonians.ringworld import Ringworld
from symplectic_cv.training.loop import CHECKPOINT, reached_step
from symplectic_cv.training.variational import (
    VariationalOptions,
    prepare_variational,
    train_variational,
)


class _Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("plain", [True, False])
def test_a_checkpoint_runs_no_code(tmp_path, plain):
    made = tmp_path / "made"
    content = {"global_step": 3, "state_dict": _Hostile(made)}
    if plain:
        (tmp_path / CHECKPOINT).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(OutputError, match=r"last\.ckpt.*could run code.*train anew"):
        reached_step(tmp_path)
    options = VariationalOptions(steps=4, batch=8)
    with pytest.raises(OutputError, match="could run code"):
        train_variational(prepare_variational(Ringworld(), options), tmp_path)
    assert not made.exists()


def test_a_damaged_checkpoint_is_told(tmp_path):
    assert reached_step(tmp_path) == 0
    torch.save({"global_step": 3}, tmp_path / CHECKPOINT)
    assert reached_step(tmp_path) == 3
    (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:-30])
    with pytest.raises(OutputError, match="damaged checkpoint"):
        reached_step(tmp_path)
