"""The objects of `/api/v1/notify/`."""

import msgspec


class PushKeyBody(msgspec.Struct, frozen=True):
    """The key that `PushManager.subscribe` takes as `applicationServerKey`, in base64url."""

    public_key: str


class SubscriptionKeys(msgspec.Struct, frozen=True):
    """What payloads for a browser are encrypted with, in base64url."""

    p256dh: str
    auth: str


class PushSubscriptionPost(msgspec.Struct, frozen=True):
    """A browser's `PushSubscription` as JSON; other keys are ignored."""

    endpoint: str
    keys: SubscriptionKeys


class SubscriptionEndpoint(msgspec.Struct, frozen=True):
    """Which subscription it is."""

    endpoint: str
