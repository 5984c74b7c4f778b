"""One server over HTTP: a pool of connections that are kept alive, and its failures in our errors."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from reasonflow.backends import openai_errors
from reasonflow.backends.secret import Secret
from reasonflow.errors import BackendError, EngineStartError, InputError, ReasonFlowError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_CONNECT_S = 10.0
_LISTING_S = 30.0
"""For what a server knows without its model. One that needs longer is not there."""
_KEEP_ALIVE_S = 4.0
"""vLLM's server closes a connection that is idle for 5 s; a request sent at that very moment would be lost."""
_LONGEST_LINE = 64 * 2**20
"""Bytes. A chunk of a stream holds some tokens; the largest that an honest server sends repeats a whole prompt."""

Take = Callable[[bytes], None]


class Server:
    """Requests to one base URL, from one event loop. The session is made by the first of them."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: Secret | None,
        api_key_env: str | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        """Raises InputError for what is no address, and for a key in the wrong place."""
        self.base_url = checked_url(base_url)
        if api_key is not None and api_key_env is not None:
            raise InputError("two API keys were given", fix="give either api_key or api_key_env")
        if any(name.lower() == "authorization" for name in headers):
            raise InputError(
                "the headers hold an Authorization",
                why="headers are saved with a program, and a key must not be",
                fix="pass api_key or api_key_env; headers are for what everybody may see",
            )
        if not timeout_s > 0:
            raise InputError(f"timeout_s is {timeout_s}", fix="give a number of seconds above 0")
        self._key = api_key
        self._key_env = api_key_env
        self._headers = dict(headers)
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._streaming: aiohttp.ClientTimeout | None = None
        self._urls: dict[str, URL] = {}
        self._inside: set[_Visit] = set()

    async def get(self, path: str) -> bytes:
        """The body, within half a minute. Raises as `post`."""
        import aiohttp

        return await self._whole("GET", path, None, timeout=aiohttp.ClientTimeout(total=_LISTING_S))

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The body of the answer. Cancelling closes the connection, which the server notices.

        Raises BackendError, PromptTooLong, and InputError where the server refuses the request.
        """
        return await self._whole("POST", path, encoded(body))

    async def stream(self, path: str, body: Mapping[str, Any], take: Take) -> None:
        """Hand every event of the answer to `take`, until it ends. Raises as `post`, and what `take` raises."""
        session = self._open()
        events = _Events(take)
        visit, url = self._enter(), self._url(path)
        try:
            async with session.request("POST", url, data=encoded(body), timeout=self._streaming) as response:
                if response.status >= 400:
                    raise self._refused(response.status, await response.read())
                try:
                    async for chunk in response.content.iter_any():
                        events.feed(chunk)
                    events.feed(b"\n")
                except BaseException:
                    response.close()  # in the middle of its answer: the server must see that nobody reads it
                    raise
        except asyncio.CancelledError:
            visit.check()
            raise
        except _network_errors() as error:
            raise self._failure(error) from error
        finally:
            self._inside.discard(visit)

    async def aclose(self) -> None:
        """Close all connections: whoever waits on one gets an error."""
        session, self._session = self._session, None
        for visit in self._inside:
            visit.send_away(lambda: openai_errors.broke_off("it was closed on this side"))
        if session is not None:
            await session.close()

    async def _whole(self, method: str, path: str, body: bytes | None, **options: Any) -> bytes:
        session, url = self._session or self._open(), self._urls.get(path) or self._url(path)
        visit = self._enter()
        # aiohttp's own timeout of reading is set anew with every chunk: 20 µs of a call that has two.
        late = asyncio.get_running_loop().call_later(self._timeout_s, visit.send_away, self._silent)
        try:
            async with session.request(method, url, data=body, **options) as response:
                content = await response.read()
        except asyncio.CancelledError:
            visit.check()
            raise
        except _network_errors() as error:
            raise self._failure(error) from error
        finally:
            late.cancel()
            self._inside.discard(visit)
        if response.status >= 400:
            raise self._refused(response.status, content)
        return content

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            self._streaming = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=self._timeout_s)
            headers = {"Content-Type": "application/json", **self._headers}
            if (key := self._secret()) is not None:
                headers["Authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                # The scheduler bounds what is in flight; a second bound here would only hide its queue.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
            )
        return self._session

    def _url(self, path: str) -> URL:
        from yarl import URL

        return self._urls.setdefault(path, URL(f"{self.base_url}{path}"))

    def _secret(self) -> str | None:
        if self._key_env is None:
            return self._key.reveal() if self._key is not None else None
        found = os.environ.get(self._key_env)
        if not found:
            raise EngineStartError(
                f"there is no API key in the environment variable {self._key_env}",
                why="api_key_env names it, and it is not set",
                fix=f"export {self._key_env}=..., or pass api_key",
            )
        return found

    def _refused(self, status: int, body: bytes) -> ReasonFlowError:
        key = self._key.reveal() if self._key is not None else os.environ.get(self._key_env or "", "")
        if key:  # some servers repeat what they were sent
            body = body.replace(key.encode(), b"***")
        return openai_errors.refused(status, body, self.base_url)

    def _enter(self) -> _Visit:
        visit = _Visit()
        self._inside.add(visit)
        return visit

    def _silent(self) -> BackendError:
        return openai_errors.silent(self._timeout_s)

    def _failure(self, error: BaseException) -> ReasonFlowError:
        import aiohttp

        if isinstance(error, aiohttp.SocketTimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            return self._silent()
        return openai_errors.broke_off(f"{type(error).__name__}: {error}")


class _Events:
    """Splits a stream of server-sent events: bytes in, the data of each event out."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            raise openai_errors.malformed(f"an event has more than {_LONGEST_LINE} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[5:].strip())


class _Visit:
    """A task that waits for the server, and can be sent away. When its session is closed aiohttp may let it wait on."""

    __slots__ = ("_before", "_task", "_why")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "requests are made by tasks"
        self._task = task
        self._before = task.cancelling()
        self._why: Callable[[], BackendError] | None = None

    def send_away(self, why: Callable[[], BackendError]) -> None:
        """Cancel what it waits for; the error it leaves with is made by `why`."""
        if self._why is None and self._task.cancel():
            self._why = why

    def check(self) -> None:
        """Raises that error where this, and nothing else, has cancelled it. Asked once, when it was cancelled."""
        if self._why is not None and self._task.uncancel() <= self._before:
            raise self._why()


def encoded(body: Mapping[str, Any]) -> bytes:
    """As JSON. orjson is quick, and refuses the odd text that is no valid Unicode."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body).encode()


def _network_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, TimeoutError)


def checked_url(base_url: str) -> str:
    """The address without what makes no difference to it. Raises InputError for what is none, or holds a password."""
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _no_url(base_url, str(error)) from error
    if "@" in parts.netloc:
        raise InputError(
            "the base_url holds a user's name or password",
            why="addresses are shown in errors and saved with programs",
            fix="leave it out, and pass api_key or api_key_env",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise _no_url(base_url, "it does not begin with http:// or https:// and a host")
    if parts.query or parts.fragment:
        raise _no_url(base_url, "it has a query or a fragment")
    where = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{where}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _no_url(base_url: str, why: str) -> InputError:
    return InputError(
        f"base_url is {base_url!r}", why=why, fix="give the server's address, such as http://localhost:8000/v1"
    )
