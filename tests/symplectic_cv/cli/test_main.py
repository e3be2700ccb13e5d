"""The command line as a whole: help, version, imports, and options that do not exist."""

import functools
import importlib
import re
import shlex
import subprocess
import sys
import typing
from enum import Enum
from pathlib import Path

import pytest
from commands import run

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
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_exist_are_refused(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    line = refused(*arguments)
    assert message in line
    assert not list(tmp_path.iterdir())
