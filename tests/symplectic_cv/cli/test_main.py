"""The commands end to end, and every bad input as one line and exit status 2."""

import csv
import functools
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import typing
from enum import Enum
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm
import pytest
import torch
from commands import begin, content, kill, run, wait_for

from symplectic_cv.cli.main import COMMANDS, main
from symplectic_cv.cli.options import Backend

OPTIONS = {
    "simulate": "output pdb forcefield solvent time-ns stride-ps timestep-fs flexible platform "
    "temperature seed resume",
    "train": "output top atoms temperature steps batch coupling layers hidden bins momenta "
    "chart energy-weight system momentum-weight weights mdshare-folder mdshare-catalogue seed "
    "device threads resume",
    "variational": "output system top flow size beta temperature steps batch learning-rate "
    "coupling layers hidden bins generator integrator integration-steps duration order samples "
    "seed device threads resume",
    "thermodynamics": "output system top to to-system to-beta to-temperature observable samples "
    "seed threads",
    "sample": "output system top samples method chains thin warmup fix platform workers seed "
    "threads resume",
    "analyze": "output top torsions seed threads",
    "export": "output modes plumed",
    "metadynamics": "system output top modes time-ns bias-factor height width pace range opes "
    "barrier walkers scheduler timestep-fs checkpoint-ps pdb forcefield solvent backend own-grid "
    "platform temperature seed resume",
    "adapt": "system output top atoms rounds time-ns final-ns start-ns modes flatten growth steps "
    "batch layers hidden bias-factor height width pace range timestep-fs backend platform "
    "temperature seed device resume",
    "reweight": "output top torsions distances regions method bins skip-ps atoms seed",
    "umbrella": "system output top modes path windows range force-constant time-ns stride-ps "
    "steering-ps timestep-fs jobs checkpoint-ps pdb forcefield solvent backend platform "
    "temperature seed resume",
    "path": "start end points modes refine scan reach all-atom forcefield output top threads",
    "doctor": "",
    "demo": "output scale backend seed resume",
}
SMALL = ["--steps", "12", "--layers", "2", "--hidden", "8", "--batch", "64"]
N_ATOMS, N_HEAVY, N_MODES, N_FRAMES = 22, 10, 24, 400


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """A folder with 0.02 ns of alanine dipeptide in vacuum."""
    folder = tmp_path_factory.mktemp("project") / "md"
    run(
        *("simulate", "alanine-dipeptide", "--solvent", "vacuum", "-o", folder),
        *("--time-ns", "0.02", "--stride-ps", "0.05"),
    )
    return folder


@pytest.fixture(scope="session")
def trajectory(simulated):
    return simulated / "trajectory.xtc"


@pytest.fixture(scope="session")
def trained(trajectory):
    """A model of a few steps."""
    folder = trajectory.parent.parent / "model"
    run("train", trajectory, "-o", folder, *SMALL)
    return folder


