"""The base of everything that crosses a wire: frozen, strict, and closed to unknown fields."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

JsonObject = dict[str, Any]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
"""A name of a plugin, an intent, a profile: starts with a letter, at most 64 characters, safe in paths and logs."""


class Model(BaseModel):
    """Frozen and strict: a number is no text, an unknown field is an error, and equal values are equal objects."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", ser_json_inf_nan="null")


class View(Model):
    """What the daemon answers with. Clients tolerate fields that a later version adds, so reading one does too."""

    model_config = ConfigDict(extra="ignore")
