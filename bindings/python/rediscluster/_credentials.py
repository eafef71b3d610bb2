"""redis-py's credential providers."""

from __future__ import annotations

import weakref
from typing import Any

from .exceptions import DataError


def initial(provider: Any, username: Any, password: Any) -> tuple[Any, Any]:
    """The user, or None, and the password for a new client."""
    if provider is None:
        return username, password
    if username or password:
        raise DataError(
            "'username' and 'password' cannot be passed along with 'credential_provider': pass either"
        )
    if not callable(getattr(provider, "get_credentials", None)):
        raise DataError("credential_provider needs a method get_credentials()")
    found = provider.get_credentials()
    return (None, found[0]) if len(found) == 1 else (found[0], found[1])


def follow(provider: Any, client: Any) -> None:
    """A provider that streams credentials passes each new token to the client, as long as it exists."""
    if not hasattr(provider, "on_next"):
        return
    reference = weakref.ref(client)

    def renew(token: Any) -> None:
        found = reference()
        if found is not None:
            found.set_credentials(token.try_get("oid"), token.get_value())

    provider.on_next(renew)
