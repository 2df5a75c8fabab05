"""What sections of the configuration are made of; the description of a value is its remedy."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1, description="a number in [0, 1]")]
Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number above 0")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number >= 0")]
Place = Annotated[int, Field(ge=0, description="a whole number >= 0")]
Context = Annotated[int, Field(ge=2, description="a whole number of at least 2")]


class Part(BaseModel):
    """A section; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
