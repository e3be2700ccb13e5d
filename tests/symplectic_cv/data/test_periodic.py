"""Molecules made whole across cubic and triclinic boxes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symplectic_cv.data.mdshare import BONDS
from symplectic_cv.data.periodic import (
    BOND_LIMIT,
    JUMP,
    find_broken_link,
    make_whole,
    minimum_image,
    spanning_links,
)

BOXES = {
    "cubic": np.eye(3) * 2.0,
    "triclinic": np.array([[2.0, 0.0, 0.0], [0.6, 1.8, 0.0], [-0.9, 0.7, 1.7]]),
    "truncated octahedron": 2.0
    * np.array([[1.0, 0.0, 0.0], [1 / 3, 0.942809, 0.0], [-1 / 3, 0.471405, 0.816497]]),
}
SHIFTS = np.array(list(itertools.product([-2, -1, 0, 1, 2], repeat=3)))


@pytest.fixture(params=BOXES, name="box")
def fixture_box(request):
    return BOXES[request.param]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(BOXES)))
def test_minimum_image_finds_short_vectors_behind_any_lattice_shift(seed, name):
    box = BOXES[name]
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(20, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    half_height = 0.5 * box.diagonal().min()
    short = direction * rng.uniform(0.0, 0.999 * half_height, size=(20, 1))
    shifted = short + rng.integers(-3, 4, size=(20, 3)) @ box
    np.testing.assert_allclose(minimum_image(shifted, box[None]), short, atol=1e-13)


def test_minimum_image_of_one_box_per_vector(box):
    rng = np.random.default_rng(0)
    short = rng.uniform(-0.4, 0.4, size=(7, 3))
    boxes = box * np.linspace(1.0, 1.3, 7)[:, None, None]
    shifted = short + np.einsum("fk,fkc->fc", rng.integers(-2, 3, size=(7, 3)), boxes)
    np.testing.assert_allclose(minimum_image(shifted, boxes), short, atol=1e-13)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(BOXES)))
def test_a_molecule_in_pieces_is_made_whole(dipeptide, seed, name):
    box = BOXES[name]
    rng = np.random.default_rng(seed)
    whole = dipeptide + rng.normal(scale=0.01, size=(6, 10, 3))
    broken = whole + rng.integers(-2, 3, size=(6, 10, 3)) @ box
    boxes = np.broadcast_to(box, (6, 3, 3))
    links = spanning_links(broken[0], box, list(BONDS))
    mended = make_whole(broken, boxes, links)
    np.testing.assert_allclose(mended[:, links.root], broken[:, links.root], atol=0.0)
    np.testing.assert_allclose(mended - mended[:, :1], whole - whole[:, :1], atol=1e-12)


def test_without_a_box_positions_stay_as_they_are(dipeptide):
    links = spanning_links(dipeptide, None, list(BONDS))
    x = np.stack([dipeptide, dipeptide + 1.0]).astype(np.float32)
    assert np.array_equal(make_whole(x, None, links), x.astype(np.float64))


def test_the_tree_takes_the_bonds_and_visits_parents_first(dipeptide):
    links = spanning_links(dipeptide, None, list(BONDS))
    assert {frozenset(map(int, pair)) for pair in links.pairs} == {frozenset(b) for b in BONDS}
    assert links.bonded.all()
    reached = {links.root}
    for parent, child in links.pairs:
        assert int(parent) in reached
        assert int(child) not in reached
        reached.add(int(child))
    assert reached == set(range(10))


def test_atoms_without_bonds_are_joined_by_their_shortest_links():
    line = np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.9, 0.0, 0.0], [0.5, 0.0, 0.0]])
    links = spanning_links(line, None, [])
    assert {frozenset(map(int, pair)) for pair in links.pairs} == {
        frozenset((0, 1)),
        frozenset((1, 3)),
        frozenset((3, 2)),
    }
    assert not links.bonded.any()


def test_the_path_matrix_adds_links_to_positions(dipeptide):
    links = spanning_links(dipeptide, None, list(BONDS))
    steps = dipeptide[links.pairs[:, 1]] - dipeptide[links.pairs[:, 0]]
    path = links.path_matrix()
    assert set(np.unique(path)) == {0.0, 1.0}
    np.testing.assert_allclose(dipeptide[links.root] + path @ steps, dipeptide, atol=1e-15)


def test_a_broken_bond_is_found_with_its_frame_and_length(dipeptide):
    links = spanning_links(dipeptide, None, list(BONDS))
    typical = np.full(9, 0.15)
    frames = np.stack([dipeptide] * 4)
    assert find_broken_link(frames, links, typical) is None
    frames[2, 9] += [BOND_LIMIT, 0.0, 0.0]
    frames[3, 0] += [5.0, 0.0, 0.0]
    frame, link, length = find_broken_link(frames, links, typical)
    assert frame == 2
    assert set(map(int, links.pairs[link])) == {8, 9}
    assert length == pytest.approx(np.linalg.norm(frames[2, 9] - frames[2, 8]), abs=1e-14)


def test_a_link_without_a_bond_may_stretch_but_not_jump(dipeptide):
    links = spanning_links(dipeptide, None, [])
    steps = dipeptide[links.pairs[:, 1]] - dipeptide[links.pairs[:, 0]]
    typical = np.linalg.norm(steps, axis=-1)
    child = int(links.pairs[-1, 1])  # a leaf: the last atom reached
    stretched = np.stack([dipeptide] * 2)
    stretched[1, child] += [0.6 * JUMP, 0.0, 0.0]
    assert find_broken_link(stretched, links, typical) is None
    stretched[1, child] += [1.0 * JUMP, 0.0, 0.0]
    frame, link, _ = find_broken_link(stretched, links, typical)
    assert (frame, int(links.pairs[link, 1])) == (1, child)


def test_brute_force_agrees_on_the_nearest_image_inside_the_safe_radius(box):
    rng = np.random.default_rng(4)
    images = SHIFTS @ box
    vectors = rng.uniform(-1.0, 1.0, size=(300, 3)) @ box
    nearest = np.linalg.norm(vectors[:, None] + images, axis=-1).min(axis=1)
    safe = nearest < 0.499 * box.diagonal().min()
    assert safe.sum() > 50
    found = np.linalg.norm(minimum_image(vectors, box[None]), axis=-1)
    np.testing.assert_allclose(found[safe], nearest[safe], atol=1e-13)