@pytest.fixture
def model(trained, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


@pytest.fixture
def md_folder(simulated, tmp_path):
    return Path(shutil.copytree(simulated, tmp_path / "md"))


def _rows(path):
    with open(path) as handle:
        return list(csv.reader(handle))


def _numbers(rows):
    table = np.array([[float(cell) for cell in row] for row in rows])
    assert np.isfinite(table).all()
    return table


# --- help -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_command(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    run(command, "--help")
    text = capsys.readouterr().out
    named = set(re.findall(r"--([a-z][a-z-]*)", text))
    assert named >= set(OPTIONS[command].split()), set(OPTIONS[command].split()) - named
    assert "Example: symplectic-cv " + command in re.sub(r"[\s│]+", " ", text)


def test_help_lists_the_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    run("--help")
    text = capsys.readouterr().out
    assert set(COMMANDS) == set(OPTIONS)
    for command, line in COMMANDS.items():
        assert re.search(rf"{command}\s+{re.escape(line)}", text)


def test_no_command_at_all_shows_the_help(capsys):
    with pytest.raises(SystemExit) as info:
        main([])
    assert info.value.code == 2
    out, err = capsys.readouterr()
    assert "simulate" in out + err
    assert "error:" not in err


def test_the_version_is_that_of_the_package(capsys):
    import symplectic_cv

    run("--version")
    assert capsys.readouterr().out.strip() == f"symplectic-cv {symplectic_cv.__version__}"


def test_help_loads_neither_torch_nor_openmm():
    script = (
        "import sys\n"
        "from symplectic_cv.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'openmm', 'mdtraj', 'lightning'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"


def heard(monkeypatch, command):
    """Puts a function of the same declarations in the place of a command; it keeps what came."""
    came = []
    module = importlib.import_module(f"symplectic_cv.cli.{command}")
    original = getattr(module, command)

    @functools.wraps(original)
    def keep(*positional, **named):
        came.append((positional, named))

    monkeypatch.setattr(module, command, keep)
    return came


@pytest.mark.parametrize(
    ("words", "positional", "named"),
    [
        ("path m --modes 0 2 3 --top a.pdb", [Path("m")],
         {"modes": [0, 2, 3], "top": Path("a.pdb")}),
        ("path m --modes 0 --modes 2", [Path("m")], {"modes": [0, 2]}),
        ("path --modes 0 2 m", [Path("m")], {"modes": [0, 2]}),
        ("path --modes=0 m -ofolder", [Path("m")], {"modes": [0], "output": Path("folder")}),
        ("analyze m a.xtc --torsions phi x=1,2,3,4 -o b", [Path("m"), "a.xtc"],
         {"torsions": ["phi", "x=1,2,3,4"], "output": Path("b")}),
        ("analyze m --top a.pdb a.xtc b.xtc --seed 2 c.xtc", [Path("m"), "a.xtc", "b.xtc", "c.xtc"],
         {"top": Path("a.pdb"), "seed": 2}),
        ("metadynamics m --modes 0 1 --range -9 9 --width auto", [Path("m")],
         {"modes": [0, 1], "range_": (-9.0, 9.0), "width": ["auto"]}),
        ("metadynamics m --own-grid --seed 1 --seed 2", [Path("m")], {"own_grid": True, "seed": 2}),
        ("metadynamics m --openmm-grid --width 0.1 0.2", [Path("m")],
         {"own_grid": False, "width": ["0.1", "0.2"]}),
        ("umbrella m --mode 3 --backend python", [Path("m")],
         {"modes": [3], "backend": Backend.PYTHON}),
        ("adapt a.xtc --modes auto", ["a.xtc"], {"modes": ["auto"]}),
        ("adapt --modes 0 1 --resume", [], {"modes": ["0", "1"], "resume": True}),
        ("sample m --fix", None, "--fix takes a value"),
        ("sample m --fix 'mode 0 = -1' --fix 'mode 1 = 2'", [Path("m")],
         {"fix": ["mode 0 = -1", "mode 1 = 2"]}),
        ("reweight a b --stride 2 --regions 'A=phi:-150:0' 'B=phi:30:130,psi:-130:30'",
         [Path("a"), Path("b")],
         {"stride": [2], "regions": ["A=phi:-150:0", "B=phi:30:130,psi:-130:30"]}),
        ("simulate --pdb a.pdb --forcefield a.xml b.xml", [],
         {"pdb": Path("a.pdb"), "forcefield": ["a.xml", "b.xml"]}),
    ],
)  # fmt: skip
def test_a_command_gets_what_was_typed(monkeypatch, refused, words, positional, named):
    words = shlex.split(words)
    came = heard(monkeypatch, words[0])
    if positional is None:
        assert named in refused(*words)
        return
    run(*words)
    assert came == [(tuple(positional), named)]


@pytest.mark.parametrize("command", COMMANDS)
def test_choices_are_named_as_the_library_names_them(command):
    """The parser compares with the names of members, the library with their values."""
    module = importlib.import_module(f"symplectic_cv.cli.{command}")
    for hint in typing.get_type_hints(getattr(module, command)).values():
        for kind in (hint, *typing.get_args(hint)):
            if isinstance(kind, type) and issubclass(kind, Enum):
                assert all(member.name.lower() == member.value for member in kind)


# --- from a simulation to a biased run ----------------------------------------------------


def test_simulate_writes_its_files(simulated):
    names = {path.name for path in simulated.iterdir()}
    assert names >= {"trajectory.xtc", "topology.pdb", "system.xml", "state.csv"}
    frames = md.load(str(simulated / "trajectory.xtc"), top=str(simulated / "topology.pdb"))
    assert frames.xyz.shape == (N_FRAMES, N_ATOMS, 3)
    assert len(_rows(simulated / "state.csv")) == 1 + N_FRAMES


def test_train_writes_a_model_folder(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {"model.safetensors", "config.json", "history.csv"}
    config = json.loads((trained / "config.json").read_text())
    assert len(config["omega_rad_per_ps"]) == N_MODES
    assert config["training"]["frames"] == N_FRAMES
    assert any("the data are few" in warning for warning in config["training"]["warnings"])
    header, *rows = _rows(trained / "history.csv")
    assert header[:3] == ["step", "train_nll", "validation_nll"]
    assert _numbers(rows)[-1, 0] == 12


def test_analyze_writes_its_tables_and_a_report(trained, trajectory, tmp_path, capsys):
    output = tmp_path / "analysis"
    run("analyze", trained, trajectory, "-o", output)
    header, *rows = _rows(output / "modes.csv")
    assert header == ["mode", "omega_rad_per_ps", "period_ps", "std_scaled"]
    modes = _numbers(rows)
    assert modes[:, 0].tolist() == list(range(N_MODES))
    assert (np.diff(modes[:, 1]) >= 0).all()  # slowest first
    np.testing.assert_allclose(modes[:, 1] * modes[:, 2], 2 * np.pi, rtol=1e-6)
    config = json.loads((trained / "config.json").read_text())
    np.testing.assert_allclose(modes[:, 1], config["omega_rad_per_ps"], rtol=1e-4)
    header, *rows = _rows(output / "mutual_information.csv")
    assert header == ["mode", "phi", "psi"]
    information = _numbers(rows)
    assert information.shape == (N_MODES, 3)
    assert information[:, 1:].max() > 0.1
    with np.load(output / "latent.npz") as archive:
        assert any(archive[key].shape == (N_FRAMES, N_MODES) for key in archive.files)
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2
    assert len(list(output.glob("*.png"))) >= 2
    assert "slowest frequencies" in capsys.readouterr().out


def test_analyze_takes_torsions_by_name_and_by_atoms(trained, trajectory, tmp_path):
    run(
        *("analyze", trained, trajectory, "-o", tmp_path / "a"),
        *("--torsions", "psi", "mine=5,7,9,15"),
    )
    assert _rows(tmp_path / "a" / "mutual_information.csv")[0] == ["mode", "psi", "mine"]


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


@pytest.mark.parametrize("backend", ["auto", "python"])
def test_metadynamics_writes_its_files(trained, simulated, tmp_path, backend):
    output = tmp_path / "bias"
    run(
        *("metadynamics", trained, "--system", simulated / "system.xml", "-o", output),
        *("--modes", "0", "1", "--time-ns", "0.002", "--pace", "0.1", "--range", "-9", "9"),
        *("--backend", backend),
    )
    names = {path.name for path in output.iterdir()}
    assert names >= {"trajectory.xtc", "colvar.csv", "free_energy.npz", "checkpoint", "cv.pt"}
    assert names >= {"free_energy.png", "modes.png"}
    header, *rows = _rows(output / "colvar.csv")
    assert header == ["time_ps", "mode_0", "mode_1", "bias_kj_per_mol", "c_kj_per_mol", "weight"]
    table = _numbers(rows)
    np.testing.assert_allclose(table[:, 0], 0.1 * np.arange(1, 21), rtol=1e-6)
    assert (table[:, 5] > 0).all()
    with np.load(output / "free_energy.npz") as archive:
        surface = archive["free_energy"]
        assert surface.shape == (len(archive["mode_0"]), len(archive["mode_1"]))
        assert surface.min() == 0.0
    frames = md.load(str(output / "trajectory.xtc"), top=str(simulated / "topology.pdb"))
    assert frames.n_frames == 20
    module = torch.jit.load(str(output / "cv.pt"))
    last = module(torch.as_tensor(frames.xyz[-1]))
    np.testing.assert_allclose(last.numpy(), table[-1, 1:3], atol=0.1)  # XTC keeps 1e-3 nm


def test_path_joins_two_frames(trained, trajectory, tmp_path, capsys):
    output = tmp_path / "path"
    run(
        *("path", trained, "--start", f"{trajectory}:0", "--end", f"{trajectory}:300"),
        *("--points", "12", "-o", output),
    )
    assert (output / "path.png").is_file()
    header, *rows = _rows(output / "path.csv")
    modes = [f"mode_{mode}" for mode in range(N_MODES)]
    assert header == ["point", "log_likelihood_nats", *modes, "phi_deg", "psi_deg"]
    table = _numbers(rows)
    assert table[:, 0].tolist() == list(range(12))
    way = md.load(str(output / "path.pdb"))
    assert (way.n_frames, way.n_atoms) == (12, N_HEAVY)
    frames = md.load(str(trajectory), top=str(trajectory.with_name("topology.pdb")))
    heavy = frames.atom_slice(frames.topology.select("element != H"))
    for point, frame in ((0, 0), (11, 300)):
        assert md.rmsd(way[point], heavy[frame])[0] < 2e-3
        np.testing.assert_allclose(
            [np.sin(np.radians(table[point, -2:])), np.cos(np.radians(table[point, -2:]))],
            _phi_psi(heavy[frame]),
            atol=2e-2,
        )
    assert "log-likelihood on the latent path" in capsys.readouterr().out


def _phi_psi(frame):
    angles = np.array([md.compute_phi(frame)[1][0, 0], md.compute_psi(frame)[1][0, 0]])
    return [np.sin(angles), np.cos(angles)]


def test_demo_runs_through_and_can_be_resumed(tmp_path, capsys):
    output = tmp_path / "demo"
    run("demo", "--scale", "0.005", "-o", output)
    page = (output / "report.html").read_text()
    assert page.count('<img src="data:image/png;base64,') >= 4
    assert "http" not in re.sub(r"<code>.*?</code>", "", page)  # all of it is in the file
    assert page.rstrip().endswith("</html>")
    assert not re.search(r">\s*nan\b", page)
    for name in ("md/trajectory.xtc", "model/config.json", "analysis/report.html", "model/cv.pt"):
        assert (output / name).is_file()
    for name in ("metadynamics/free_energy.png", "metadynamics/colvar.csv", "path/path.csv"):
        assert (output / name).is_file()
    assert str(output / "report.html") in capsys.readouterr().out
    before = content(output / "model")
    (output / "report.html").unlink()
    run("demo", "--scale", "0.005", "-o", output, "--resume")
    assert (output / "report.html").is_file()
    assert content(output / "model") == before


# --- killed -------------------------------------------------------------------------------


def test_a_killed_training_is_resumed_as_if_nothing_had_happened(
    trajectory, tmp_path, refused, capsys
):
    options = ["--steps", "1200", "--layers", "2", "--hidden", "8", "--batch", "64"]
    run("train", trajectory, "-o", tmp_path / "whole", *options)
    killed = tmp_path / "killed"
    process = begin("train", trajectory, "-o", killed, *options)
    assert wait_for((killed / "checkpoint" / "last.ckpt").is_file, process)
    assert kill(process)
    assert not (killed / "config.json").exists()
    line = refused("analyze", killed, trajectory, "-o", tmp_path / "analysis")
    assert "unfinished training" in line
    before = content(killed)
    assert "already holds another run" in refused("train", trajectory, "-o", killed, *options)
    line = refused("train", trajectory, "-o", killed, *options, "--resume", "--seed", "5")
    assert "cannot resume, seed was 0 and is now 5" in line
    assert content(killed) == before
    run("train", trajectory, "-o", killed, *options, "--resume")
    for name in ("config.json", "history.csv", "model.safetensors"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {path.name for path in killed.iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }


def test_a_simulation_is_made_longer_by_resuming(tmp_path, refused):
    folder = tmp_path / "md"
    common = ["simulate", "alanine-dipeptide", "--solvent", "vacuum", "-o", folder]
    common += ["--stride-ps", "0.1"]
    run(*common, "--time-ns", "0.001")
    before = content(folder)
    for option, value in (("--temperature", "310"), ("--stride-ps", "0.2"), ("--seed", "1")):
        line = refused(*common, "--time-ns", "0.002", "--resume", option, value)
        assert re.search(rf"cannot resume, {option[2:].replace('-', '_')}\w* was .* and is", line)
    assert content(folder) == before
    run(*common, "--time-ns", "0.002", "--resume")
    assert len(_rows(folder / "state.csv")) == 1 + 20


# --- bad input ------------------------------------------------------------------------------


@pytest.fixture
def npz(topology, wobble, tmp_path):
    """npz(change): 60 frames of the heavy atoms, changed, beside a topology of their own."""
    frames = wobble(60, seed=4, size=0.01)

    def write(change):
        x = frames.copy()
        changed = change(x)
        np.savez(tmp_path / "frames.npz", positions=x if changed is None else changed)
        md.Trajectory(frames[:1], topology).save_pdb(str(tmp_path / "frames.pdb"))
        return tmp_path / "frames.npz"

    return write


def _refused_without_output(refused, tmp_path, *arguments):
    """The error line; the output folder must not appear and no other file change."""
    before = content(tmp_path)
    line = refused(*arguments, "-o", tmp_path / "output")
    assert not (tmp_path / "output").exists()
    assert content(tmp_path) == before
    return line


def _nan(x):
    x[17, 4, 1] = np.nan


def _infinite(x):
    x[59, 0, 2] = np.inf


def _broken(x):
    x[23, 8:] += [2.3, 0.0, 0.0]


def _repeated(x):
    x[:] = x[0]


def _one_coordinate_fixed(x):
    """Atoms that only breathe along one direction: most coordinates have no variance."""
    x[:] = x[0]
    x[:, :, 0] *= 1.0 + 0.01 * np.arange(60)[:, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, r"frames\.npz: frame 17 has NaN or infinite coordinates at .*\(atom 5\)"),
        (_infinite, r"frames\.npz: frame 59 has NaN or infinite coordinates at .*\(atom 1\)"),
        (_broken, r"frames\.npz: frame 23: .* nm apart, and the file holds no box"),
        (_repeated, r"all 54 training frames are the same structure"),
        (_one_coordinate_fixed, r"21 of 24 internal coordinates have zero variance"),
        (lambda x: x[:3], r"3 frames are too few"),
        (lambda x: x[:0], r"frames\.npz"),
        (lambda x: x[:, :9], r"frames\.npz: has 9 atoms, its topology has 10"),
        (lambda x: np.arange(7.0), r"frames\.npz: shape \(7,\)"),
    ],
    ids=["nan", "infinite", "broken", "repeated", "flat", "few", "none", "atoms", "shape"],
)
def test_bad_coordinates_are_refused(npz, refused, tmp_path, change, message):
    line = _refused_without_output(refused, tmp_path, "train", npz(change), *SMALL)
    assert re.search(message, line), line


def test_collinear_atoms_are_refused(tmp_path, refused):
    """A linear molecule has no frame; all frames are otherwise healthy."""
    topology = md.Topology()
    residue = topology.add_residue("LIN", topology.add_chain())
    atoms = [topology.add_atom(name, md.element.carbon, residue) for name in ("C1", "C2", "C3")]
    topology.add_bond(atoms[0], atoms[1])
    topology.add_bond(atoms[1], atoms[2])
    rng = np.random.default_rng(0)
    stretch = np.cumsum(0.15 + 0.01 * rng.normal(size=(60, 3)), axis=1)
    x = stretch[..., None] * np.array([0.6, 0.0, 0.8])
    np.savez(tmp_path / "line.npz", positions=x)
    md.Trajectory(x[:1], topology).save_pdb(str(tmp_path / "line.pdb"))
    line = _refused_without_output(refused, tmp_path, "train", tmp_path / "line.npz", *SMALL)
    assert "the selected atoms lie on one line" in line


def test_a_missing_trajectory_is_refused(tmp_path, refused):
    line = _refused_without_output(refused, tmp_path, "train", tmp_path / "none.xtc")
    assert "none.xtc: no such trajectory file" in line


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_trajectory_is_refused(md_folder, refused, tmp_path, kept):
    path = md_folder / "trajectory.xtc"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    line = _refused_without_output(refused, tmp_path, "train", path, *SMALL)
    assert "trajectory.xtc: " in line


def test_a_trajectory_without_topology_is_refused(md_folder, refused, tmp_path):
    (md_folder / "topology.pdb").unlink()
    line = _refused_without_output(refused, tmp_path, "train", md_folder / "trajectory.xtc")
    assert "no topology found beside it; name one with --top" in line


def test_a_topology_of_other_atoms_is_refused(trajectory, npz, refused, tmp_path):
    top = npz(lambda x: None).with_suffix(".pdb")
    line = _refused_without_output(refused, tmp_path, "train", trajectory, "--top", top)
    assert re.search(r"trajectory\.xtc: has 22 atoms, its topology has 10: .*--top", line)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ("name CA", r"has 1 atoms, a molecular frame needs at least 3"),
        ("name CA or name CB", r"has 2 atoms"),
        ("resname XYZ", r"has 0 atoms"),
        ("this is no selection (", r"is not an MDTraj selection"),
    ],
)
def test_a_selection_that_carries_no_frame_is_refused(
    trajectory, refused, tmp_path, selection, message
):
    line = _refused_without_output(refused, tmp_path, "train", trajectory, "--atoms", selection)
    assert re.search(message, line)


