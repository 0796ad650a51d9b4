"""Who waits for an answer, and since when: the writer, the models, corrections, and what ends it."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.models import Answer, Conversation, Message
from chat.store import portable_batch
from chat.store.drafts import Draft
from chat.store.waiting import correct_waiting
from tests.holder import Holder
from tests.people import People, conversation_of, make_user, say
from tests.queries import at_once, counted_queries, recorded_queries
from tests.service_results import entry, reassign, store, store_all
from tests.waiting import since_of, stored_waiting, true_waiting

PORTABLY = pytest.mark.parametrize("portably", [False, True])


def write(people: People, *senders: User, portably: bool = False) -> list[Message]:
    """Store a batch of messages by these senders: as the writer does, or the way without a statement of PostgreSQL."""
    drafts = [entry(people.conversation, sender, f"by {sender.pk}") for sender in senders]
    outcomes: dict[Draft, Any] = {}
    if portably:
        portable_batch.store_portably(drafts, outcomes)
    else:
        outcomes = dict(zip(drafts, store(drafts), strict=True))
    ids = [outcome.event.message.id for outcome in outcomes.values()]
    assert len(ids) == len(drafts)
    return list(Message.objects.filter(pk__in=ids).order_by("seq"))


@PORTABLY
def test_a_student_waits_from_their_first_message_until_the_mentor_writes(live_people: People, portably: bool) -> None:
    student, teacher, talk = live_people.student, live_people.teacher, live_people.conversation
    assert since_of(talk) is None
    [first] = write(live_people, student, portably=portably)
    write(live_people, student, student, portably=portably)
    assert stored_waiting(talk) == (first.timestamp, [])
    [answer] = write(live_people, teacher, portably=portably)
    write(live_people, teacher, portably=portably)
    assert stored_waiting(talk) == (None, [(first.timestamp, answer.timestamp)])
    [again] = write(live_people, student, portably=portably)
    assert stored_waiting(talk) == (again.timestamp, [(first.timestamp, answer.timestamp)])


S, T = "student", "teacher"


@PORTABLY
@pytest.mark.parametrize("before", [(), (S,), (T,)])
@pytest.mark.parametrize("senders", [(S, T), (T, S), (S, T, S), (T, S, T), (S, S), (T, T), (T, S, S)])
def test_a_batch_may_hold_messages_of_both_sides(
    live_people: People, portably: bool, before: tuple[str, ...], senders: tuple[str, ...]
) -> None:
    """A mentor's message that is stored in the same moment as the question is no answer to it."""
    for name in before:
        write(live_people, getattr(live_people, name), portably=portably)
    messages = write(live_people, *[getattr(live_people, name) for name in senders], portably=portably)
    since, answers = stored_waiting(live_people.conversation)
    assert (since, answers) == true_waiting(live_people.conversation)
    assert (since is not None) == (senders[-1] == S)
    assert len({message.timestamp for message in messages}) == 1
    assert len(answers) == (before == (S,) and T in senders)


def test_who_waits_costs_the_writer_no_further_statement(live_people: People) -> None:
    """One for PostgreSQL; the portable way has one more where there is an answer."""

    def cost(sender: User) -> int:
        with counted_queries() as queries:
            store([entry(live_people.conversation, sender, "text")])
        return len(queries)

    write(live_people, live_people.student)
    first, second = cost(live_people.student), cost(live_people.student)
    assert first == second
    assert cost(live_people.teacher) == first + (connection.vendor != "postgresql")
    assert cost(live_people.teacher) == first


@pytest.mark.parametrize("sender", ["student", "teacher", "stranger"])
def test_messages_of_the_models_count_as_the_writer_s_do(people: People, sender: str) -> None:
    early = datetime(2026, 3, 4, 5, 6, 7, 89, UTC)
    talk, who = people.conversation, getattr(people, sender)
    fields: dict[str, Any] = {"conversation": talk, "content": "text"}
    Message.objects.create(sender=people.student, timestamp=early, **fields)
    assert stored_waiting(talk) == (early, [])
    [later] = say(talk, who, "later")
    answered = sender == "teacher"
    assert stored_waiting(talk) == ((None, [(early, later.timestamp)]) if answered else (early, []))
    assert stored_waiting(talk) == true_waiting(talk)


