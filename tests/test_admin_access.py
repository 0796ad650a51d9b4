"""Who may change whom in the admin: nobody reads texts, or gains rights, by changing who is who."""

import logging
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from chat.groups import SUPPORT
from chat.models import AuditEntry, Conversation
from tests.admin import CONVERSATIONS, MESSAGES, PROFILES, USERS, act, change_url, open_page, rows, told
from tests.people import PASSWORD, People, client_of, make_user, say

ALL = ("add", "change", "delete", "view")
EVERYTHING = [f"{action}_{model}" for action in ALL for model in ("user", "userprofile", "group", "conversation")]
PASSWORDS = {"password1": "another-2026", "password2": "another-2026", "usable_password": "true"}


def staff(name: str, *codenames: str, role: RoleChoices | None = None) -> User:
    """A member of staff with these permissions."""
    user = make_user(name, role, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


@pytest.fixture
def helper(people: People) -> User:
    """Staff with every permission on people and groups, and none on messages; a mentor, too."""
    say(people.conversation, people.student, "a secret")
    return staff("helper", *EVERYTHING, role=RoleChoices.TEACHER)


@pytest.fixture
def browser(helper: User) -> Client:
    """The browser of `helper`."""
    return client_of(helper)


def texts_of(user: User) -> set[str]:
    """All texts that this user reads over REST."""
    client = client_of(user)
    paths = ["/api/v1/chat/my-conversation/messages/"]
    paths += [
        f"/api/v1/chat/teacher/conversations/{pk}/messages/" for pk in Conversation.objects.values_list("pk", flat=True)
    ]
    answers = [client.get(path) for path in paths]
    return {
        message["content"] for answer in answers if answer.status_code == 200 for message in answer.json()["results"]
    }


def everything_of(user: User) -> dict[str, Any]:
    """The rows that say who this is, and what they may do."""
    row = User.objects.filter(pk=user.pk).values(
        *[f.name for f in User._meta.concrete_fields if f.name != "last_login"]
    )
    groups = list(User.objects.get(pk=user.pk).groups.values_list("pk", flat=True))
    permissions = sorted(User.objects.get(pk=user.pk).user_permissions.values_list("pk", flat=True))
    return {**row.get(), "groups": groups, "permissions": permissions}


@pytest.mark.parametrize("is_superuser", [False, True])
def test_a_profile_stays_with_its_user(people: People, helper: User, is_superuser: bool) -> None:
    UserProfile.objects.filter(user=helper).delete()
    User.objects.filter(pk=helper.pk).update(is_superuser=is_superuser)
    browser, profile = client_of(helper), people.teacher.profile
    page = change_url(profile)
    assert "user" not in open_page(browser, page)
    posted = open_page(browser, page) | {"user": [str(helper.pk)], "full_name": ["Renamed"]}
    assert browser.post(page, posted).status_code == 302
    profile.refresh_from_db()
    assert (profile.user, profile.full_name) == (people.teacher, "Renamed")
    # Through the page of a user: with the id of somebody else's profile, or with another user for the own one.
    for owner, fields in (
        (people.stranger, {"profile-0-id": [str(profile.pk)]}),
        (people.stranger, {"profile-0-id": [str(profile.pk)], "profile-0-user": [str(helper.pk)]}),
        (people.teacher, {"profile-0-user": [str(helper.pk)]}),
    ):
        answer = browser.post(change_url(owner), open_page(browser, change_url(owner)) | fields)
        assert answer.status_code == 200, fields
    assert UserProfile.objects.get(pk=profile.pk).user == people.teacher
    assert not UserProfile.objects.filter(user=helper).exists()


def test_a_profile_form_of_anybody_refuses_another_user(people: People) -> None:
    profile = people.teacher.profile
    profile.user = people.admin
    with pytest.raises(Exception, match="stays with the user"):
        profile.full_clean()


def test_staff_never_make_themselves_a_mentor(people: People, helper: User, browser: Client) -> None:
    mine = str(helper.profile.pk)
    pages = {change_url(people.student): "profile-0-", change_url(people.student.profile): ""}
    for page, prefix in pages.items():
        answer = browser.post(page, open_page(browser, page) | {f"{prefix}assigned_mentor": [mine]})
        errors = [error for errors in answer.context["errors"] for error in errors]
        assert errors == ["Only a superuser can make you somebody's mentor."]
    assert people.student.profile.mentor == people.teacher.profile
    for page in (change_url(helper), change_url(helper.profile)):
        posted = {"role": ["STUDENT"], "full_name": ["Teacher"], "profile-0-role": ["STUDENT"], "is_active": ["on"]}
        assert browser.post(page, open_page(browser, page) | posted).status_code in {302, 403}
    assert UserProfile.objects.filter(user=helper).values_list("role", "full_name").get() == ("TEACHER", "Helper")
    assert texts_of(helper) == set()


def test_staff_who_are_mentors_may_correct_their_students_names(people: People, helper: User, browser: Client) -> None:
    UserProfile.objects.filter(user=people.stranger).update(assigned_mentor=helper.profile)
    page = change_url(people.stranger)
    assert browser.post(page, open_page(browser, page) | {"profile-0-full_name": ["Corrected"]}).status_code == 302
    profile = UserProfile.objects.get(user=people.stranger)
    assert (profile.full_name, profile.mentor) == ("Corrected", helper.profile)


def test_staff_make_no_profile_for_themselves(people: People, helper: User, browser: Client) -> None:
    helper.profile.delete()
    fields = {"full_name": "Helper", "role": "TEACHER", "user": helper.pk, "assigned_mentor": ""}
    answer = browser.post(reverse("admin:accounts_userprofile_add"), fields)
    assert (answer.status_code, "Select a valid choice" in answer.content.decode()) == (200, True)
    inline = {"profile-TOTAL_FORMS": "1", "profile-INITIAL_FORMS": "0", "profile-0-role": "TEACHER"}
    browser.post(change_url(helper), open_page(browser, change_url(helper)) | inline | {"profile-0-user": helper.pk})
    assert not UserProfile.objects.filter(user=helper).exists()
    fields["user"] = make_user("newcomer", None).pk
    assert browser.post(reverse("admin:accounts_userprofile_add"), fields).status_code == 302


@pytest.mark.parametrize("whose", ["helper", "student", "plain", "admin"])
def test_rights_names_and_addresses_are_for_superusers(
    people: People, helper: User, browser: Client, whose: str
) -> None:
    people.plain = make_user("plain", None)  # type: ignore[attr-defined]
    person = helper if whose == "helper" else getattr(people, whose)
    before = everything_of(person)
    asked = {
        **{name: ["on"] for name in ("is_staff", "is_superuser", "is_active")},
        **{name: ["taken"] for name in ("username", "password", "password1", "password2", "first_name")},
        "email": ["helper-2@example.com"],
        "groups": [str(pk) for pk in Group.objects.values_list("pk", flat=True)],
        "user_permissions": [str(pk) for pk in Permission.objects.values_list("pk", flat=True)],
    }
    answer = browser.get(change_url(person))
    assert not re.search(rf'name="({"|".join(asked.keys() - {"is_active"})})"', answer.content.decode())
    assert "argon2" not in answer.content.decode() and "md5" not in answer.content.decode()
    for query in ("", "?_popup=1", "?_saveasnew=1"):
        browser.post(change_url(person) + query, open_page(browser, change_url(person)) | asked)
    assert everything_of(person) == before
    password_page = reverse("admin:auth_user_password_change", args=[person.pk])
    for method in (browser.get, browser.post):
        assert method(password_page, PASSWORDS).status_code == 403
    assert everything_of(person) == before
    assert User.objects.get(pk=helper.pk).has_perm("chat.view_message") is False


def test_staff_add_no_users_and_change_no_groups(people: People, helper: User, browser: Client) -> None:
    group = Group.objects.create(name="ours")
    helper.groups.add(group)
    right = str(Permission.objects.get(codename="view_message").pk)
    posted = {"name": "ours", "permissions": right, "username": "new", "is_superuser": "on", **PASSWORDS}
    for name in ("user_add", "group_add"):
        for query in ("", "?_popup=1"):
            path = reverse(f"admin:{'auth' if 'group' in name else 'accounts'}_{name}") + query
            assert browser.post(path, posted).status_code == 403
    assert browser.post(change_url(group), posted).status_code == 403
    assert browser.post(change_url(group).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    act(browser, "delete_selected", group, path=reverse("admin:auth_group_changelist"), post="yes")
    assert browser.get(change_url(group)).status_code == 200
    assert (list(group.permissions.all()), User.objects.filter(username="new").count()) == ([], 0)


def test_superusers_are_out_of_reach_of_staff(people: People, browser: Client) -> None:
    profile = UserProfile.objects.create(user=people.admin, full_name="Admin", role=RoleChoices.ADMIN)
    assert told(act(browser, "deactivate", people.admin, people.stranger)) == [
        "Superusers are changed by superusers only.",
        "1 user deactivated.",
    ]
    for person, path in ((people.admin, USERS), (profile, reverse("admin:accounts_userprofile_changelist"))):
        assert browser.post(change_url(person), {"full_name": "x"}).status_code == 403
        assert browser.post(change_url(person).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
        assert act(browser, "delete_selected", person, path=path, post="yes").status_code == 403
    assert User.objects.get(pk=people.admin.pk).is_active
    assert UserProfile.objects.filter(pk=profile.pk).exists()


def test_staff_keep_what_is_harmless(people: People, browser: Client) -> None:
    page = change_url(people.student)
    fields = open_page(browser, page) | {"profile-0-full_name": ["Corrected"]}
    del fields["is_active"]
    assert browser.post(page, fields).status_code == 302
    user = User.objects.get(pk=people.student.pk)
    assert (user.is_active, user.profile.full_name, user.username) == (False, "Corrected", "student")
    assert told(act(browser, "activate", people.student))[-1] == "1 user activated."
    own = {"old_password": PASSWORD, "new_password1": "another-2026", "new_password2": "another-2026"}
    assert browser.post(reverse("admin:password_change"), own).status_code == 302


def test_no_list_tells_letters_of_texts_or_passwords(people: People, browser: Client) -> None:
    message, prefix = "messages__content__startswith", "conversations_as_student__"
    for name, lookups in {
        "accounts_user": ["password__startswith", f"profile__{prefix}{message}", "user_permissions__codename"],
        "accounts_userprofile": ["user__password__startswith", f"{prefix}{message}"],
        "chat_conversation": [
            message,
            "messages__search_text__contains",
            "messages__content__regex",
            "student__user__password__startswith",
        ],
    }.items():
        for lookup in lookups:
            answers = [browser.get(reverse(f"admin:{name}_changelist"), {lookup: text}) for text in ("a", "z")]
            assert [answer.status_code for answer in answers] == [400, 400], lookup


@pytest.mark.parametrize(
    ("name", "lookup"),
    [
        ("chat_report", "reason__startswith"),
        ("chat_report", "note__startswith"),
        ("chat_report", "copies__content__startswith"),
        ("chat_assignment", "note__text__startswith"),
    ],
)
def test_no_list_tells_support_letters_of_reasons_and_notes(people: People, name: str, lookup: str) -> None:
    page = reverse(f"admin:{name}_changelist")
    browser = client_of(member("support"))
    assert browser.get(page).status_code == 200
    assert [browser.get(page, {lookup: text}).status_code for text in ("a", "z")] == [400, 400]


def test_each_change_of_who_is_who_is_recorded_without_secrets(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    browser, student = client_of(people.admin), people.student
    with caplog.at_level(logging.INFO, "accounts.admin_base"):
        page = change_url(student)
        fields = {"email": ["secret@example.com"], "username": ["renamed"], "is_staff": ["on"]}
        assert browser.post(page, open_page(browser, page) | fields).status_code == 302
        path = reverse("admin:auth_user_password_change", args=[student.pk])
        assert browser.post(path, PASSWORDS).status_code == 302
    admin = people.admin.pk
    assert caplog.messages == [
        f"user {admin} changed ['Username', 'Email address', 'Staff status'] of user {student.pk}",
        f"user {admin} changed ['password'] of user {student.pk}",
    ]
    entries = LogEntry.objects.order_by("pk")
    assert [(entry.user_id, entry.object_id, entry.get_change_message()) for entry in entries] == [
        (admin, str(student.pk), "Changed Username, Email address and Staff status."),
        (admin, str(student.pk), "Changed password."),
    ]
    assert not any(secret in str(entries.values()) for secret in ("secret@", "another-2026"))


def member(name: str) -> User:
    """A new member of staff in this group."""
    user = make_user(f"a_{name}", None, is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    return user


def test_support_reads_with_a_record_and_changes_nothing(people: People) -> None:
    message = say(people.conversation, people.student, "a secret")[0]
    helper = member("support")
    browser = client_of(helper)
    pages = [people.student, people.student.profile, people.conversation, message]
    assert {browser.get(change_url(row)).status_code for row in pages} == {200}
    assert {browser.post(change_url(row), {"full_name": "x"}).status_code for row in pages} == {403}
    assert [row[4] for row in rows(browser, MESSAGES)] == ["a secret"]
    assert AuditEntry.objects.filter(actor_id=helper.pk, detail=f"messages {message.pk}").count() == 1
    for name in ("chat_auditentry_changelist", "chat_dashboard"):
        assert browser.get(reverse(f"admin:{name}")).status_code == 403
    for path in (USERS, PROFILES, CONVERSATIONS, MESSAGES):
        assert "action" not in open_page(browser, path)


def test_leads_assign_mentors_deactivate_and_read_with_a_record(people: People) -> None:
    say(people.conversation, people.student, "a secret")
    lead = member("leads")
    browser, page = client_of(lead), change_url(people.student)
    posted = open_page(browser, page) | {"profile-0-assigned_mentor": [str(people.trainer.profile.pk)]}
    assert browser.post(page, posted).status_code == 302
    assert UserProfile.objects.get(user=people.student).mentor == people.trainer.profile
    assert told(act(browser, "deactivate", people.stranger))[-1] == "1 user deactivated."
    assert [row[4] for row in rows(browser, MESSAGES)] == ["a secret"]
    assert AuditEntry.objects.filter(actor_id=lead.pk, detail__startswith="messages").count() == 1
    assert browser.get(reverse("admin:chat_auditentry_changelist")).status_code == 200


def test_a_migration_restores_the_groups_and_keeps_their_members(people: People) -> None:
    lead = member("leads")
    before = lead.get_all_permissions()
    Group.objects.get(name="leads").permissions.set(Permission.objects.filter(codename="delete_user"))
    Group.objects.get(name="support").delete()
    call_command("migrate", verbosity=0)
    assert User.objects.get(pk=lead.pk).get_all_permissions() == before
    assert member("support").get_all_permissions() == set(SUPPORT)
