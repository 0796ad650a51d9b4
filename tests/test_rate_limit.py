"""The send rate of a user: a local token bucket, balanced with one in Redis that all processes share."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.conf import settings as django_settings
from redis.asyncio import Redis

from chat.runtime import rate_limit as ratelimit
from chat.runtime.rate_limit import TAKE, Bucket, RateLimit
from chat.runtime.redis import redis_client
from tests.queries import connected_redis
from tests.sockets import ended

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


def test_a_bucket_is_lowered_by_whole_tokens_below_zero_too() -> None:
    bucket = Bucket(rate=0.1, size=3)
    bucket.lower(2.6)  # the others took nothing
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]
    bucket.lower(-2)
    assert bucket.take() == pytest.approx(30, abs=0.1)
    bucket.lower(3)
    assert bucket.take() == pytest.approx(30, abs=0.1)


@pytest.fixture(params=["this process", pytest.param("all processes", marks=needs_redis)])
async def limit(request: pytest.FixtureRequest, settings: Any) -> AsyncIterator[RateLimit]:
    """A limit of two tokens, one each 20 s."""
    settings.CHAT_RATE_LIMIT = (0.05, 2)
    settings.REDIS_URL = django_settings.REDIS_URL if request.param == "all processes" else ""
    async with limits(1) as (limit,):
        yield limit


@asynccontextmanager
async def limits(count: int) -> AsyncIterator[list[RateLimit]]:
    """So many processes' limits, whose Redis remembers nothing."""
    made = [RateLimit("send", "CHAT_RATE_LIMIT") for _ in range(count)]
    redis = redis_client()
    if redis is not None:
        await redis.flushdb()
    yield made
    await told()
    if redis is not None:
        await redis.aclose()


async def told() -> None:
    """Wait until Redis knows what was taken."""
    await ended("send-limit-report")


async def test_each_user_has_a_bucket_of_their_own(limit: RateLimit) -> None:
    assert [limit.take(1), limit.take(1)] == [0, 0]
    assert limit.take(1) == pytest.approx(20, abs=1)
    await told()
    assert limit.take(1) == pytest.approx(20, abs=1)
    assert [limit.take(2), limit.take(2)] == [0, 0]


