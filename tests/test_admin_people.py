"""Users in the admin: search, roles and mentors, deactivation instead of deletion."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.admin_deletion import WHY_NOT_DELETED
from accounts.models import RoleChoices, User, UserProfile
from chat.models import Conversation
from tests.admin import CONVERSATIONS, MESSAGES, USERS, act, change_url, rows, told
from tests.people import PASSWORD, People, client_of, conversation_of, make_user, say
from tests.queries import recorded_queries


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def test_users_are_listed_with_role_and_mentor(people: People, browser: Client) -> None:
    assert rows(browser, USERS) == [
        ["admin", "-", "-", "-", "True", "-"],
        ["other_student", "Other_Student", "Student", "Trainer", "True", "-"],
        ["stranger", "Stranger", "Student", "-", "True", "-"],
        ["student", "Student", "Student", "Teacher", "True", "-"],
        ["teacher", "Teacher", "Teacher", "-", "True", "-"],
        ["trainer", "Trainer", "Trainer", "-", "True", "-"],
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"q": "other_student@example"}, ["other_student"]),
        ({"q": "Teach"}, ["teacher"]),
        ({"profile__role__exact": "STUDENT"}, ["other_student", "stranger", "student"]),
        (
            {"profile__role__exact": "STUDENT", "profile__assigned_mentor__isempty": "1"},
            ["stranger"],
        ),
        ({"is_staff__exact": "1"}, ["admin"]),
    ],
)
def test_users_are_found_by_name_address_role_and_missing_mentor(
    people: People, browser: Client, query: dict[str, str], names: list[str]
) -> None:
    assert [row[0] for row in rows(browser, USERS, query)] == names


def test_the_list_of_users_costs_the_same_for_any_number(people: People, browser: Client) -> None:
    def cost() -> int:
        with recorded_queries() as queries:
            rows(browser, USERS)
        return len(queries)

    few = cost()
    for number in range(20):
        make_user(f"extra{number}", RoleChoices.STUDENT, mentor=people.teacher)
    assert cost() == few <= 6


def user_form(user: User | None = None, **profile: Any) -> dict[str, Any]:
    """What the user's page posts: no change but of the profile."""
    fields: dict[str, Any] = {
        "profile-TOTAL_FORMS": 1,
        "profile-INITIAL_FORMS": 1 if user else 0,
        "profile-MIN_NUM_FORMS": 0,
        "profile-MAX_NUM_FORMS": 1,
        "profile-0-id": user.profile.pk if user else "",
        "profile-0-user": user.pk if user else "",
        "profile-0-full_name": user.profile.full_name if user else "",
        "profile-0-role": user.profile.role if user else "STUDENT",
        "profile-0-assigned_mentor": (user.profile.assigned_mentor_id or "") if user else "",
    }
    if user:
        fields |= {
            "username": user.username,
            "email": user.email,
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
        }
    return fields | {f"profile-0-{name}": value for name, value in profile.items()}


def test_a_mentor_is_assigned_on_the_users_page(people: People, browser: Client) -> None:
    page = browser.get(change_url(people.stranger)).content.decode()
    assert not re.search(r"(add|delete)_id_profile-0-assigned_mentor", page)
    assert re.search(r'<select name="profile-0-assigned_mentor"[^>]*data-ajax--url="/admin/autocomplete/"', page)
    posted = user_form(people.stranger, assigned_mentor=people.trainer.profile.pk)
    assert browser.post(change_url(people.stranger), posted).status_code == 302
    assert UserProfile.objects.get(user=people.stranger).assigned_mentor == people.trainer.profile


def test_only_teachers_and_trainers_are_offered_as_mentors(people: People, browser: Client) -> None:
    def offered(term: str) -> list[str]:
        query = {"app_label": "accounts", "model_name": "userprofile", "field_name": "assigned_mentor", "term": term}
        return [found["text"] for found in browser.get("/admin/autocomplete/", query).json()["results"]]

    assert offered("") == ["Teacher", "Trainer"]
    assert offered("trainer@example.com") == ["Trainer"]
    assert offered("stranger") == []


