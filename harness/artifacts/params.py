"""The shape of every parameter: frozen, strictly typed, and closed to keys it does not know."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base of all parameters: an unknown key or a value of another type is an error, never a guess."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
