"""What the commands that bias modes in OpenMM share: the backend."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from symplectic_cv.cli.options import option


class Backend(str, Enum):
    AUTO = "auto"
    NATIVE = "native"
    TORCHFORCE = "torchforce"
    PYTHON = "python"


BackendOption = Annotated[Backend, option("--backend", help="How OpenMM evaluates the modes.")]
