"""The frame of a file for the native core: its format, its metadata and its own digest.

Neither torch, MDTraj nor OpenMM is needed; `native_file` and `torsion_core` give the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symplectic_cv.errors import ModelError

if TYPE_CHECKING:
    from symplectic_cv.molecule import Molecule

FORMAT = "1"
SUFFIX = ".safetensors"
NO_DIGEST = "0" * 64
"""Replaces the digest while the digest is computed."""


def signed_file(
    tensors: Mapping[str, np.ndarray],
    modes: Sequence[int],
    omega: Sequence[float] | np.ndarray,
    temperature: float,
    molecule: Molecule,
    kind: str | None = None,
) -> bytes:
    """A file of these tensors, with its metadata and its digest.

    Args:
        tensors: The tensors by name, C-contiguous, of the types I64, F64 and F32.
        modes: The numbers of the modes.
        omega: Their frequencies in rad/ps, (n_modes,).
        temperature: The temperature in K.
        molecule: The modelled atoms.
        kind: What the modes are made of; a flow where None.
    """
    from safetensors.numpy import save

    metadata = {
        "format": FORMAT,
        **({} if kind is None else {"kind": kind}),
        "modes": json.dumps([int(mode) for mode in modes]),
        "omega_rad_per_ps": json.dumps([float(value) for value in omega]),
        "temperature_k": repr(float(temperature)),
        "molecule": json.dumps(molecule.to_json()),
        "sha256": NO_DIGEST,
    }
    return sign(_with_metadata(save(dict(tensors)), metadata))


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """A safetensors file with these metadata, in this order.

    The library writes metadata in an order that changes from call to call; the same model is to
    give the same file.
    """
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": metadata, **json.loads(content[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def sign(content: bytes) -> bytes:
    """The file with its own SHA-256 in its metadata, whatever digest it carried before."""
    key = b'"sha256":"'
    start = content.index(key) + len(key)
    blank = content[:start] + NO_DIGEST.encode() + content[start + len(NO_DIGEST) :]
    digest = hashlib.sha256(blank).hexdigest().encode()
    return content[:start] + digest + content[start + len(digest) :]


def read_metadata(content: bytes, name: str) -> dict[str, Any]:
    """Metadata of a file for the core; the molecule as in `Molecule.to_json`.

    Raises:
        ModelError: The content is of no such file; the message calls the file `name`.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        raw = json.loads(content[8 : 8 + length])["__metadata__"]
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}, this version reads {FORMAT}")
        return {
            "modes": [int(mode) for mode in json.loads(raw["modes"])],
            "omega_rad_per_ps": [float(omega) for omega in json.loads(raw["omega_rad_per_ps"])],
            "temperature_k": float(raw["temperature_k"]),
            "molecule": json.loads(raw["molecule"]),
            "sha256": raw["sha256"],
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{name}: truncated, altered, or not a file for the native core ({error!r})"
        ) from error
