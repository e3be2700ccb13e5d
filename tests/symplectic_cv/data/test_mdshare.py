"""The mdshare repository, served from loopback: nothing here asks any other machine."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from symplectic_cv.data import mdshare
from symplectic_cv.data.trajectories import read_trajectories
from symplectic_cv.errors import TrajectoryError

NAME = "alanine-dipeptide-3x250ns-heavy-atom-positions.npz"
N_FRAMES = (30, 20, 25)
BOX_LENGTH = 2.3222  # of the simulations behind the file, nm


class _Quiet(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch):
    """No proxy between this test and its server."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    server.requested = []
    server.folder = folder
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def whole(dipeptide):
    """Three runs of whole molecules that drift through the box, (F, 10, 3)."""
    rng = np.random.default_rng(0)
    return [
        dipeptide + 0.01 * rng.normal(size=(n, 10, 3)) + rng.uniform(0, 5, size=(n, 1, 3))
        for n in N_FRAMES
    ]


@pytest.fixture
def catalogue(tmp_path, server, whole):
    """catalogue(url, md5): a catalogue of the one served file."""
    wrapped = [np.mod(x, BOX_LENGTH).reshape(len(x), 30).astype(np.float32) for x in whole]
    assert any(np.ptp(x.reshape(-1, 10, 3), axis=1).max() > 1.5 for x in wrapped)  # they jump
    file = server.folder / NAME
    np.savez(file, *wrapped)

    def write(url=server.url, md5=None):
        md5 = md5 or hashlib.md5(file.read_bytes()).hexdigest()
        path = tmp_path / "catalogue.yaml"
        path.write_text(
            f"url: {url}\nindex:\n  {NAME}:\n    hash: {md5}\n"
            f"    size: {file.stat().st_size}\ncontainers: {{}}\n"
        )
        return path

    return write


def _read(folder, catalogue, name=NAME):
    return read_trajectories(
        [f"{mdshare.PREFIX}{name}"], mdshare_folder=folder, mdshare_catalogue=catalogue
    )


def test_a_name_is_fetched_and_its_molecules_are_made_whole(tmp_path, server, catalogue, whole):
    folder = tmp_path / "kept"
    data = _read(folder, catalogue())
    assert data.lengths == list(N_FRAMES)
    assert data.molecule.n_atoms == 10
    assert data.molecule.atom_label(4) == "ALA2-CA (atom 5)"
    expected = np.concatenate(whole)
    expected = expected - expected[:, :1]
    found = data.positions - data.positions[:, :1]
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=2e-6)
    assert [file.name for file in folder.iterdir()] == [NAME]
    assert server.requested == [f"/{NAME}"]


def test_a_file_that_is_there_is_not_fetched_again(tmp_path, server, catalogue):
    folder = tmp_path / "kept"
    first = _read(folder, catalogue())
    second = _read(folder, catalogue())
    assert np.array_equal(first.positions, second.positions)
    assert len(server.requested) == 1


def _assert_suggests_simulate(error):
    text = str(error.value)
    assert "\n" not in text
    assert f"mdshare:{NAME}" in text
    assert "`openmm_plugin.simulate`" in text


def test_a_damaged_download_leaves_nothing_behind(tmp_path, catalogue):
    folder = tmp_path / "kept"
    with pytest.raises(TrajectoryError, match="checksum") as error:
        _read(folder, catalogue(md5="0" * 32))
    _assert_suggests_simulate(error)
    assert list(folder.iterdir()) == []


def test_no_server_suggests_to_simulate(tmp_path, server, catalogue):
    folder = tmp_path / "kept"
    path = catalogue()
    server.shutdown()
    server.server_close()  # from here on the port is closed
    with pytest.raises(TrajectoryError, match=f"could not be downloaded from {server.url}") as (
        error
    ):
        _read(folder, path)
    _assert_suggests_simulate(error)
    assert list(folder.iterdir()) == []


def test_a_file_gone_from_the_server_leaves_nothing_behind(tmp_path, server, catalogue):
    path = catalogue()
    (server.folder / NAME).unlink()
    with pytest.raises(TrajectoryError, match="could not be downloaded") as error:
        _read(tmp_path / "kept", path)
    _assert_suggests_simulate(error)
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_unknown_name_shows_known_ones(tmp_path, server, catalogue):
    with pytest.raises(TrajectoryError, match="no such file in the mdshare catalogue") as error:
        _read(tmp_path / "kept", catalogue(), name="alanine-tripeptide.npz")
    assert NAME in str(error.value)
    assert not (tmp_path / "kept").exists()
    assert server.requested == []


def test_the_built_in_topology_is_bonded_as_alanine_dipeptide(topology, dipeptide):
    assert [r.name for r in topology.residues] == ["ACE", "ALA", "NME"]
    assert topology.n_atoms == 10
    assert topology.n_bonds == 9
    lengths = [
        np.linalg.norm(dipeptide[bond.atom1.index] - dipeptide[bond.atom2.index])
        for bond in topology.bonds
    ]
    assert min(lengths) > 0.11
    assert max(lengths) < 0.17
