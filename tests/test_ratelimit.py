"""How fast one user may write: a bucket in this process, and one that all processes share."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings

from chat import ratelimit
from chat.ratelimit import Bucket, SendLimit

needs_redis = pytest.mark.skipif(not django_settings.REDIS_URL, reason="needs Redis")


def later(bucket: Bucket, seconds: float) -> None:
    """Let time pass for this bucket."""
    bucket.at -= seconds


def test_a_full_bucket_gives_its_size_and_then_says_how_long_to_wait() -> None:
    bucket = Bucket(rate=0.5, size=3)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() == pytest.approx(2, abs=0.01)
    assert bucket.take() == pytest.approx(2, abs=0.01)  # asking costs nothing


def test_a_bucket_fills_with_time_up_to_its_size() -> None:
    bucket = Bucket(rate=2, size=3)
    for _ in range(3):
        bucket.take()
    later(bucket, 0.25)
    assert bucket.take() == pytest.approx(0.25, abs=0.01)
    later(bucket, 0.26)
    assert bucket.take() == 0
    later(bucket, 3600)
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    assert bucket.take() > 0


def test_a_bucket_knows_whether_it_is_full() -> None:
    bucket = Bucket(rate=1, size=2)
    assert bucket.full
    bucket.take()
    assert not bucket.full
    later(bucket, 1)
    assert bucket.full


@pytest.fixture(params=["this process", pytest.param("all processes", marks=needs_redis)])
async def limit(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[SendLimit]:
    """A limit of two tokens, one each 20 s."""
    settings.CHAT_RATE_LIMIT = (0.05, 2)
    settings.REDIS_URL = django_settings.REDIS_URL if request.param == "all processes" else ""
    limit = SendLimit()
    if limit._redis is not None:
        await limit._redis.flushdb()
    yield limit
    if limit._redis is not None:
        await limit._redis.aclose()


async def test_each_user_has_a_bucket_of_their_own(limit: SendLimit) -> None:
    assert [await limit.take(1), await limit.take(1)] == [0, 0]
    assert await limit.take(1) == pytest.approx(20, abs=1)
    assert [await limit.take(2), await limit.take(2)] == [0, 0]


async def test_at_once_no_more_are_let_through_than_one_after_the_other(limit: SendLimit) -> None:
    waits = await asyncio.gather(*(limit.take(1) for _ in range(20)))
    assert sum(wait == 0 for wait in waits) == 2
    assert all(0 <= wait <= 20 for wait in waits)


async def test_a_limit_that_is_switched_off_lets_everything_through(limit: SendLimit, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = None
    assert {await limit.take(1) for _ in range(50)} == {0}


async def test_full_buckets_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL, settings.CHAT_RATE_LIMIT = "", (1000.0, 2)
    monkeypatch.setattr(ratelimit, "PRUNE_ABOVE", 100)
    limit = SendLimit()
    for user in range(100):
        await limit.take(user)
    for bucket in limit._buckets.values():
        later(bucket, 1)
    settings.CHAT_RATE_LIMIT = (0.01, 2)
    for user in range(100, 110):
        await limit.take(user)
    assert set(limit._buckets) == set(range(101, 110)) | {100}
    assert await limit.take(105) == 0
    assert await limit.take(105) > 0


@needs_redis
async def test_two_processes_share_a_bucket(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (0.05, 3)
    here, there = SendLimit(), SendLimit()
    await here._redis.flushdb()
    assert [await here.take(1), await there.take(1), await here.take(1)] == [0, 0, 0]
    assert await there.take(1) == pytest.approx(20, abs=1)
    assert await here.take(1) > 0
    for limit in (here, there):
        await limit._redis.aclose()


@needs_redis
async def test_a_bucket_in_redis_fills_with_time_and_is_forgotten_when_full(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (20.0, 1)
    limit = SendLimit()
    await limit._redis.flushdb()
    assert await limit.take(1) == 0
    wait = await limit.take(1)
    assert 0 < wait <= 0.05
    await asyncio.sleep(wait)
    assert await limit.take(1) == 0
    (key,) = await limit._redis.keys("*")
    assert 0 < await limit._redis.pttl(key) <= 1050
    await limit._redis.aclose()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers, as a Redis that was stopped."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("away", ["refuses", "is silent"])
async def test_without_redis_the_limit_falls_back_to_this_process_within_50_ms(
    silent_port: int, settings: Any, away: str
) -> None:
    settings.CHAT_RATE_LIMIT = (0.05, 2)
    settings.REDIS_URL = f"redis://127.0.0.1:{silent_port if away == 'is silent' else 1}/0"
    seconds_to_fall_back, seconds_after = [], []
    for _ in range(5):  # the best of five: a busy machine delays any one of them
        limit = SendLimit()
        begin = time.monotonic()
        assert await limit.take(1) == 0
        seconds_to_fall_back.append(time.monotonic() - begin)
        begin = time.monotonic()
        assert await limit.take(1) == 0
        assert await limit.take(1) == pytest.approx(20, abs=1)
        seconds_after.append(time.monotonic() - begin)
        await limit._redis.aclose()
    assert min(seconds_to_fall_back) < 0.1
    assert min(seconds_after) < 0.04  # it is left alone for a while


@needs_redis
async def test_a_redis_that_is_back_is_used_again(
    silent_port: int, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "RETRY_SECONDS", 0.0)
    settings.CHAT_RATE_LIMIT = (0.05, 2)
    limit, other = SendLimit(), SendLimit()
    await limit._redis.flushdb()
    script = limit._script
    settings.REDIS_URL = f"redis://127.0.0.1:{silent_port}/0"
    limit._script = SendLimit()._script
    assert await limit.take(1) == 0
    limit._script = script
    assert [await limit.take(1), await limit.take(1)] == [0, 0]
    assert await other.take(1) > 0
    for used in (limit, other):
        await used._redis.aclose()