def test_saving_a_conversation_leaves_who_waits(people: People) -> None:
    stale = Conversation.objects.get(pk=people.conversation.pk)
    [message] = say(people.conversation, people.student, "one")
    stale.save()
    assert since_of(stale) == message.timestamp


def done(conversation: Conversation) -> None:
    services.mark_done(conversation=conversation)


def test_done_ends_waiting_until_the_student_writes_again(people: People) -> None:
    say(people.conversation, people.student, "one", "two")
    done(people.conversation)
    assert stored_waiting(people.conversation) == (None, [])
    assert correct_waiting([people.conversation.pk]) == []
    [again] = say(people.conversation, people.student, "three")
    assert stored_waiting(people.conversation) == (again.timestamp, [])
    say(people.conversation, people.teacher, "four")
    assert len(stored_waiting(people.conversation)[1]) == 1


def old_release(people: People, *senders: User) -> None:
    """Store messages as a process of the release before does, which knows nothing of who waits."""
    talk = Conversation.objects.get(pk=people.conversation.pk)
    for sender in senders:
        talk.last_seq += 1
        Message.objects.create(conversation=talk, sender=sender, content="by an old process", seq=talk.last_seq)
    Conversation.objects.filter(pk=talk.pk).update(last_seq=talk.last_seq, updated_at=timezone.now())


