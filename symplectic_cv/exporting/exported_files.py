"""The files of an export, found from any one of them."""

from __future__ import annotations

from pathlib import Path

from symplectic_cv.errors import ModelError
from symplectic_cv.exporting.native_format import SUFFIX, read_metadata
from symplectic_cv.exporting.torchscript import stored_metadata
from symplectic_cv.exporting.torsion_file import SUFFIX as TORSION_SUFFIX
from symplectic_cv.exporting.torsion_file import read_torsion_file


def exported_modes(path: str | Path) -> list[int]:
    """The numbers of the modes in an exported file, in its order; 0 is the slowest.

    Raises:
        ModelError: The file cannot be read.
    """
    if Path(path).suffix == TORSION_SUFFIX:
        return read_torsion_file(path).modes
    scripted, core = exported_files(Path(path))
    if core is not None:
        return list(read_metadata(core.read_bytes(), str(core))["modes"])
    assert scripted is not None
    return list(stored_metadata(scripted)["modes"])


def exported_files(path: Path) -> tuple[Path | None, Path | None]:
    """The TorchScript file of an export and the one for the native core, as far as they are there.

    Raises:
        ModelError: Neither is, or they are not of the same export.
    """
    scripted, core = path.with_suffix(".pt"), path.with_suffix(SUFFIX)
    if path.suffix not in (".pt", SUFFIX) or not path.is_file():
        if path.is_file():
            raise ModelError(f"{path}: not a file of `symplectic_cv.export` (cv.pt, cv{SUFFIX})")
        raise ModelError(f"{path}: no such file (`symplectic_cv.export` writes one)")
    if not core.is_file():
        return scripted, None
    if not scripted.is_file():
        return None, core
    known = stored_metadata(scripted).get("core_sha256")
    if known is None:  # of an export that wrote no such file: what lies beside it is another's
        return (scripted, None) if path == scripted else (None, core)
    if known != read_metadata(core.read_bytes(), str(core))["sha256"]:
        raise ModelError(
            f"{core}: not of the same export as {scripted.name}: remove both and export again"
        )
    return scripted, core
