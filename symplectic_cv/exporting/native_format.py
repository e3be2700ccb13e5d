"""The header of a file for the native core: its format, its metadata and its own digest.

Reading it needs neither torch, MDTraj nor OpenMM; `native_file` writes such files.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from symplectic_cv.errors import ModelError

FORMAT = "1"
SUFFIX = ".safetensors"
NO_DIGEST = "0" * 64
"""Replaces the digest while the digest is computed."""


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
