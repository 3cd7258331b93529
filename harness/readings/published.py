"""The numbers that a paper prints, as estimates whose uncertainty is the printed spread or the printed precision.

Two printed numbers are never paired: nothing says which runs or images they had in common.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError
from scipy.special import ndtri

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.strict import Strict
from harness.evidence.estimate import Estimate
from harness.evidence.resampling import FloatArray
from harness.params.wording import nearest

_DRAWS = 2000
# The widened 95 % interval of t(3) ends beyond the outermost of 2000 normal quantiles, that of t(4) within.
_FEWEST = 5

_PRINTED = r"^[+-]?[0-9]+(\.[0-9]+)?$"
_Words = Annotated[str, Field(pattern=r"\S")]


@dataclass(frozen=True)
class Number:
    """One printed number. key: dotted path in the file. decimals: digits printed after the point.

    spread: the printed standard deviation over `runs`; both None where none is printed. quarantined: why not to use it.
    """

    key: str
    value: float
    decimals: int
    spread: float | None
    runs: int | None
    unit: str
    where: str
    quarantined: str | None = None

    @property
    def half_cell(self) -> float:
        """Half the width of the interval of numbers that are printed as this one, in its unit."""
        return 0.5 * 10.0**-self.decimals


@dataclass(frozen=True)
class Published:
    """Printed numbers by key, and the SHA-256 of the file that lists them."""

    numbers: Mapping[str, Number]
    sha256: str

    def number(self, key: str) -> Number:
        """The number as printed. Raises InvalidInput with the nearest keys when there is none."""
        if key not in self.numbers:
            raise InvalidInput("published numbers", field="key", seen=key, expected=nearest(key, self.numbers))
        return self.numbers[key]

    def estimate(self, key: str) -> Estimate:
        """One number. Raises as `combination` does."""
        return self.combination({key: 1.0})

    def difference(self, a: str, b: str) -> Estimate:
        """The first number minus the second, unpaired. Raises as `combination` does, and InvalidInput when a is b."""
        if a == b:
            raise InvalidInput("published numbers", field="difference", seen=f"{a} twice", expected="two numbers")
        return self.combination({a: 1.0, b: -1.0})

    def combination(self, factors: Mapping[str, float]) -> Estimate:
        """The weighted sum of independent numbers, factors by key; with 2000 draws, the same in every process.

        Numbers with a spread contribute its standard error, in quadrature: n is the fewest runs, the unit "runs", and with no
        other parts the 95 % interval is that of t with n - 1 degrees of freedom. A number without a spread lies anywhere in
        the cell of what rounds to it; where there are only such, n is 1 and the unit "printed numbers": the interval then
        says what the printed digits bear, not what another run or other images would give.
        Raises InvalidInput on no factors, a factor that is not finite or 0, an unknown key, a quarantined number, a spread
        from fewer than five runs.
        """
        if not factors or not all(np.isfinite(factor) and factor != 0 for factor in factors.values()):
            raise InvalidInput("published numbers", field="factors", seen=dict(factors), expected="finite numbers other than 0")
        parts = [(self._usable(key), factor) for key, factor in sorted(factors.items())]
        expression = " ".join(f"{factor:+.17g}*{number.key}" for number, factor in parts)
        # In decimals: 76.61 - 76.33 is 0.28, in binary it is less.
        value = float(sum(Decimal(repr(float(factor))) * Decimal(repr(number.value)) for number, factor in parts))
        spreads = [(n.spread, n.runs, factor) for n, factor in parts if n.spread is not None and n.runs is not None]
        n = min((runs for _, runs, _ in spreads), default=1)
        error = float(np.sqrt(sum((factor * spread) ** 2 / runs for spread, runs, factor in spreads)))
        draws = np.full(_DRAWS, value)
        if spreads:
            # Estimate widens by sqrt(n / (n - 1)), as bootstrap draws need it.
            draws += _shuffled(error * np.sqrt((n - 1) / n) * ndtri(_levels()), expression)
        for number, factor in parts:
            if number.spread is None:
                draws += _shuffled(factor * number.half_cell * (2 * _levels() - 1), number.key)
        unit = "runs" if spreads else "printed numbers"
        return Estimate(value, draws, n, unit, f"published/{self.sha256}/{expression}")

    def _usable(self, key: str) -> Number:
        number = self.number(key)
        if number.quarantined:
            seen = f"quarantined: {number.quarantined}"
            raise InvalidInput("published numbers", field=key, seen=seen, expected="a number that the paper bears out")
        if number.runs is not None and number.runs < _FEWEST:
            seen = f"{number.runs} runs"
            raise InvalidInput("published numbers", field=key, seen=seen, expected=f"a spread over at least {_FEWEST} runs")
        return number


def load(path: Path) -> Published:
    """Read printed numbers: TOML tables, nested as deep as their keys need, each with value, unit and where.

    Raises MissingArtifact when there is no file, and InvalidInput for TOML that does not parse or names a key twice, an
    unknown, missing or mistyped field, a value that is not a decimal number, a spread without its runs or the reverse.
    """
    if not path.is_file():
        raise MissingArtifact(path, "there are no published numbers", next_step="name the file that lists them")
    content = path.read_bytes()
    try:
        raw = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(path, field="TOML", seen=error, expected="valid TOML, each key once") from error
    numbers = {key: _number(path, key, entry) for key, entry in _entries(path, raw, ())}
    if not numbers:
        raise InvalidInput(path, field="file", seen="no numbers", expected="at least one")
    return Published(numbers, hashlib.sha256(content).hexdigest())


class _Entry(Strict):
    value: Annotated[str, Field(pattern=_PRINTED)]
    spread: Annotated[str, Field(pattern=_PRINTED)] | None = None
    runs: Annotated[int, Field(ge=2)] | None = None
    unit: _Words
    where: _Words
    quarantined: _Words | None = None


def _entries(path: Path, table: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tables that hold no tables, with their dotted keys."""
    for name, inner in table.items():
        key = ".".join((*at, name))
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise InvalidInput(path, field=key, seen=name, expected="lower-case letters, digits and underscores")
        if not isinstance(inner, dict) or not inner:
            raise InvalidInput(path, field=key, seen=repr(inner), expected="a table with value, unit and where")
        if any(not isinstance(field, dict) for field in inner.values()):
            yield key, inner
        else:
            yield from _entries(path, inner, (*at, name))


