"""What tests ask of a quad mesh, by plain loops over its edges."""

from collections import Counter

import numpy as np


def list_edges(quads: np.ndarray) -> list[tuple[int, int]]:
    """Return every directed edge of every face; a triangle repeats its last index."""
    faces = [list(dict.fromkeys(row)) for row in quads.tolist()]
    return [edge for face in faces for edge in zip(face, face[1:] + face[:1], strict=True)]


def find_open_loops(quads: np.ndarray) -> list[list[int]]:
    """Return the loops of edges that one face has, each as its vertices in order, the longest first."""
    edges = set(list_edges(quads))
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        loop = [next(iter(following))]
        while following[loop[-1]] != loop[0]:
            loop.append(following.pop(loop[-1]))
        following.pop(loop[-1])
        loops.append(loop)
    return sorted(loops, key=len, reverse=True)


def assert_manifold(quads: np.ndarray) -> None:
    """Every edge belongs to at most two faces, which agree about what is outside; no corner is pinched."""
    edges = list_edges(quads)
    assert max(Counter(edges).values()) == 1, "an edge used twice the same way"
    assert max(Counter(tuple(sorted(edge)) for edge in edges).values()) <= 2
    # The faces round a vertex are one fan: their edges opposite it form one path.
    around: dict[int, list[tuple[int, int]]] = {}
    for row in quads.tolist():
        face = list(dict.fromkeys(row))
        for k, vertex in enumerate(face):
            around.setdefault(vertex, []).append((face[(k + 1) % len(face)], face[k - 1]))
    for vertex, links in around.items():
        following = dict(links)
        starts = set(following) - set(following.values())
        assert len(starts) <= 1, f"vertex {vertex} is pinched"
        place = starts.pop() if starts else next(iter(following))
        steps = 0
        while place in following and steps < len(links):
            place, steps = following[place], steps + 1
        assert steps == len(links), f"vertex {vertex} is pinched"


def share_of_quads(quads: np.ndarray) -> float:
    """Return the share of faces with four different corners."""
    return float(np.mean([len(set(row)) == 4 for row in quads.tolist()]))