async def test_a_limit_that_is_switched_off_lets_everything_through(limit: RateLimit, settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = None
    assert {limit.take(1) for _ in range(50)} == {0}


async def test_full_buckets_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL, settings.CHAT_RATE_LIMIT = "", (1000.0, 2)
    monkeypatch.setattr(ratelimit, "PRUNE_ABOVE", 100)
    limit = RateLimit("send", "CHAT_RATE_LIMIT")
    for user in range(100):
        limit.take(user)
    for bucket in limit._buckets.values():
        later(bucket, 1)
    settings.CHAT_RATE_LIMIT = (0.01, 2)
    for user in range(100, 110):
        limit.take(user)
    assert set(limit._buckets) == set(range(101, 110)) | {100}
    assert limit.take(105) == 0
    assert limit.take(105) > 0


async def test_buckets_that_are_not_full_are_not_looked_at_for_each_send(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    looks = 0

    def is_full(_: Bucket) -> bool:
        nonlocal looks
        looks += 1
        return False

    settings.REDIS_URL, settings.CHAT_RATE_LIMIT = "", (0.01, 2)
    monkeypatch.setattr(ratelimit, "PRUNE_ABOVE", 10)
    monkeypatch.setattr(Bucket, "full", property(is_full))
    limit = RateLimit("send", "CHAT_RATE_LIMIT")
    for user in range(1000):
        limit.take(user)
    assert looks < 2 * 1000


@needs_redis
async def test_processes_share_a_bucket(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (0.05, 4)
    async with limits(2) as (here, there):
        assert [here.take(1), here.take(1), here.take(2)] == [0, 0, 0]
        await told()
        assert [there.take(1), there.take(1)] == [0, 0]
        await told()  # which taught it of the other's
        assert there.take(1) == pytest.approx(20, abs=1)
        assert there.take(2) == 0


@needs_redis
async def test_a_burst_on_each_process_is_paid_for_by_waiting(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (0.05, 3)
    async with limits(3) as everywhere:
        assert [limit.take(1) for limit in everywhere for _ in range(3)] == [0] * 9
        await told()
        later(everywhere[0]._buckets[1], 20)
        assert everywhere[0].take(1) == 0
        await told()
        assert everywhere[0].take(1) == pytest.approx(8 * 20, abs=2)  # ten of three are taken, and one is to come


@needs_redis
async def test_tokens_taken_during_a_redis_update_are_kept(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (0.05, 5)
    async with limits(1) as (limit,):
        limit.take(1)
        taken = 1
        while limit._taken:  # noqa: ASYNC110 - until the call begins
            await asyncio.sleep(0)
        while limit.take(1) == 0:
            taken += 1
        await told()
        assert taken == 5
        assert limit.take(1) == pytest.approx(20, abs=1)
        assert float(await connected_redis().hget("qader:send:1", "tokens") or "nan") == pytest.approx(0, abs=0.1)


@needs_redis
async def test_a_bucket_in_redis_fills_with_time_and_is_forgotten_when_full(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (20.0, 1)
    async with limits(1) as (limit,):
        assert limit.take(1) == 0
        wait = limit.take(1)
        assert 0 < wait <= 0.05
        await told()
        (key,) = await connected_redis().keys("*")
        assert 0 < await connected_redis().pttl(key) <= 1050
        await asyncio.sleep(limit.take(1) or 0)
        assert limit.take(1) == 0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers, as a Redis that was stopped."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("away", ["refuses", "is silent"])
async def test_without_redis_the_limit_is_per_process(
    silent_port: int, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, away: str
) -> None:
    monkeypatch.setattr(ratelimit, "REDIS_SECONDS", 0.1)
    monkeypatch.setattr(ratelimit, "RETRY_SECONDS", 0.1)
    settings.CHAT_RATE_LIMIT = (0.05, 2)
    settings.REDIS_URL = f"redis://127.0.0.1:{silent_port if away == 'is silent' else 1}/0"
    limit = RateLimit("send", "CHAT_RATE_LIMIT")
    assert limit.take(1) == 0
    await told()
    (record,) = caplog.records
    assert record.message.partition(":")[0] == "rate limit counts in this process alone"
    assert limit.take(1) == 0
    assert limit.take(1) == pytest.approx(20, abs=1)
    await told()
    await connected_redis().aclose()


@needs_redis
async def test_a_redis_that_returns_is_updated_again(
    silent_port: int, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ratelimit, "REDIS_SECONDS", 0.1)
    monkeypatch.setattr(ratelimit, "RETRY_SECONDS", 0.01)
    settings.CHAT_RATE_LIMIT = (0.05, 3)
    async with limits(2) as (here, there):
        script = here._script
        silent = Redis(port=silent_port, socket_timeout=0.1, socket_connect_timeout=0.1)
        here._script = silent.register_script(TAKE)
        assert here.take(1) == 0
        await told()
        here._script = script
        assert [here.take(1), here.take(1)] == [0, 0]
        await told()
        assert there.take(1) == 0
        await told()
        assert there.take(1) == pytest.approx(20, abs=1)


@needs_redis
async def test_what_a_thread_takes_and_blocks_is_shared(settings: Any) -> None:
    settings.CHAT_RATE_LIMIT = (1.0, 4)
    async with limits(2) as (here, there):
        assert there.take(1) == 0
        await told()
        assert await asyncio.to_thread(here.take, 1) == 0
        await told()
        await asyncio.to_thread(here.block, 1, 5)
        assert here.take(1) == pytest.approx(5, abs=0.1)
        await told()
        there.take(1)
        await told()
        assert there.take(1) == pytest.approx(6, abs=0.3)  # with the token that it took meanwhile


JUNK = [{"tokens": "x", "at": "y"}, {"tokens": "nan", "at": "nan"}, {"tokens": "-inf"}, {"tokens": "inf", "at": "-inf"}]


@needs_redis
@pytest.mark.parametrize("junk", [*JUNK, {"tokens": "-1e300", "at": "1e300"}, "text", "list"], ids=str)
async def test_what_somebody_else_wrote_to_redis_blocks_nobody_for_long(settings: Any, junk: Any) -> None:
    settings.CHAT_RATE_LIMIT = (10.0, 2)
    redis = connected_redis()
    if isinstance(junk, dict):
        await redis.hset("qader:send:1", mapping=junk)
    elif junk == "text":
        await redis.set("qader:send:1", junk)
    else:
        await redis.rpush("qader:send:1", junk)
    async with limits(1) as (limit,):
        assert [limit.take(1), limit.take(2)] == [0, 0]
        await told()
        assert limit.take(2) == 0
        assert limit.take(1) <= 100 * 2 / 10 + 1
        await told()
        assert await redis.ttl("qader:send:1") < 60
