"""`export`: TorchScript files."""

import mdtraj as md
import torch
from commands import content, run


def test_export_writes_torchscript(model, trajectory, tmp_path):
    run("export", model, "--modes", "0", "1")
    module = torch.jit.load(str(model / "cv.pt"))
    frames = md.load(str(trajectory), top=str(trajectory.with_name("topology.pdb")))
    values = torch.stack([module(torch.as_tensor(x)) for x in frames.xyz[:100]])
    assert values.shape == (100, 2)
    assert 0.1 < float(values.std(0).min()) < float(values.std(0).max()) < 2.0
    run("export", model, "--modes", "5", "-o", tmp_path / "five.pt")
    one = torch.jit.load(str(tmp_path / "five.pt"))(torch.as_tensor(frames.xyz[0]))
    assert one.shape == (1,)


def test_an_exported_file_is_not_replaced(model, refused, tmp_path):
    run("export", model)
    before = content(model)
    line = refused("export", model, "--modes", "2")
    assert "cv.pt: exists already: remove it, or give another --output" in line
    assert content(model) == before
