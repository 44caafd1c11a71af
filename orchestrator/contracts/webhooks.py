"""Webhooks as clients see them, and what a receiver gets (CONTRACT 5)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, HttpUrl, StringConstraints

from orchestrator.contracts.model import Model, View

SIGNATURE, DELIVERY, WEBHOOK = "X-Orchestrator-Signature", "X-Orchestrator-Delivery", "X-Orchestrator-Webhook"
"""Headers of a delivery: `t=SECONDS,v1=HEX` (see `webhooks.signature`), the event's id, the webhook's id."""


def _plain(url: HttpUrl) -> HttpUrl:
    if url.username is not None or url.password is not None:
        raise ValueError("an address without a name and password in it: deliveries are signed")
    if url.fragment is not None:
        raise ValueError("an address without a fragment")
    return url


Url = Annotated[HttpUrl, Field(strict=False, max_length=2000), AfterValidator(_plain)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class WebhookRequest(Model):
    """Where to tell what. The secret signs what is sent; it is not shown again."""

    url: Url = Field(description="http or https. It is posted to as it stands: redirects are not followed.")
    topics: Annotated[list[Pattern], Field(min_length=1, max_length=50)] = Field(
        description="Topics of events, or patterns of them: `incident.opened`, `command.*`, `>`."
    )
    secret: Annotated[str, StringConstraints(min_length=16, max_length=200)]


class WebhookView(View):
    """A webhook without its secret, and how it fares."""

    id: str
    url: str
    topics: list[str]
    created_at: str
    created_by: str
    state: Literal["ok", "retrying", "resting"] = Field(description="`resting`: left alone after a failure.")
    cursor: int = Field(description="The newest event of the log that is settled for it.")
    delivered: int
    dead: int = Field(description="Events that were given up.")
    next_at: str | None
    fault: str | None
