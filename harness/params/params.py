"""params.yaml: every parameter of the measurements."""

from __future__ import annotations

from collections.abc import Iterable

from harness.artifacts.errors import InvalidInput, MissingArtifact
from harness.artifacts.strict import Strict
from harness.params.models import FINETUNED, Embeddings, Key, Model, Released, start_of
from harness.params.profile import Architecture, Profile
from harness.params.recipes import AnyRecipe
from harness.params.wording import pick


class Params(Strict):
    """The whole of params.yaml. profile: the name of the one that dvc repro measures, in the file an alias of it."""

    models: dict[Key, Model]
    profiles: dict[Key, Profile]
    profile: Key

    @property
    def references(self) -> list[str]:
        """The models that are references at any profile, in the file's order: those of the paper, and untrained networks."""
        return [name for name in self.models if any(name in profile.references for profile in self.profiles.values())]

    def of(self, profile: str) -> Profile:
        """The named profile; InvalidInput with the nearest name if there is none."""
        return pick(self.profiles, profile, "profiles")

    def model(self, name: str) -> Model:
        """The named model, of a fine-tuned one that it started as; InvalidInput with the nearest name if there is none."""
        return pick(self.models, start_of(name), "models")

    def title(self, name: str) -> str:
        """What figures and tables call a model: "MoCo-v3", "MoCo-v3, run 2" of another run of it, "MAE, fine-tuned"."""
        entry, start = self.model(name), start_of(name)
        if name != start:
            return f"{self.title(start)}, fine-tuned"
        if entry.title is None and entry.replicate_of is not None:
            runs = [entry.replicate_of, *(m for m, other in self.models.items() if other.replicate_of == entry.replicate_of)]
            return f"{self.title(entry.replicate_of)}, run {runs.index(name) + 1}"
        return entry.title or name

    def weights(self, name: str, profile: str) -> AnyRecipe | Released | Embeddings:
        """The origin of the model's weights at the profile; for a fine-tuned model, that of its start."""
        finetuned = self.of(profile).finetuned
        weights = self.model(name).weights
        if name != start_of(name) and start_of(name) not in finetuned:
            what = f"profiles.{profile}.finetuned has {', '.join(finetuned) or 'no model'}"
            raise MissingArtifact("params.yaml", what, next_step=f"add {start_of(name)} to it, and run dvc repro")
        if profile not in weights:
            raise MissingArtifact(
                "params.yaml",
                f"models.{name}.weights has no entry for profile {profile}",
                next_step=f"add models.{name}.weights.{profile}: a recipe to train, or file, layout and sha256",
            )
        return weights[profile]

    def at(self, profile: str) -> list[str]:
        """The models that a profile measures, in its order, fine-tuned ones last."""
        settings = self.of(profile)
        return [*settings.models, *(name + FINETUNED for name in settings.finetuned)]

    def replicates(self, name: str, profile: str) -> list[str]:
        """The model and the other pre-training runs of it that the profile has, in its order."""
        return [other for other in self.of(profile).models if other == name or self.models[other].replicate_of == name]

    def first_runs(self, models: Iterable[str]) -> list[str]:
        """Those of the models, fine-tuned ones too, that are not another pre-training run of a method."""
        return [name for name in models if self.model(name).replicate_of is None]

    def methods(self, profile: str) -> list[str]:
        """The first run of each method of the paper that a profile measures."""
        return [name for name in self.first_runs(self.of(profile).references) if self.model(name).family in ("je", "rec")]

    def compared(self, name: str, profile: str) -> list[str]:
        """The profile's references that a model is compared with.

        A reference itself is compared with those before it and with itself, so that each two of them meet once. Fine-tuned
        references come after those that they started as, and are compared with fine-tuned models alone.
        """
        self.model(name)
        references = self.compared_with(profile, finetuned=name != start_of(name))
        return references[: references.index(name) + 1] if name in references else references

    def comparison(self, a: str, b: str, profile: str) -> tuple[str, str] | None:
        """The model whose artifact has the comparison of the two, then the other one; None where neither has it."""
        return next(((one, other) for one, other in ((a, b), (b, a)) if other in self.compared(one, profile)), None)

    def compared_with(self, profile: str, *, finetuned: bool) -> list[str]:
        """The references of a profile, and for fine-tuned models also the fine-tuned ones of them."""
        settings = self.of(profile)
        tuned = [name + FINETUNED for name in settings.references if finetuned and name in settings.finetuned]
        return [*settings.references, *tuned]

    def architecture(self, name: str, profile: str) -> Architecture:
        """The timm network of a model at a profile. Raises InvalidInput for embeddings, which have none."""
        architecture = self.model(name).architecture
        if architecture is None:
            raise InvalidInput("params.yaml", field=f"models.{name}", seen="embeddings", expected="a model with a network")
        return pick(self.of(profile).architectures, architecture, f"profiles.{profile}.architectures")
