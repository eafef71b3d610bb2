"""redis-py's own client of one node, with the settings of a client of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.credentials import CredentialProvider

from .exceptions import RedisClusterException

_TLS_FILES = {
    "tls_ca_file": "ssl_ca_certs",
    "tls_cert_file": "ssl_certfile",
    "tls_key_file": "ssl_keyfile",
}


class Settings:
    """What redis-py needs for a connection, of the options of a client. Derived clients share it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        base, _, query = str(options["url"]).partition("?")
        given = {name: value for name, value in options.items() if value is not None}
        self._options: dict[str, Any] = {**dict(parse_qsl(query)), **given}
        scheme, _, rest = base.partition("://")
        credentials, _, self._place = rest.rpartition("@")
        user, _, password = credentials.partition(":")
        self._is_tls = scheme in ("rediss", "valkeys")
        self._is_unix = scheme == "unix"
        self._user = self._options.get("user") or unquote(user)
        self._password = self._options.get("password") or unquote(password)

    def set_credentials(self, user: str | None, password: str | None) -> None:
        self._user, self._password = user or "", password or ""

    def credentials(self) -> tuple[str, ...]:
        """The user and the password, or the password alone, or neither, as a new connection needs them."""
        user = _content(self._options.get("user_file")) or self._user
        password = _content(self._options.get("password_file")) or self._password
        if not password:
            return ()
        return (user, password) if user else (password,)

    def startup_nodes(self) -> list[str]:
        """The addresses in the URL."""
        if self._is_unix:
            return [self._place]
        return [node for node in self._place.partition("/")[0].split(",") if node]

    def arguments(self, address: str) -> dict[str, Any]:
        """The arguments of a connection to this address."""
        host, _, port = address.rpartition(":")
        arguments: dict[str, Any] = {"host": host.strip("[]"), "port": int(port or 0)}
        if address.startswith("/"):
            arguments = {"unix_socket_path": address}
        if self.credentials():
            arguments["credential_provider"] = _Credentials(self)
        for option, name in (
            ("attempt_timeout_ms", "socket_timeout"),
            ("connect_timeout_ms", "socket_connect_timeout"),
        ):
            if option in self._options:
                arguments[name] = int(self._options[option]) / 1000
        if "client_name" in self._options:
            arguments["client_name"] = self._options["client_name"]
        return {**arguments, **self._tls()}

    def _tls(self) -> dict[str, Any]:
        if not self._is_tls:
            return {}
        if "tls_server_name" in self._options:
            raise RedisClusterException(
                "redis-py cannot check certificates against tls_server_name: use target_nodes"
            )
        skip = self._options.get("tls_insecure_skip_verify") in (True, "yes", "true", "1")
        files = {
            name: self._options[option]
            for option, name in _TLS_FILES.items()
            if option in self._options
        }
        verification = "none" if skip else "required"
        return {
            "ssl": True, "ssl_cert_reqs": verification, "ssl_check_hostname": not skip, **files,
        }  # fmt: skip


class _Credentials(CredentialProvider):
    """The credentials that the client has when redis-py opens a connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get_credentials(self) -> Any:
        return self._settings.credentials()


def _content(file: Any) -> str:
    return Path(file).read_text().strip() if file else ""


def connection(
    make: Callable[..., Any], settings: Settings, address: str, database: int, texts: dict[str, Any],
    protocol: int, legacy_responses: bool | None,
) -> Any:  # fmt: skip
    """redis-py's client ``make`` of the node at this address. It connects with its first command."""
    more: dict[str, Any] = {}
    known = signature(make).parameters
    if "protocol" in known:
        more["protocol"] = protocol
    if legacy_responses is not None:
        more["legacy_responses"] = legacy_responses
    return make(**settings.arguments(address), **texts, **more, db=database)
