"""A page of the admin that was opened before somebody else changed the row takes nothing back."""

import threading
import time
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from tests.admin import Fields, act, change_url, open_page
from tests.people import PASSWORD, People, client_of

WAIT_SECONDS = 30  # on a busy machine


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def save(browser: Client, path: str, fields: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Post a form; return the errors it was refused with, none if it was saved, and what the new page would post."""
    response = browser.post(path, fields)
    if response.status_code == 302:
        return [], {}
    return [error for errors in response.context["errors"] for error in errors], Fields(
        response.content.decode()
    ).posted


def refusal(*fields: str) -> list[str]:
    """What somebody is told whose page is older than a change of these fields."""
    return [
        f"Somebody else has changed this while your page was open: {' and '.join(fields)}. Nothing is saved yet. The "
        "form now shows the present values, and your own changes; check them and save again."
    ]


def test_a_page_that_nothing_was_changed_behind_is_saved(people: People, browser: Client) -> None:
    for person, name in ((people.student, "profile-0-full_name"), (people.student.profile, "full_name")):
        fields = open_page(browser, change_url(person))
        assert save(browser, change_url(person), fields | {name: f"New {name}"}) == ([], {})
        assert UserProfile.objects.get(user=people.student).full_name == f"New {name}"


@pytest.mark.parametrize("prefix", ["profile-0-", ""])
def test_a_mentor_who_was_assigned_meanwhile_stays(people: People, browser: Client, prefix: str) -> None:
    path = change_url(people.student if prefix else people.student.profile)
    fields = open_page(browser, path) | {f"{prefix}full_name": "Corrected"}
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.trainer.profile)
    errors, shown = save(browser, path, fields)
    assert errors == refusal("Assigned mentor")
    profile = UserProfile.objects.get(user=people.student)
    assert (profile.full_name, profile.mentor) == ("Student", people.trainer.profile)
    assert save(browser, path, shown) == ([], {})  # the same form again: it shows the present mentor
    profile.refresh_from_db()
    assert (profile.full_name, profile.mentor) == ("Corrected", people.trainer.profile)


def test_a_user_who_was_deactivated_meanwhile_stays_so(people: People, browser: Client) -> None:
    path = change_url(people.student)
    fields = open_page(browser, path) | {"email": ["corrected@example.com"]}
    act(client_of(people.admin), "deactivate", people.student)
    errors, shown = save(browser, path, fields)
    assert errors == refusal("Active")
    assert "is_active" not in shown
    assert save(browser, path, shown) == ([], {})
    user = User.objects.get(pk=people.student.pk)
    assert (user.email, user.is_active) == ("corrected@example.com", False)


def test_who_changed_the_same_field_is_told_and_decides(people: People, browser: Client) -> None:
    path = change_url(people.student.profile)
    fields = open_page(browser, path) | {"assigned_mentor": [""]}
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.trainer.profile)
    errors, shown = save(browser, path, fields)
    assert errors == refusal("Assigned mentor")
    assert shown["assigned_mentor"] == [""]
    assert save(browser, path, shown) == ([], {})
    assert UserProfile.objects.get(user=people.student).assigned_mentor is None


def test_permissions_that_were_taken_away_meanwhile_stay_away(people: People, browser: Client) -> None:
    group, *others = [Group.objects.create(name=name) for name in ("one", "two")]
    looking, changing = Permission.objects.filter(codename__in=["view_user", "change_user"]).order_by("-codename")
    people.teacher.groups.set([group])
    people.teacher.user_permissions.set([looking])
    group.permissions.set([looking, changing])
    user_page, group_page = change_url(people.teacher), reverse("admin:auth_group_change", args=[group.pk])
    pages = {path: open_page(browser, path) for path in (user_page, group_page)}
    people.teacher.groups.set(others)
    people.teacher.user_permissions.clear()
    group.permissions.set([looking])
    errors, shown = save(browser, user_page, pages[user_page] | {"email": ["new@example.com"]})
    assert errors == refusal("Groups", "User permissions")
    assert save(browser, user_page, shown) == ([], {})
    assert (list(people.teacher.groups.all()), list(people.teacher.user_permissions.all())) == (others, [])
    errors, shown = save(browser, group_page, pages[group_page] | {"name": ["renamed"]})
    assert errors == refusal("Permissions")
    assert save(browser, group_page, shown) == ([], {})
    group.refresh_from_db()
    assert (group.name, list(group.permissions.all())) == ("renamed", [looking])


def test_a_refused_page_remembers_what_was_there_not_what_was_typed(people: People, browser: Client) -> None:
    group = Group.objects.create(name="one")
    path = change_url(people.teacher)
    fields = open_page(browser, path) | {"groups": [str(group.pk)], "username": ["not / a name"]}
    errors, shown = save(browser, path, fields)
    assert len(errors) == 1
    assert "valid username" in errors[0]
    assert save(browser, path, shown | {"username": ["teacher"]}) == ([], {})
    assert list(people.teacher.groups.all()) == [group]


def test_a_profile_that_was_deleted_meanwhile_is_an_error_of_the_form(people: People, browser: Client) -> None:
    path = change_url(people.stranger)
    fields = open_page(browser, path)
    people.stranger.profile.delete()
    errors, _shown = save(browser, path, fields | {"profile-0-full_name": ["New"]})
    assert errors
    assert not UserProfile.objects.filter(user=people.stranger).exists()


def test_a_new_password_leaves_a_user_deactivated(people: People, browser: Client) -> None:
    path = reverse("admin:auth_user_password_change", args=[people.student.pk])
    fields = open_page(browser, path)
    User.objects.filter(pk=people.student.pk).update(is_active=False)
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    assert browser.post(path, fields | passwords | {"usable_password": "true"}).status_code == 302
    assert not User.objects.get(pk=people.student.pk).is_active


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite lets one transaction write at a time")
@pytest.mark.django_db(transaction=True)
def test_of_two_saves_at_once_the_second_is_told() -> None:
    """The first save holds its locks while the second arrives: the second must judge by what the first has stored."""
    from tests.people import make_people

    people = make_people()
    path = change_url(people.student)
    browser = client_of(people.admin)
    fields = open_page(browser, path) | {"profile-0-full_name": ["Corrected"]}
    answers: list[list[str]] = []

    def second() -> None:
        try:
            answers.append(save(browser, path, fields)[0])
        finally:
            connection.close()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        profile = UserProfile.objects.select_for_update().get(user=people.student)
        profile.role, profile.assigned_mentor = RoleChoices.TEACHER, None
        profile.save()
        thread.start()
        wait_for_lock()
    thread.join(10)
    assert answers == [refusal("Role", "Assigned mentor")]


def wait_for_lock() -> None:
    """Return as soon as somebody waits for a lock of this transaction."""
    deadline = time.monotonic() + WAIT_SECONDS
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)  # for the other thread to come so far
    raise AssertionError("nobody waits")