@pytest.mark.parametrize("kelvin", ["0", "-300", "nan", "inf"])
def test_a_temperature_that_is_not_positive_is_refused(
    trained, simulated, trajectory, refused, tmp_path, kelvin
):
    for arguments in (
        ["train", trajectory],
        ["simulate", "alanine-dipeptide"],
        ["metadynamics", trained, "--system", simulated / "system.xml"],
    ):
        line = _refused_without_output(refused, tmp_path, *arguments, "--temperature", kelvin)
        assert "temperature" in line


def _users_of(model, simulated):
    """The commands that read a model folder."""
    trajectory = simulated / "trajectory.xtc"
    return {
        "analyze": ["analyze", model, trajectory],
        "export": ["export", model],
        "metadynamics": ["metadynamics", model, "--system", simulated / "system.xml"],
        "path": ["path", model, "--start", f"{trajectory}:0", "--end", f"{trajectory}:9"],
    }


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "altered"])
@pytest.mark.parametrize("command", ["analyze", "export", "metadynamics", "path"])
def test_a_damaged_model_folder_is_refused(
    model, simulated, refused, tmp_path, name, damage, command
):
    path = model / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif name == "config.json":
        path.write_text(
            content.decode().replace('"temperature_k": 300.0', '"temperature_k": 310.0')
        )
        assert path.read_bytes() != content
    else:
        content[-5] ^= 1
        path.write_bytes(content)
    arguments = _users_of(model, simulated)[command]
    line = _refused_without_output(refused, tmp_path, *arguments)
    assert name in line


