"""The asyncio client behind the interface of the synchronous one, so that the tests of the latter run
with both. Its event loop runs in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

from redis.asyncio.lock import Lock
from redis.commands.core import AsyncScript

from rediscluster.asyncio import ClusterPipeline, PubSub, RedisCluster

WRAPPED = (AsyncScript, ClusterPipeline, Lock, PubSub, RedisCluster)


class LoopThread:
    """An event loop that runs in a thread until the end of a with block."""

    def __enter__(self) -> LoopThread:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def run(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(60)

    def client(self, url: str, **arguments: Any) -> Any:
        return Blocking(RedisCluster.from_url(url, **arguments), self)


class Blocking:
    """An object whose coroutine functions are ordinary ones here."""

    def __init__(self, target: Any, loop: LoopThread) -> None:
        self._target, self._loop = target, loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._call(value, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._target, *args, **kwargs)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # The function of a transaction is called in the loop, and waits for it: in another thread.
        is_transaction = getattr(function, "__name__", "") == "transaction"
        plain = [arg._target if isinstance(arg, Blocking) else arg for arg in args]
        named = {k: v._target if isinstance(v, Blocking) else v for k, v in kwargs.items()}
        if is_transaction:
            plain[0] = self._in_thread(plain[0])
        return self._wrapped(function(*plain, **named))

    def _in_thread(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def run(pipe: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(
                None, function, Blocking(pipe, self._loop)
            )

        return run

    def _wrapped(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._wrapped(self._loop.run(value))
        if inspect.isasyncgen(value):
            return self._iterate(value)
        return Blocking(value, self._loop) if isinstance(value, WRAPPED) else value

    def _iterate(self, values: Any) -> Any:
        while True:
            try:
                yield self._loop.run(values.__anext__())
            except StopAsyncIteration:
                return

    def __enter__(self) -> Any:
        return self._wrapped(self._loop.run(self._target.__aenter__()))

    def __exit__(self, *exception: Any) -> Any:
        return self._loop.run(self._target.__aexit__(*exception))

    def __len__(self) -> int:
        return len(self._target)

    def __bool__(self) -> bool:
        return bool(self._target)

    def __repr__(self) -> str:
        return repr(self._target)