@pytest.mark.parametrize(
    ("who", "profile", "error"),
    [
        ("stranger", {"assigned_mentor": "other_student"}, "That choice is not one of the available choices."),
        ("stranger", {"assigned_mentor": "stranger"}, "That choice is not one of the available choices."),
        ("trainer", {"assigned_mentor": "teacher"}, "Only students have a mentor."),
        ("student", {"role": "TEACHER"}, "Only students have a mentor."),
    ],
)
def test_a_user_who_is_no_mentor_cannot_be_assigned(
    people: People, browser: Client, who: str, profile: dict[str, str], error: str
) -> None:
    user: User = getattr(people, who)
    before = UserProfile.objects.filter(user=user).values().get()
    given = {
        key: getattr(people, value).profile.pk if hasattr(people, value) else value for key, value in profile.items()
    }
    response = browser.post(change_url(user), user_form(user, **given))
    assert response.status_code == 200
    assert error in str(response.context["errors"])
    assert UserProfile.objects.filter(user=user).values().get() == before


def test_a_new_user_gets_a_profile_with_defaults(people: People, browser: Client) -> None:
    posted = user_form() | {
        "username": "newcomer",
        "email": "newcomer@example.com",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    response = browser.post(reverse("admin:accounts_user_add"), posted)
    assert response.status_code == 302, response.context["errors"]
    newcomer = User.objects.get(username="newcomer")
    assert (newcomer.profile.role, newcomer.email) == ("STUDENT", "newcomer@example.com")
    assert newcomer.check_password(PASSWORD)


def test_a_name_and_an_address_are_stored_without_what_was_pasted_with_them(people: People, browser: Client) -> None:
    pasted = {"username": "\u200f\ufeffnew\uff43omer\u200b", "email": "\u202anewcomer@example.com\u202c\xa0"}
    posted = user_form() | pasted | {"usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    response = browser.post(reverse("admin:accounts_user_add"), posted)
    assert response.status_code == 302, response.context["errors"]
    newcomer = User.objects.get(username="newcomer")
    assert newcomer.email == "newcomer@example.com"
    posted = user_form(newcomer) | pasted | {"username": "\u2068renamed\u2069"}
    assert browser.post(change_url(newcomer), posted).status_code == 302
    assert User.objects.filter(username="renamed", email="newcomer@example.com").exists()
    assert User.objects.create_user(" \u200fame\u0301lie\u200f").username == "am\xe9lie"


def test_saving_a_user_without_profile_creates_none(people: People, browser: Client) -> None:
    assert browser.get(change_url(people.admin)).status_code == 200
    posted = user_form() | {
        "profile-TOTAL_FORMS": 0,
        "username": "admin",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
    }
    assert browser.post(change_url(people.admin), posted).status_code == 302
    assert not UserProfile.objects.filter(user=people.admin).exists()


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_a_user_with_messages_cannot_be_deleted(people: People, browser: Client, who: str) -> None:
    say(people.conversation, people.student, "hello")
    user: User = getattr(people, who)
    for person in (user, user.profile):
        page = browser.get(change_url(person)).content.decode()
        assert "deletelink" not in page
        assert str(WHY_NOT_DELETED) in page
        for method in (browser.get, browser.post):
            response = method(change_url(person).replace("/change/", "/delete/"), {"post": "yes"})
            assert (response.status_code, response.headers["Location"]) == (302, change_url(person))
            assert str(WHY_NOT_DELETED) in told(response)
    assert User.objects.filter(pk=user.pk).exists()


def test_deleting_several_users_fails_if_one_has_messages(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "hello")
    response = act(browser, "delete_selected", people.student, people.teacher, people.stranger, post="yes")
    assert told(response) == [f"2 of the selected people must stay. {WHY_NOT_DELETED}"]
    assert User.objects.count() == 6
    profiles = reverse("admin:accounts_userprofile_changelist")
    response = act(browser, "delete_selected", people.student.profile, path=profiles, post="yes")
    assert told(response)[-1:] == [f"1 of the selected people must stay. {WHY_NOT_DELETED}"]
    assert UserProfile.objects.count() == 5


def test_a_user_with_admin_log_entries_cannot_be_deleted(people: People, browser: Client) -> None:
    helper = make_user("helper", None, is_staff=True, is_superuser=True)
    url = change_url(helper).replace("/change/", "/delete/")
    assert browser.get(url).status_code == 200
    act(client_of(helper), "deactivate", people.stranger)
    assert str(WHY_NOT_DELETED) in told(browser.post(url, {"post": "yes"}))
    response = act(browser, "delete_selected", helper, post="yes")
    assert told(response)[-1:] == [f"1 of the selected people must stay. {WHY_NOT_DELETED}"]
    assert LogEntry.objects.get(user=helper).object_id == str(people.stranger.pk)
    act(browser, "deactivate", helper)
    assert LogEntry.objects.filter(user=helper).exists()
    assert client_of(helper).get(USERS).status_code == 302


def test_a_user_without_messages_can_be_deleted(people: People, browser: Client) -> None:
    conversation_of(people.student, people.teacher)
    assert "deletelink" in browser.get(change_url(people.student)).content.decode()
    response = browser.post(change_url(people.student).replace("/change/", "/delete/"), {"post": "yes"})
    assert (response.status_code, response.headers["Location"]) == (302, USERS)
    response = act(browser, "delete_selected", people.stranger, people.other_student, post="yes")
    assert told(response)[-1] == "Successfully deleted 2 users."
    assert set(User.objects.values_list("username", flat=True)) == {"admin", "teacher", "trainer"}
    assert Conversation.objects.count() == 0


def test_the_delete_check_does_not_read_messages(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "hello")
    with recorded_queries() as queries:
        act(browser, "delete_selected", people.student, post="yes")
        browser.get(change_url(people.student).replace("/change/", "/delete/"))
    assert not [query for query in queries if "chat_message" in query]


def test_users_can_be_deactivated_and_activated_except_oneself(people: People, browser: Client) -> None:
    response = act(browser, "deactivate", people.student, people.teacher, people.admin)
    assert told(response) == ["You cannot deactivate yourself.", "2 users deactivated."]
    assert set(User.objects.filter(is_active=False)) == {people.student, people.teacher}
    response = act(browser, "activate", people.student, people.teacher, people.stranger)
    assert told(response)[-1] == "2 users activated."
    assert not User.objects.filter(is_active=False).exists()
    history = browser.get(change_url(people.student).replace("/change/", "/history/")).content.decode()
    assert history.count("Changed Active.") == 2


def test_deactivation_is_published_for_each_user(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    from chat.bus import signals
    from chat.bus.events import AccessChanged

    announced: list[object] = []
    monkeypatch.setattr(signals, "publish", announced.append)
    with django_capture_on_commit_callbacks(execute=True):
        act(browser, "deactivate", people.student, people.teacher)
    assert announced == [AccessChanged(people.student.pk), AccessChanged(people.teacher.pk)]


def test_only_staff_with_the_permission_may_act(people: People) -> None:
    assert client_of(people.teacher).get(USERS).status_code == 302
    helper = make_user("helper", None, is_staff=True)
    assert client_of(helper).get(USERS).status_code == 403
    helper.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    looking = client_of(helper)
    assert {looking.get(path).status_code for path in (USERS, CONVERSATIONS, MESSAGES, change_url(people.student))} == {
        200
    }
    act(looking, "deactivate", people.student)
    assert looking.post(change_url(people.student), user_form(people.student)).status_code == 403
    assert User.objects.get(pk=people.student.pk).is_active


def test_signing_in_works_by_name_or_address(people: People) -> None:
    for name in ("admin", "admin@example.com"):
        response = Client().post("/admin/login/?next=/admin/", {"username": name, "password": PASSWORD})
        assert (response.status_code, response.headers["Location"]) == (302, "/admin/")
    refused = Client().post("/admin/login/", {"username": "teacher", "password": PASSWORD})
    assert refused.status_code == 200
