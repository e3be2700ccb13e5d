"""Public trajectory files, read and prepared as `train --check` does, as a table for the pages.

The files come from packages that registries carry for tests: MDAnalysisTests and openmmtools. They
are not part of this repository. Each file is checked in a process of its own.

    python benchmarks/public_files.py --folder public -o docs/public_files.md
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tarfile
import traceback
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import symplectic_cv as sc
from symplectic_cv.data.advice import count_of_files, require_enough_frames
from symplectic_cv.data.formats import load_topology, topology_for
from symplectic_cv.errors import DataWarning, UserError

PACKAGES = {"MDAnalysisTests": "MDAnalysisTests==2.10.0", "openmmtools": "openmmtools==0.27.0"}
SECONDS = 300


@dataclass(frozen=True)
class Case:
    """A public file.

    Attributes:
        package: The package that carries it.
        files: The trajectory, and its topology where it needs one, as the ends of their paths.
        what: What it is.
        atoms: The selection of `--atoms`; the default where empty.
    """

    package: str
    files: tuple[str, ...]
    what: str
    atoms: str = ""


A, B = "MDAnalysisTests", "openmmtools"
CA, FEW = "name CA", "resid 0 and name N CA C O"
CASES = (
    Case(A, ("adk_dims.dcd", "adk.psf"), "adenylate kinase, CHARMM DCD with PSF", CA),
    Case(A, ("adk_dims.dcd", "adk.psf"), "the same, too many atoms for its frames"),
    Case(A, ("adk_dims2.dcd", "adk.psf"), "adenylate kinase, second run", CA),
    Case(A, ("adk_gbis_tmd-fast1_NAMD.dcd", "adk_closed_NAMD.psf"), "NAMD DCD", CA),
    Case(A, ("adk_oplsaa.xtc", "adk_oplsaa.gro"), "GROMACS, explicit water, 10 frames", CA),
    Case(
        A,
        ("adk_oplsaa.xtc", "adk_oplsaa.gro"),
        "ten residues",
        "resid 0 and name N CA C O",
    ),
    Case(A, ("adk_oplsaa.trr", "adk_oplsaa.gro"), "TRR of it", "resid 0 and name N CA C"),
    Case(
        A,
        ("adk_oplsaa.xtc", "adk_oplsaa.tpr"),
        "with a TPR as topology",
        "resid 0 and name N CA C",
    ),
    Case(A, ("adk_oplsaa.tpr",), "a TPR as trajectory"),
    Case(A, ("adk_oplsaa.xtc", "adk_closed.pdb"), "a topology of other atoms"),
    Case(A, ("adk_oplsaa.pdb",), "a PDB of one frame"),
    Case(A, ("cobrotoxin.xtc", "cobrotoxin.pdb"), "cobrotoxin in water", CA),
    Case(A, ("cobrotoxin.trr", "cobrotoxin.pdb"), "TRR of it", CA),
    Case(
        A,
        ("tip125_tric_C36.dcd", "tip125_tric_C36.psf"),
        "125 waters, triclinic CHARMM box",
        "all",
    ),
    Case(
        A,
        ("SiN_tric_namd.dcd", "SiN_tric_namd.psf"),
        "silicon nitride, triclinic, NAMD",
        "all",
    ),
    Case(A, ("watdyn.dcd", "watdyn.psf"), "water, CHARMM", "all"),
    Case(A, ("empty.dcd", "adk.psf"), "a DCD without frames"),
    Case(A, ("nmr_neopetrosiamide.pdb",), "20 NMR models of a peptide"),
    Case(
        A,
        ("nmr_neopetrosiamide.pdb",),
        "its Cα atoms of the first residues",
        "name CA and resid 0 to 5",
    ),
    Case(A, ("2r9r-1b.xyz",), "XYZ without a topology"),
    Case(A, ("mini.xyz",), "XYZ, tiny"),
    Case(A, ("two_water_gro_multiframe.gro",), "a GRO of several frames", "all"),
    Case(A, ("martini_dppc_chol_bilayer.gro",), "Martini bilayer, one frame"),
    Case(A, ("cobrotoxin.h5md",), "an H5MD file"),
    Case(A, ("trzfile.trz", "trz_psf.psf"), "a TRZ file of IBIsCO"),
    Case(A, ("argon_npt_compressed.tng",), "a TNG file of argon"),
    Case(A, ("xtc_test_only_10_frame_10_atoms.xtc", "mini.xyz"), "10 atoms, an XYZ as topology"),
    Case(A, ("xyz_random_walk.xtc", "RANDOM_WALK_TOPO.pdb"), "a random walk", "all"),
    Case(A, ("1osm.pdb.gz",), "compressed PDB, one structure"),
    Case(A, ("cryst_then_model.pdb.gz",), "compressed PDB of models"),
    Case(A, ("model_then_cryst.pdb",), "models before the box"),
    Case(A, ("4x8u.pdbx",), "PDBx"),
    Case(A, ("incomplete.pdb",), "an incomplete PDB"),
    Case(A, ("adk_open_10res.pdb",), "ten residues, one structure"),
    Case(
        A,
        ("ace_mbondi3.nc", "ace_mbondi3.parm7"),
        "Amber NetCDF with PARM7",
        "resid 0 1",
    ),
    Case(A, ("ace_tip3p.nc", "ace_tip3p.parm7"), "acetate ion in water", "all"),
    Case(A, ("ache.mdcrd", "ache.prmtop"), "acetylcholine esterase, Amber text", FEW),
    Case(A, ("bala.ncdf", "bala.prmtop"), "blocked alanine, Amber NetCDF"),
    Case(A, ("bala.trj", "bala.prmtop"), "blocked alanine, Amber text"),
    Case(A, ("bala.ncdf", "bala.trj"), "a trajectory as topology"),
    Case(A, ("cpptraj_traj.nc", "cpptraj_traj.prmtop"), "NetCDF of cpptraj"),
    Case(A, ("posfor.ncdf", "posfor.top"), "positions and forces"),
    Case(A, ("test.inpcrd", "bala.prmtop"), "a restart file of other atoms"),
    Case(A, ("tz2.truncoct.nc", "tz2.truncoct.parm7.bz2"), "truncated octahedron, bz2 topology"),
    Case(A, ("ifabp_apo_100mM.dcd", "adk.psf"), "LAMMPS DCD, a topology of other atoms"),
    Case(A, ("chain_dump_1.lammpstrj",), "a LAMMPS dump without a topology"),
    Case(A, ("chain_dump_1.lammpstrj", "chain_initial.data"), "with its data file", "all"),
    Case(A, ("wat.lammpstrj.bz2",), "a compressed LAMMPS dump"),
    Case(B, ("alanine_dipeptide_legacy.nc",), "openmmtools' own NetCDF, no trajectory"),
    Case(B, ("trpzip2.crd", "trpzip2.prmtop"), "an Amber restart file"),
    Case(B, ("T4-lysozyme-L99A-implicit/complex.pdb",), "a complex, one structure"),
    Case(B, ("waterbox/watbox216.pdb",), "water alone"),
    Case(B, ("cb7-b2/complex-vacuum.pdb",), "host and guest, one structure"),
    Case(B, ("amoeba/1AP4_14_wat.pdb",), "a small protein in water"),
)


def fetch(folder: Path) -> None:
    """Downloads the packages and unpacks them, where they are not there yet."""
    for name, pinned in PACKAGES.items():
        target = folder / name
        if target.is_dir():
            continue
        words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
        subprocess.run([*words, pinned], check=True)
        (archive,) = [
            path for path in folder.iterdir() if path.name.lower().startswith(name.lower())
        ]
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(target)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(target, filter="data")


def find(folder: Path, case: Case, name: str) -> Path | None:
    """The file of a package whose path ends so; None where the package has none."""
    found = sorted((folder / case.package).rglob(Path(name).name))
    found = [path for path in found if path.as_posix().endswith(name)]
    return found[0] if found else None


def check(case: Case, paths: list[Path], answer: Any) -> None:
    """Sends 0 or 2, and the lines that a user reads; 1 and the error where it is none of ours."""
    said: list[str] = []
    top = str(paths[1]) if len(paths) > 1 else None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            top_of = topology_for(paths[0]) if top is None else load_topology(paths[1])
            count = count_of_files(paths[:1])
            if count is not None:
                require_enough_frames(count, sc.select_atoms(top_of, case.atoms or None))
            data = sc.read_trajectories(str(paths[0]), top, atoms=case.atoms or None)
            prepared = sc.prepare(data)
        said = [str(w.message) for w in caught if isinstance(w.message, DataWarning)][:1]
        said.append(
            f"{data.n_frames} frames of {data.molecule.n_atoms} atoms, "
            f"{prepared.model.dimension} coordinates"
        )
        answer.send((0, "; ".join(said)))
    except UserError as error:
        answer.send((2, str(error)))
    except BaseException:
        answer.send((1, traceback.format_exc().splitlines()[-1]))


def outcome(case: Case, paths: list[Path]) -> tuple[int, str]:
    """The status and the words of a check in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=check, args=(case, paths, there))
    process.start()
    there.close()
    try:
        status, said = here.recv() if here.poll(SECONDS) else (1, "no answer in time")
    except EOFError:
        status, said = 1, "the process died"
    process.kill()
    process.join()
    for path in paths:
        said = said.replace(str(path), path.name)
    return status, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("public"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/public_files.md"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    fetch(arguments.folder)
    rows, tracebacks = [], 0
    for case in CASES:
        paths = [find(arguments.folder, case, name) for name in case.files]
        there = [path for path in paths if path is not None]
        if len(there) < len(paths):
            print(f"not in {case.package}: {case.files}", file=sys.stderr)
            continue
        status, said = outcome(case, there)
        tracebacks += status not in (0, 2)
        words = " ".join(path.name for path in there)
        words += f" --atoms '{case.atoms}'" if case.atoms else ""
        said = said.replace("|", "\\|")
        rows.append(f"| {case.package} | `{words}` | {case.what} | {status} | {said} |")
        print(rows[-1], file=sys.stderr, flush=True)
    head = [
        "# Public files",
        "",
        f"{len(rows)} public files, read and prepared as `train FILE --top TOPOLOGY --check` does.",
        "Status 0: it can be trained on. Status 2: it is refused, with the reason and the remedy.",
        "`benchmarks/public_files.py` writes this table.",
        "",
        "| package | file, topology, options | what it is | status | what the program says |",
        "|---|---|---|---|---|",
    ]
    arguments.output.write_text("\n".join([*head, *rows]) + "\n")
    sys.exit(1 if tracebacks else 0)


if __name__ == "__main__":
    main()
