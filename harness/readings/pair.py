"""Similarity of two models' layers, as estimates: minibatch CKA, and CKA over disjoint subsets of the images.

Blocks count from 0. One pair's CKA is resampled once, over all cells, and every estimate of it reduces those draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.layout import of_type
from harness.artifacts.store import Arrays
from harness.artifacts.tables import TYPES, unpack
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import BLOCKS, CHOOSES, DRAWS, FloatArray, pairing_key
from harness.readings.depth import at_depth, blocks_of
from harness.readings.resampled_cka import ResampledCka, resampled_cka


@dataclass(frozen=True, eq=False)
class Pair:
    """HSIC1 triples of two models of twelve blocks, whose CKA (eq. 2) is resampled over minibatches of images.

    cross: (type, unit, 12, 12), first model's blocks first; self_a, self_b: (type, unit, 12). images: digest of the
    image list; pairs on equal images are paired. pixels_a, pixels_b: HSIC1 with the pixels, shaped as self_a, self_b;
    pixels: (unit,), their own. dead_a, dead_b: (type, 12), layers that do
    not vary over the images. unit: what is resampled. adjusted: whether CKA is net of what the pixels explain. draws: of
    the bootstrap; one is enough where only values are asked for.
    Raises InvalidInput on other shapes, fewer than two units, or a number of blocks other than twelve.
    """

    cross: FloatArray
    self_a: FloatArray
    self_b: FloatArray
    images: str
    pixels_a: FloatArray | None = None
    pixels_b: FloatArray | None = None
    pixels: FloatArray | None = None
    dead_a: NDArray[np.bool_] | None = None
    dead_b: NDArray[np.bool_] | None = None
    names: tuple[str, str] = ("the first model", "the second model")
    types: tuple[str, ...] = TYPES
    unit: str = "minibatches"
    adjusted: bool = False
    draws: int = DRAWS

    def __post_init__(self) -> None:
        t, b = len(self.types), len(BLOCKS)
        k = self.cross.shape[1] if self.cross.ndim == 4 else 0
        one = (t, k, b)
        shapes: dict[str, tuple[int, ...]] = {"cross": (t, k, b, b), "self_a": one, "self_b": one}
        shapes |= {"pixels_a": one, "pixels_b": one, "pixels": (k,), "dead_a": (t, b), "dead_b": (t, b)}
        for field, shape in shapes.items():
            array = getattr(self, field)
            if array is not None and array.shape != shape:
                expected = f"{shape}: {t} types, {k} {self.unit}, {b} blocks"
                raise InvalidInput(self._title, field=field, seen=f"shape {array.shape}", expected=expected)
        if k < 2:
            raise InvalidInput(self._title, field=self.unit, seen=k, expected="at least 2 to resample")

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, names: tuple[str, str] | None = None, transposed: bool = False) -> Self:
        """The pair of a CKA artifact; transposed: with the artifact's second model first.

        Of networks of other depths, the twelve blocks are those at the same share of the depth.
        Raises InvalidInput when the artifact's layers are not those of whole blocks, or of fewer than six.
        """
        a, b = (at_depth(blocks) for blocks in blocks_of(arrays))
        types = unpack(arrays["types"])
        dead_a, dead_b = (
            np.stack([arrays[f"dead_{side}"][of_type(layers, kind)][chosen] for kind in types]) != 0
            for side, chosen, layers in (("a", a, unpack(arrays["layers_a"])), ("b", b, unpack(arrays["layers_b"])))
        )
        pair = cls(
            _cross(arrays)[:, :, a][..., b],
            _wide(arrays, "self_a")[..., a],
            _wide(arrays, "self_b")[..., b],
            arrays.provenance.images,
            pixels_a=_wide(arrays, "pixels_a")[..., a],
            pixels_b=_wide(arrays, "pixels_b")[..., b],
            pixels=_wide(arrays, "pixels"),
            dead_a=dead_a,
            dead_b=dead_b,
            types=tuple(types),
        )
        pair = pair.transposed() if transposed else pair
        return replace(pair, names=names) if names else pair

    @classmethod
    def from_subsets(
        cls, arrays: Arrays, token: str, *, names: tuple[str, str] | None = None, transposed: bool = False
    ) -> Self:
        """CKA of one token's features ("cls" or "gap") after each block, over a SIMILARITY artifact's disjoint subsets.

        Raises MissingArtifact when the two models do not both have the token.
        """
        tokens = unpack(arrays["tokens"])
        if token not in tokens:
            what = f"features of the {token.upper()} token: both have {', '.join(tokens)}"
            title = f"CKA of {' and '.join(names or ('two models',))}"
            raise MissingArtifact(title, what, next_step="compare what both have")
        cross, own_a, own_b = (
            values[[tokens.index(token)]] for values in (_cross(arrays), _wide(arrays, "self_a"), _wide(arrays, "self_b"))
        )
        a, b = (at_depth(blocks) for blocks in blocks_of(arrays))
        cross, own_a, own_b = cross[:, :, a][..., b], own_a[..., a], own_b[..., b]
        pair = cls(cross, own_a, own_b, arrays.provenance.images, types=(token,), unit="subsets")
        pair = pair.transposed() if transposed else pair
        return replace(pair, names=names) if names else pair

    def transposed(self) -> Self:
        """The same pair with the other model first."""
        return replace(
            self,
            cross=self.cross.swapaxes(2, 3),
            self_a=self.self_b,
            self_b=self.self_a,
            pixels_a=self.pixels_b,
            pixels_b=self.pixels_a,
            dead_a=self.dead_b,
            dead_b=self.dead_a,
            names=(self.names[1], self.names[0]),
        )

    def like(self, other: Self) -> Self:
        """The pair over the layer types that another has as well; a ResNet has but its blocks' outputs."""
        kept = [i for i, kind in enumerate(self.types) if kind in other.types]
        if len(kept) == len(self.types):
            return self
        narrow = {
            name: array[kept]
            for name in ("cross", "self_a", "self_b", "pixels_a", "pixels_b", "dead_a", "dead_b")
            if (array := getattr(self, name)) is not None
        }
        return replace(self, **narrow, types=tuple(self.types[i] for i in kept))

    def deconfounded(self) -> Self:
        """CKA net of the pixels (Cui et al., 2022): each layer's similarity structure less its regression on the input's.

        With E over minibatches and p for pixels: cross = E[kl] - E[kp] E[lp] / E[pp], self = E[kk] - E[kp]^2 / E[pp].
        """
        if self.pixels is None or self.pixels_a is None or self.pixels_b is None:
            raise InvalidInput(self._title, field="pixels", seen="none", expected="HSIC1 with the pixels")
        return replace(self, adjusted=True)

    def same_depth(self, blocks: Sequence[int] = BLOCKS, types: Sequence[str] | None = None) -> Estimate:
        """Mean CKA of layers of one type at one depth, over the types and blocks."""
        resampled, which = self._at_same_depth, self._types(types)
        self._refuse_dead(resampled, which, blocks, blocks)
        return self._estimate(_chosen(resampled.cka, which, blocks).mean(axis=(1, 2)))

    def cells(
        self, rows: Sequence[int] = BLOCKS, columns: Sequence[int] = BLOCKS, types: Sequence[str] | None = None
    ) -> Estimate:
        """Mean CKA of the first model's blocks (rows) with the second's (columns), within each type."""
        return self.statistic(lambda cka: cka.mean(axis=(1, 2, 3)), types, rows, columns)

    def at_distances(self, distances: Sequence[int], types: Sequence[str] | None = None) -> Estimate:
        """Mean CKA of layers of one type that are so many blocks apart, either way, over the types and pairs of blocks."""
        depth = np.arange(len(BLOCKS))
        wanted = np.isin(abs(depth[:, None] - depth), distances)
        return self.statistic(lambda cka: cka[:, :, wanted].mean(axis=(1, 2)), types)

    def each_cell(self, rows: Sequence[int], kind: str) -> list[Estimate]:
        """CKA of each of the first model's blocks (rows) with each block of the second, in layers of one type."""
        return [self.cells([row], [column], [kind]) for row in rows for column in BLOCKS]

    def split(self) -> tuple[Self, Self]:
        """Every fourth unit, to choose a cell on, and the others, to judge it on."""
        chooses = np.arange(self.cross.shape[1]) % CHOOSES == 0
        return self._part(chooses, "choose"), self._part(~chooses, "judge")

    def row_matches(self, rows: Sequence[int], within: int = 1, types: Sequence[str] | None = None) -> Estimate:
        """Share of the rows whose most similar layer of the same type lies at most `within` blocks away."""
        depth = np.asarray(rows)
        return self.statistic(lambda cka: (abs(cka.argmax(axis=3) - depth) <= within).mean(axis=(1, 2)), types, rows)

    def statistic(
        self,
        reduce: Callable[[FloatArray], FloatArray],
        types: Sequence[str] | None = None,
        rows: Sequence[int] = BLOCKS,
        columns: Sequence[int] = BLOCKS,
    ) -> Estimate:
        """Any statistic of the cells asked for.

        reduce: CKA (r, type, row, column) -> (r,), each resample by itself. types: all by default.
        Raises InvalidInput on a dead layer among the cells asked for.
        """
        resampled, which = self._resampled, self._types(types)
        self._refuse_dead(resampled, which, rows, columns)
        return self._estimate(reduce(_chosen(resampled.cka, which, rows, columns)))

    def _types(self, types: Sequence[str] | None) -> list[int]:
        kinds = self.types if types is None else tuple(types)
        unknown = [kind for kind in kinds if kind not in self.types]
        if unknown or not kinds:
            raise InvalidInput(self._title, field="types", seen=unknown or "none", expected=f"some of {', '.join(self.types)}")
        return [self.types.index(kind) for kind in kinds]

    def _refuse_dead(self, resampled: ResampledCka, which: Sequence[int], rows: Sequence[int], columns: Sequence[int]) -> None:
        sides = [(resampled.undefined_a, self.dead_a, rows), (resampled.undefined_b, self.dead_b, columns)]
        for name, (undefined, dead, blocks) in zip(self.names, sides, strict=True):
            for t, block in ((t, block) for t in which for block in blocks if undefined[t, block]):
                flagged = dead is not None and dead[t, block]
                seen = "does not vary over the images" if flagged else "its self-HSIC is not positive in every resample"
                field = f"{self.types[t]} of block {block} of {name}"
                raise InvalidInput(self._title, field=field, seen=f"dead layer: {seen}", expected="activations that vary")

    def _estimate(self, values: FloatArray) -> Estimate:
        n, last = self.cross.shape[1], 1 + self.draws
        if values.shape != (last + n,):
            raise InvalidInput(self._title, field="statistic", seen=f"shape {values.shape}", expected=f"({last + n},)")
        key = pairing_key(self.images, self.unit, n, self.draws)
        return Estimate(float(values[0]), values[1:last], n, self.unit, key, values[last:])

    def _part(self, units: NDArray[np.bool_], name: str) -> Self:
        return replace(
            self,
            cross=self.cross[:, units],
            self_a=self.self_a[:, units],
            self_b=self.self_b[:, units],
            images=f"{self.images}/{name}",
            pixels_a=None if self.pixels_a is None else self.pixels_a[:, units],
            pixels_b=None if self.pixels_b is None else self.pixels_b[:, units],
            pixels=None if self.pixels is None else self.pixels[units],
        )

    @cached_property
    def _resampled(self) -> ResampledCka:
        return self._resample(same_depth=False)

    @cached_property
    def _at_same_depth(self) -> ResampledCka:
        return self._resample(same_depth=True)

    def _resample(self, *, same_depth: bool) -> ResampledCka:
        pixels = (self.pixels, self.pixels_a, self.pixels_b)
        found = None if not self.adjusted or any(part is None for part in pixels) else pixels
        dead = (self.dead_a, self.dead_b)
        own = (self.cross, self.self_a, self.self_b)
        return resampled_cka(*own, found, dead, self.draws, self._title, same_depth=same_depth)

    @property
    def _title(self) -> str:
        return f"CKA of {self.names[0]} and {self.names[1]}"


# Two models' names to what is known of their similarity.
Pairs = Callable[[str, str], Pair]


def _chosen(cka: FloatArray, *indices: Sequence[int]) -> FloatArray:
    """The cells at these indices of each axis but the first; neighbouring indices are not copied."""
    for axis, wanted in enumerate(indices, start=1):
        first, last = wanted[0], wanted[-1]
        if list(wanted) == list(range(first, last + 1)):
            cka = cka[(slice(None),) * axis + (slice(first, last + 1),)]
        else:
            cka = np.take(cka, wanted, axis)
    return cka


def _wide(arrays: Arrays, name: str) -> FloatArray:
    return np.asarray(arrays[name], np.float64)


def _cross(arrays: Arrays) -> FloatArray:
    """HSIC1 between layers in each unit, (type, unit, a, b), of which CKA and SIMILARITY artifacts keep the CKA."""
    scale = np.sqrt(_wide(arrays, "self_a"))[..., :, None] * np.sqrt(_wide(arrays, "self_b"))[..., None, :]
    cross: FloatArray = _wide(arrays, "each") * scale
    return cross