def _number(path: Path, key: str, raw: Mapping[str, Any]) -> Number:
    try:
        entry = _Entry.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        unknown = first["type"] == "extra_forbidden"
        expected = nearest(name, _Entry.model_fields) if unknown else first["msg"]
        raise InvalidInput(path, field=f"{key}.{name}", seen=repr(first["input"])[:120], expected=expected) from error
    if (entry.spread is None) != (entry.runs is None):
        seen = f"spread {entry.spread}, runs {entry.runs}"
        raise InvalidInput(path, field=key, seen=seen, expected="both spread and runs, or neither")
    spread = None if entry.spread is None else float(entry.spread)
    if spread is not None and spread <= 0:
        raise InvalidInput(path, field=f"{key}.spread", seen=entry.spread, expected="a positive number")
    decimals = len(entry.value.partition(".")[2])
    return Number(key, float(entry.value), decimals, spread, entry.runs, entry.unit, entry.where, entry.quarantined)


def _levels() -> FloatArray:
    """Levels in (0, 1) at which numpy.quantile of the draws gives back the quantiles of the distribution."""
    steps = np.arange(_DRAWS, dtype=np.float64)
    # Half a step from the ends, where a normal quantile would be infinite.
    steps[[0, -1]] = 0.5, _DRAWS - 1.5
    levels: FloatArray = steps / (_DRAWS - 1)
    return levels


def _shuffled(values: FloatArray, key: str) -> FloatArray:
    """The values in an order that depends on the key alone."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    return np.random.Generator(np.random.PCG64(seed)).permutation(values)