def test_a_folder_that_is_no_model_is_refused(simulated, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty"):
        for arguments in _users_of(folder, simulated).values():
            assert str(folder) in _refused_without_output(refused, tmp_path, *arguments)


def test_modes_that_do_not_exist_are_refused(trained, simulated, refused, tmp_path):
    for command in ("export", "metadynamics", "path"):
        arguments = _users_of(trained, simulated)[command]
        line = _refused_without_output(refused, tmp_path, *arguments, "--modes", "0", "24")
        assert "24" in line
        assert "mode" in line
    arguments = _users_of(trained, simulated)["metadynamics"]
    line = _refused_without_output(refused, tmp_path, *arguments, "--modes", "0", "1", "2", "3")
    assert "metadynamics takes 1 to 3" in line


def test_atoms_outside_of_the_system_are_refused(trained, refused, tmp_path):
    system, topology = openmm.System(), md.Topology()
    residue = topology.add_residue("HEX", topology.add_chain())
    for k in range(6):
        system.addParticle(12.011)
        topology.add_atom(f"C{k}", md.element.carbon, residue)
    (tmp_path / "small.xml").write_text(openmm.XmlSerializer.serialize(system))
    md.Trajectory(np.eye(6, 3)[None], topology).save_pdb(str(tmp_path / "topology.pdb"))
    line = _refused_without_output(
        refused, tmp_path, "metadynamics", trained, "--system", tmp_path / "small.xml"
    )
    assert re.search(r"the system has only 6 atoms", line)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_bad_system_is_refused(trained, md_folder, refused, tmp_path, damage):
    path = md_folder / "system.xml"
    text = path.read_text()
    path.unlink()
    if damage == "cut":
        path.write_text(text[: len(text) // 2])
    elif damage == "other":
        path.write_text("<html></html>")
    line = _refused_without_output(refused, tmp_path, "metadynamics", trained, "--system", path)
    assert "system.xml: " in line


def test_a_trajectory_of_another_molecule_is_refused(trained, npz, refused, tmp_path, topology):
    other = md.Topology()
    residue = other.add_residue("OXY", other.add_chain())
    for k in range(10):
        other.add_atom(f"O{k}", md.element.oxygen, residue)
    path = npz(lambda x: None)
    md.Trajectory(np.load(path)["positions"][:1], other).save_pdb(str(path.with_suffix(".pdb")))
    line = _refused_without_output(refused, tmp_path, "analyze", trained, path)
    assert re.search(r"atom 1 is OXY0-O0 where the model has ACE1-CH3", line)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("{}/trajectory.xtc:400", r"400"),
        ("{}/trajectory.xtc:-1", r"-1"),
        ("{}/trajectory.xtc", r"holds 400 structures; say which, for example .*trajectory\.xtc:0"),
        ("{}/none.xtc:0", r"none\.xtc"),
        ("{}/none.pdb", r"none\.pdb"),
    ],
)
def test_an_end_of_a_path_that_is_not_there_is_refused(
    trained, simulated, refused, tmp_path, start, message
):
    line = _refused_without_output(
        refused,
        tmp_path,
        *("path", trained, "--start", start.format(simulated)),
        *("--end", f"{simulated}/trajectory.xtc:0"),
    )
    assert re.search(message, line), line


@pytest.mark.parametrize("what", ["run", "file"])
def test_an_output_that_is_taken_is_refused_and_left_alone(
    trained, simulated, trajectory, refused, tmp_path, what
):
    output = tmp_path / "output"
    if what == "run":
        output.mkdir()
        (output / "notes.txt").write_text("of another run")
    else:
        output.write_text("a file")
    commands = {
        **_users_of(trained, simulated),
        "simulate": ["simulate", "alanine-dipeptide"],
        "train": ["train", trajectory],
        "demo": ["demo"],
    }
    del commands["export"]
    before = content(tmp_path)
    for arguments in commands.values():
        line = refused(*arguments, "-o", output)
        assert str(output) in line
        assert ("already holds another run" if what == "run" else "is a file") in line
        assert "--output" in line
        if what == "run" and arguments[0] in ("simulate", "train", "metadynamics", "demo"):
            assert "no run to resume" in refused(*arguments, "-o", output, "--resume")
        assert content(tmp_path) == before


def test_an_exported_file_is_not_replaced(model, refused, tmp_path):
    run("export", model)
    before = content(model)
    line = refused("export", model, "--modes", "2")
    assert "cv.pt: exists already: remove it, or give another --output" in line
    assert content(model) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "no command 'trian': did you mean train?"),
        (["train", "a.xtc", "--stepps", "5"], "Unknown option: --stepps. Did you mean --steps?"),
        (["train"], "the argument TRAJ is missing"),
        (["train", "a.xtc", "--steps", "many"], "--steps: 'many' is not a whole number"),
        (["train", "a.xtc", "--steps", "1.5"], "--steps: '1.5' is not a whole number"),
        (["train", "a.xtc", "--steps"], "--steps takes a value"),
        (["--stepps"], "no option --stepps"),
        (["export", "model", "other"], "unexpected argument 'other'"),
        (["metadynamics", "model", "--range", "1"], "--range takes 2 values"),
        (["metadynamics", "model", "--walkers", "0"], "--walkers"),
        (["reweight", "run", "--bins", "721"], "--bins"),
        (["adapt", "--flatten", "1.5"], "--flatten"),
        (["train", "a.xtc", "--steps", "0"], "--steps must be at least 1"),
        (["train", "a.xtc", "--momenta", "none"], "--momenta"),
        (["train", "a.xtc", "--momentum-weight", "-1"], "--momentum-weight"),
        (["train", "a.xtc", "--seed", "-1"], "--seed"),
        (["train", "a.docx"], "a.docx"),
        (["simulate"], "name either a built-in molecule (alanine-dipep"),
        (
            ["simulate", "alanine-dipeptide", "--pdb", "a.pdb"],
            "name either a built-in molecule (alanine-dipep",
        ),
        (["simulate", "benzene"], "'benzene' is not built in"),
        (["simulate", "--pdb", "none.pdb"], "none.pdb: no such PDB file"),
        (["simulate", "alanine-dipeptide", "--solvent", "beer"], "--solvent"),
        (["simulate", "alanine-dipeptide", "--time-ns", "0"], "--time-ns must be positive"),
        (["simulate", "alanine-dipeptide", "--stride-ps", "-1"], "--stride-ps must be positive"),
        (["simulate", "alanine-dipeptide", "--timestep-fs", "0"], "--timestep-fs"),
        (["simulate", "alanine-dipeptide", "--timestep-fs", "nan"], "--timestep-fs"),
        (["simulate", "alanine-dipeptide", "--forcefield", "no.xml"], "--forcefield no.xml"),
        (["simulate", "alanine-dipeptide", "--platform", "Abacus"], "--platform Abacus"),
        (["demo", "--scale", "0"], "--scale must be positive"),
        (["demo", "--scale", "nan"], "--scale must be positive"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = refused(*arguments)
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bias-factor", "1"], "--bias-factor must be above 1"),
        (["--width", "0"], "--width must be positive"),
        (["--range", "1", "1"], "--range"),
        (["--range", "50", "60"], "outside of the grid"),
        (["--time-ns", "-1"], "--time-ns must be positive"),
        (["--pace", "0"], "--pace"),
        (["--backend", "abacus"], "--backend"),
        (["--platform", "Abacus"], "--platform Abacus"),
        (["--top", "none.pdb"], "none.pdb"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bias_that_makes_no_sense_is_refused(
    trained, simulated, refused, tmp_path, arguments, message
):
    line = _refused_without_output(
        refused, tmp_path, *_users_of(trained, simulated)["metadynamics"], *arguments
    )
    assert message in line


def test_weights_that_do_not_fit_are_refused(trajectory, refused, tmp_path):
    path = tmp_path / "weights.npy"
    for weights, message in (
        (np.ones(N_FRAMES - 1), "399"),
        (-np.ones(N_FRAMES), "negative"),
        (np.full(N_FRAMES, np.nan), "NaN"),
        (np.zeros(N_FRAMES), "zero"),
    ):
        np.save(path, weights)
        line = _refused_without_output(
            refused, tmp_path, "train", trajectory, *SMALL, "--weights", path
        )
        assert message in line
    path.write_bytes(b"no numbers")
    line = _refused_without_output(refused, tmp_path, "train", trajectory, "--weights", path)
    assert "weights.npy: not a readable .npy file" in line


def test_the_command_itself_ends_with_status_2(tmp_path):
    """As a shell sees it: nothing on stdout, one line on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "symplectic_cv", "train", "none.xtc"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[-1] == "error: none.xtc: no such trajectory file"
    assert sum(line.startswith("error:") for line in lines) == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_only_the_command_line_uses_the_command_line():
    root = Path(__file__).parents[3]
    outside = {
        str(path.relative_to(root))
        for folder in ("symplectic_cv", "openmm_plugin", "benchmarks", "tutorials")
        for path in (root / folder).rglob("*.py")
        if "symplectic_cv.cli" in path.read_text() and "cli" not in path.relative_to(root).parts
    }
    assert outside <= {"symplectic_cv/__main__.py"}
