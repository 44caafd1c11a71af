"""What things cost: tokens and US dollars. Dollars are decimal text on the wire and never binary fractions (X-15)."""

from decimal import ROUND_CEILING, Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, model_validator

from orchestrator.contracts.model import Model

MICRO = Decimal(1_000_000)
MAX_TOKENS = 10**12
MAX_USD = Decimal(10**9)

Usd = Annotated[
    Decimal,
    Field(ge=0, le=MAX_USD, allow_inf_nan=False, strict=False, max_digits=24),
    PlainSerializer(lambda usd: format(usd.normalize(), "f"), return_type=str),
]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]


class Cost(Model):
    """What was, or will be, spent."""

    usd: Usd = Decimal(0)
    tokens: Tokens = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(usd=self.usd + other.usd, tokens=self.tokens + other.tokens)

    @property
    def micros(self) -> int:
        """The dollars in millionths, rounded up: a fraction is not for free."""
        return int((self.usd * MICRO).to_integral_value(ROUND_CEILING))

    @classmethod
    def of(cls, micros: int, tokens: int) -> "Cost":
        """A cost as the store keeps it."""
        return cls(usd=Decimal(micros) / MICRO, tokens=tokens)


class Quota(Model):
    """The most that a key may spend by the hour, day or month of UTC; dollars, tokens or both."""

    usd: Usd | None = None
    tokens: Tokens | None = None
    per: Literal["hour", "day", "month"] = "day"

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.usd is None and self.tokens is None:
            raise ValueError("say `usd`, `tokens` or both")
        return self


class Bound(Model):
    """The most that may be spent; what is absent is not bounded."""

    usd: Usd | None = None
    tokens: Tokens | None = None

    def least(self, *others: "Bound | None") -> "Bound":
        """The effective bound: of each kind the minimum of all that apply (X-15)."""
        every = [self, *(other for other in others if other is not None)]
        return Bound(
            usd=min((one.usd for one in every if one.usd is not None), default=None),
            tokens=min((one.tokens for one in every if one.tokens is not None), default=None),
        )

    def as_row(self) -> dict[str, Any]:
        """As the store keeps it, dollars in millionths, rounded down: a cap never grows."""
        return {
            "cap_micros": None if self.usd is None else int(self.usd * MICRO),
            "cap_tokens": self.tokens,
        }
