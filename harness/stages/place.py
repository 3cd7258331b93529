"""The paths of a stage's artifacts, and their provenance."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel

from harness.artifacts import closure
from harness.artifacts.provenance import Provenance, digest
from harness.params.models import Released
from harness.params.params import Params
from harness.params.profile import Profile


@dataclass(frozen=True)
class Place:
    """One profile of one params.yaml; paths are relative to the project's root, which is the working folder."""

    params: Params
    profile: str

    @property
    def settings(self) -> Profile:
        """The profile's parameters."""
        return self.params.of(self.profile)

    def path(self, kind: str, *names: str, ending: str = ".safetensors") -> Path:
        """artifacts/<profile>/<kind>/<name>/...<ending>, or <kind><ending> without names."""
        return Path("artifacts", self.profile, *[kind, *names][:-1], [kind, *names][-1] + ending)

    def precision(self, model: str) -> str:
        """How a model's checkpoint keeps its weights: as they are where others released them, in half where they are ours."""
        return "float32" if isinstance(self.params.weights(model, self.profile), Released) else "float16"

    def provenance(
        self,
        module: str,
        parameters: Iterable[object],
        *,
        code: Iterable[str] = (),
        images: str = "",
        weights: str = "",
        inputs: Mapping[str, str] | None = None,
        libraries: Iterable[str] = ("numpy",),
    ) -> Provenance:
        """What makes an artifact of the stage in `module`.

        parameters: everything resolved that the result depends on. code: modules beside the stage's own imports.
        libraries: distributions whose versions can change the numbers; with torch among them the processor's
        instruction set counts too.
        """
        names = sorted(set(libraries))
        machine = platform.machine()
        if "torch" in names:
            import torch

            machine += f" {torch.backends.cpu.get_cpu_capability()}"
        return Provenance(
            profile=self.profile,
            stage=module.rpartition(".")[2],
            parameters=resolved(parameters),
            code=digest({name: closure.code_digest(name) for name in (module, *code)}),
            images=images,
            weights=weights,
            inputs=dict(inputs or {}),
            libraries={name: version(name) for name in names},
            machine=machine,
        )


def resolved(parameters: Iterable[object]) -> str:
    """SHA-256 of parameters with every default filled in."""
    return digest([p.model_dump(mode="json") if isinstance(p, BaseModel) else p for p in parameters])