WRONG: dict[str, Callable[[People], Any]] = {
    "lost": lambda people: Conversation.objects.update(waiting_since=None),
    "another time": lambda people: Conversation.objects.update(waiting_since=timezone.now()),
    "an answer by an old process": lambda people: old_release(people, people.teacher),
    "a question by an old process": lambda people: old_release(people, people.teacher, people.student, people.student),
    "its message was deleted": lambda people: Message.objects.filter(seq=2).delete(),
    "all messages were deleted": lambda people: Message.objects.all().delete(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_corrected_from_the_messages(people: People, wrong: str) -> None:
    said: dict[str, Any] = {"conversation": people.conversation, "content": "text"}
    now = timezone.now()
    for seconds, sender in enumerate((people.teacher, people.student, people.student)):
        Message.objects.create(sender=sender, timestamp=now + timedelta(seconds=seconds), **said)
    say(people.other_conversation, people.other_student, "theirs")
    WRONG[wrong](people)
    Conversation.objects.filter(pk=people.other_conversation.pk).update(
        waiting_since=Message.objects.filter(conversation=people.other_conversation).values("timestamp")[:1]
    )
    pk = people.conversation.pk
    assert since_of(people.conversation) != true_waiting(people.conversation)[0]
    assert correct_waiting([pk, people.other_conversation.pk, pk + 1000]) == [pk]
    assert since_of(people.conversation) == true_waiting(people.conversation)[0]
    assert correct_waiting([pk]) == []


def test_comparing_what_is_right_takes_one_query(people: People) -> None:
    say(people.conversation, people.student, "one")
    say(people.other_conversation, people.trainer, "two")
    ids = [people.conversation.pk, people.other_conversation.pk]
    with recorded_queries() as queries:
        correct_waiting(ids)
    assert len(queries) == 1


def test_a_locked_row_holds_up_no_correction(holder: Holder, live_people: People) -> None:
    others = [live_people.conversation, live_people.other_conversation]
    say(others[0], live_people.student, "one")
    say(others[1], live_people.other_student, "one")
    Conversation.objects.update(waiting_since=None)
    ids = [talk.pk for talk in others]
    holder.lock(others[0])
    assert correct_waiting(ids) == ids[1:]
    holder.commit()
    assert correct_waiting(ids) == ids[:1]


@pytest.mark.parametrize("seed", range(4))
def test_after_any_operations_it_equals_what_the_messages_say(live_people: People, seed: int) -> None:
    """Batches of both sides by either way, models, old processes, "done", other mentors, deletions."""
    dice, talk = random.Random(seed), live_people.conversation
    finished: list[int] = []
    both = [live_people.student, live_people.teacher]

    def finish() -> None:
        done(talk)
        finished.append(Conversation.objects.values_list("last_seq", flat=True).get(pk=talk.pk))

    def delete() -> None:
        newest = talk.messages.order_by("-seq").first()
        if newest is None:
            return
        if newest.sender == live_people.teacher:
            finished.append(newest.seq)  # what it answered stays answered
        newest.delete()
        correct_waiting([talk.pk])

    def by_an_old_process() -> None:
        old_release(live_people, *dice.choices(both, k=2))
        correct_waiting([talk.pk])

    def away_and_back() -> None:
        reassign(live_people.student, live_people.trainer)
        reassign(live_people.student, live_people.teacher)

    steps: list[Callable[[], Any]] = [
        *[lambda: write(live_people, *dice.choices(both, k=dice.randint(1, 4)), portably=dice.random() < 0.3)] * 4,
        lambda: say(talk, dice.choice([*both, live_people.stranger]), "by the models"),
        finish,
        delete,
        by_an_old_process,
        away_and_back,
    ]
    for _ in range(40):
        step = dice.choice(steps)
        step()
        assert since_of(talk) == true_waiting(talk, finished)[0], (seed, step)


def test_both_sides_at_once_agree_with_their_messages(live_people: People) -> None:
    """Several processes write, and the mentor says meanwhile that no reply is needed."""
    talk = live_people.conversation

    def writing(sender: User) -> Callable[[], Any]:
        return lambda: [store_all([entry(talk, sender, f"{number}")]) for number in range(15)]

    def finishing() -> None:
        for _ in range(5):
            done(talk)

    write(live_people, live_people.student)
    write(live_people, live_people.teacher)  # one answer, however the others follow each other
    at_once(*[writing(sender) for sender in (live_people.student, live_people.teacher) * 2], finishing)
    talk.refresh_from_db()
    assert talk.last_seq == 62
    assert correct_waiting([talk.pk]) == []
    assert talk.answered_seq >= talk.messages.filter(sender=live_people.teacher).latest("seq").seq
    unanswered = talk.messages.filter(seq__gt=talk.answered_seq).order_by("seq").first()
    assert talk.waiting_since == (unanswered.timestamp if unanswered else None)
    asked, told = (
        set(talk.messages.filter(sender=sender).values_list("timestamp", flat=True))
        for sender in (live_people.student, live_people.teacher)
    )
    answers = stored_waiting(talk)[1]
    assert answers
    assert all(since in asked and at in told and since < at for since, at in answers)


def test_a_wait_begins_when_its_message_was_sent_even_if_the_clock_went_back(live_people: People) -> None:
    ahead = timezone.now() + timedelta(minutes=5)
    Conversation.objects.filter(pk=live_people.conversation.pk).update(updated_at=ahead)
    write(live_people, live_people.student)
    assert since_of(live_people.conversation) == ahead


def test_nobody_is_shown_waiting_where_nobody_could_answer(people: People) -> None:
    [message] = say(people.conversation, people.student, "one")
    shown = [message.timestamp]
    for mentor in (None, people.trainer, people.teacher):
        reassign(people.student, mentor)
        row: Any = Conversation.objects.with_people().with_waits_since().get(pk=people.conversation.pk)
        assert row.shown_waiting_since == row.waits_since
        assert Conversation.objects.waiting().exists() == (row.waits_since is not None)
        shown.append(row.waits_since)
    UserProfile.objects.filter(user=people.teacher).update(role="STUDENT")
    assert Conversation.objects.with_people().get(pk=people.conversation.pk).shown_waiting_since is None
    assert not Conversation.objects.waiting().exists()
    assert shown == [message.timestamp, None, None, message.timestamp]


def test_answers_go_with_their_conversation(people: People) -> None:
    for student, teacher in ((people.student, people.teacher), (people.other_student, people.trainer)):
        say(conversation_of(student, teacher), student, "one")
        say(conversation_of(student, teacher), teacher, "two")
    kept = Answer.objects.get(mentor=people.trainer.profile)
    people.student.delete()
    assert Answer.objects.get() == kept


@pytest.mark.skipif(connection.vendor != "postgresql", reason="it is about PostgreSQL's plan")
def test_those_who_wait_for_a_mentor_are_found_by_an_index(people: People) -> None:
    for number in range(40):
        student = make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=people.teacher)
        talk = conversation_of(student, people.teacher)
        if number % 20 == 0:
            say(talk, student, "one")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chat_conversation")
        cursor.execute("SET LOCAL enable_seqscan = off")  # the table is as small as its index
    rows = Conversation.objects.filter(teacher=people.teacher.profile).waiting().order_by("waiting_since")
    plan = rows.explain()
    assert "chat_conversation_waiting" in plan, plan
