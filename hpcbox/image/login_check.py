"""Asking a registry whether it takes a name and a password, before anybody keeps them."""

from hpcbox.errors import RegistryUnreachable
from hpcbox.image import places
from hpcbox.image.credentials import Credentials
from hpcbox.image.transport import Transport, drop
from hpcbox.settings import Settings


def check(registry: str, credentials: Credentials, settings: Settings) -> bool:
    """Tell whether the registry has asked for credentials, and taken these.

    False: it answers without asking, so they may be right or wrong.

    Raises:
        RegistryRefused: it refuses them.
        RegistryUnreachable: nobody answers, or not as a registry does.
    """
    transport = Transport(
        places.place(registry, "", settings),
        settings,
        f"log in to {registry}",
        advice="check the name and the password",
        find_credentials=lambda _registry, _repository: credentials,
    )
    response = transport.get("/v2/", {})
    drop(response)
    if response.status == 403:
        raise transport.forbidden()
    if response.status != 200:
        raise RegistryUnreachable(
            f"{registry} answers {response.status} to the question whether it is a registry",
            hint="check its name and port",
        )
    return transport.was_challenged
