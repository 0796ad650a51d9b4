"""The wire format of people."""

from typing import Annotated, Literal

import msgspec

from accounts.models import RoleChoices, User, UserProfile

LanguageCode = Literal["ar", "en"]
Role = Annotated[str, msgspec.Meta(extra_json_schema={"enum": RoleChoices.values})]


class ProfileBody(msgspec.Struct, frozen=True):
    """A person as others see them; `user_id` is the profile's id, a name that clients of v1 know."""

    user_id: int
    full_name: str
    username: str
    email: str
    role: Role


class MeBody(msgspec.Struct, frozen=True):
    """The signed-in user: `id` is the user's; `profile` is null for one without, `mentor` for one who has none now."""

    id: int
    username: str
    email: str
    profile: ProfileBody | None
    mentor: ProfileBody | None
    is_locked: bool
    language: LanguageCode | None
    notify_push: bool
    notify_email: bool


class MeChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What people may change about themselves; what is not given stays. `language`: null for the browser's."""

    language: LanguageCode | msgspec.UnsetType | None = msgspec.UNSET
    notify_push: bool | msgspec.UnsetType = msgspec.UNSET
    notify_email: bool | msgspec.UnsetType = msgspec.UNSET


class CsrfBody(msgspec.Struct, frozen=True, rename="camel"):
    """The token for `X-CSRFToken`."""

    csrf_token: str


class LoginProblem(msgspec.Struct, frozen=True):
    """Why nobody could be signed in: what is wrong with a field, or `detail`."""

    code: Literal["invalid_json", "invalid_request", "wrong_credentials"]
    detail: str | msgspec.UnsetType = msgspec.UNSET
    username: list[str] | msgspec.UnsetType = msgspec.UNSET
    password: list[str] | msgspec.UnsetType = msgspec.UNSET
    non_field_errors: list[str] | msgspec.UnsetType = msgspec.UNSET


def profile_body(profile: UserProfile) -> ProfileBody:
    """Return the wire object of a profile whose user is loaded; of an erased person only the id and the role."""
    user = profile.user
    if user.is_erased:
        return nameless(profile.pk, profile.role)
    return ProfileBody(
        user_id=profile.pk, full_name=profile.full_name, username=user.username, email=user.email, role=profile.role
    )


def nameless(profile_id: int, role: str) -> ProfileBody:
    """Return the wire object of an erased person's profile."""
    return ProfileBody(user_id=profile_id, full_name="", username="", email="", role=role)


def me_body(user: User) -> MeBody:
    """Return the wire object of the signed-in user."""
    profile = getattr(user, "profile", None)
    mentor = profile.mentor if profile else None
    return MeBody(
        id=user.pk,
        username=user.username,
        email=user.email,
        profile=profile_body(profile) if profile else None,
        mentor=profile_body(mentor) if mentor else None,
        is_locked=profile is not None and profile.is_locked,
        language=profile.language if profile else None,
        notify_push=profile.notify_push if profile else True,
        notify_email=profile.notify_email if profile else True,
    )
